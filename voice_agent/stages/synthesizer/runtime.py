"""How the engines that run under ONNX Runtime use the processor."""

import os
from pathlib import Path
from typing import Final

import onnxruntime

THREADS: Final = max(1, min(4, (os.cpu_count() or 2) // 2))
"""Threads for one run. Half the cores: the language model writes the next sentence on the others.

On two cores a second thread made Piper slower, even alone (docs/latency.md).
"""


def open_session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """A session on the CPU for a model file, or for a model in memory."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    # A thread that waits for work by spinning takes its core from the other stages between two runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
