"""How the engines that run under ONNX Runtime use the processor."""

import os
from pathlib import Path
from typing import Final

import onnxruntime

_CORES: Final = os.cpu_count() or 1
THREADS: Final = min(_CORES, 4, max(2, _CORES // 2))
"""Threads for one run. On two idle cores, two make Piper's first sound 25-30 % earlier than one; on two busy
cores they make no difference. From four cores up, half are left to the other stages."""


def open_session(model: Path | bytes, threads: int = THREADS) -> onnxruntime.InferenceSession:
    """A session on the CPU for a model file, or for a model in memory."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A thread that spins while it waits takes the core that another needs: with both cores busy, spinning made
    # Piper's pieces two to three times slower.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
