"""How the engines that run under ONNX Runtime use the processor."""

import os
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime

_CORES: Final = os.cpu_count() or 1
THREADS: Final = min(_CORES, 4, max(2, _CORES // 2))
"""Threads for one run. On two idle cores, two make Piper's first sound 25-30 % earlier than one; on two busy
cores they make no difference. From four cores up, half are left to the other stages."""

_TERMS: Final = 64
"""Of the sum that is tried: more than any vector register holds."""


def open_session(model: Path | bytes, threads: int = THREADS) -> onnxruntime.InferenceSession:
    """A session on the CPU for a model file, or for a model in memory; it gives the same on every processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A thread that spins while it waits takes the core that another needs: with both cores busy, spinning made
    # Piper's pieces two to three times slower.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if saturates():
        # Weights as uint8: their products by uint8 activations have a kernel that does not saturate.
        options.add_session_config_entry("session.x64quantprecision", "1")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


@cache
def saturates() -> bool:
    """Whether sums of uint8 by int8 products come out wrong on this processor, found by computing one.

    With AVX2 and no VNNI (AMD before Zen 4, Intel before Ice Lake, many virtual machines) ONNX Runtime adds pairs of
    products in 16 bits, which are not enough for them (`vpmaddubsw`). Smart-turn then gave 0.93 for 0.11.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(_largest_sum(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"activations": np.full((1, _TERMS), 255, np.uint8)})
    return bool(np.any(found != 255 * 127 * _TERMS))


def _largest_sum() -> bytes:
    """A model: activations of shape (1, _TERMS), uint8, by a matrix of the largest int8."""
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.full((_TERMS, 16), 127, np.int8), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["activations", "weights"], ["sums"])],
        "largest_sum",
        [helper.make_tensor_value_info("activations", TensorProto.UINT8, [1, _TERMS])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, 16])],
        [weights],
    )
    opset = [helper.make_opsetid("", 18)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return model
