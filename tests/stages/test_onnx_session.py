"""Engines under ONNX Runtime give the same on every processor."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.stages.test_endpoint import PIPECAT, silences
from voice_agent.config import ModelsSettings
from voice_agent.stages import onnx_session
from voice_agent.stages.endpoint import SmartTurn
from voice_agent.stages.onnx_session import open_session, saturates

U8_WEIGHTS = "session.x64quantprecision"


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    saturates.cache_clear()
    yield
    saturates.cache_clear()


class _Saturating:
    """ONNX Runtime's answer on a processor with AVX2 and no VNNI, as it was found by emulation."""

    def __init__(self, *arguments: object, **options: object) -> None:
        pass

    def run(self, outputs: object, inputs: object) -> list[object]:
        return [np.full((1, 16), 1_048_544, np.int32)]


@pytest.mark.parametrize("wrong", [True, False])
def test_a_processor_whose_sums_are_wrong_is_found_by_a_sum_and_given_other_kernels(
    monkeypatch: pytest.MonkeyPatch, wrong: bool
) -> None:
    real = onnxruntime.InferenceSession
    opened: list[onnxruntime.SessionOptions] = []

    class Right(_Saturating):
        def run(self, outputs: object, inputs: object) -> list[object]:
            return [np.full((1, 16), 64 * 255 * 127, np.int32)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", _Saturating if wrong else Right)
    assert saturates() is wrong

    def record(model: object, options: onnxruntime.SessionOptions, **rest: object) -> object:
        opened.append(options)
        return real(model, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    open_session(onnx_session._largest_sum())
    if wrong:
        assert opened[0].get_session_config_entry(U8_WEIGHTS) == "1"
    else:
        with pytest.raises(Exception, match=U8_WEIGHTS):
            opened[0].get_session_config_entry(U8_WEIGHTS)


def test_the_sum_is_right_with_the_other_kernels_on_this_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_session, "saturates", lambda: True)
    session = open_session(onnx_session._largest_sum())
    (sums,) = session.run(None, {"activations": np.full((1, 64), 255, np.uint8)})
    assert (sums == 64 * 255 * 127).all()


@pytest.mark.engines
async def test_smart_turn_gives_the_same_scores_with_the_other_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_session, "saturates", lambda: True)
    engine = SmartTurn(ModelsSettings())
    await engine.start()
    for name, expected in PIPECAT.items():
        scores = [await engine.score(pcm) for pcm in silences(name)]
        assert scores == pytest.approx(expected, abs=0.05), name
    await engine.close()


@pytest.mark.engines
@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs qemu-x86_64 (Debian: qemu-user)")
def test_smart_turn_gives_the_same_on_an_emulated_processor_without_vnni() -> None:
    """Of the silences that went wrong, the worst: 0.93 for 0.11."""
    code = """
import sys
from tests.stages.test_endpoint import silences
from voice_agent.models import ensure
from voice_agent.stages.endpoint import MODEL_FILE, WEIGHTS, features
from voice_agent.stages.onnx_session import open_session, saturates

session = open_session(ensure(WEIGHTS) / MODEL_FILE, threads=1)
(score,) = session.run(None, {"input_features": features(silences("forever-input_2_16k")[1])[None]})
print(saturates(), score.item())
"""
    ran = subprocess.run(
        ["qemu-x86_64", "-cpu", "Haswell", os.path.realpath(sys.executable), "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr
    saturated, score = ran.stdout.split()
    assert saturated == "True"
    assert float(score) == pytest.approx(PIPECAT["forever-input_2_16k"][1], abs=0.05)
