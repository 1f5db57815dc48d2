"""smart-turn: the features it is given, its scores, and how it behaves as an engine."""

import asyncio
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest

from tests.fixtures import packaged
from voice_agent.audio import RATE, Pcm16, read_audio
from voice_agent.config import ModelsSettings
from voice_agent.errors import StageError
from voice_agent.stages import endpoint
from voice_agent.stages.endpoint import NEUTRAL_AUDIO, WINDOW, NoEndpoint, SmartTurn, features
from voice_agent.stages.onnx_session import THREADS

PIPECAT = {
    # What pipecat 1.14 (`LocalSmartTurnAnalyzerV3`) makes of the packaged clips: up to 0.2 s after the speech, and the
    # first 60 % of that.
    "cards-002": (0.974, 0.940),
    "forever-input_2_16k": (0.005, 0.110),
    "forever-input_4_16k": (0.971, 0.015),
    "something": (0.908, 0.027),
    "librivox-sense_and_sensibility_01_austen_64kb-0870": (0.969, 0.067),
    "librivox-sense_and_sensibility_01_austen_64kb-0890": (0.933, 0.086),
    "librivox-sense_and_sensibility_01_austen_64kb-0920": (0.979, 0.016),
}


@pytest.fixture
async def smart_turn() -> AsyncIterator[SmartTurn]:
    engine = SmartTurn(ModelsSettings())
    await engine.start()
    yield engine
    await engine.close()


def noise(seconds: float) -> Pcm16:
    return np.random.default_rng(1).normal(0, 3000, round(seconds * RATE)).astype(np.int16)


@pytest.mark.parametrize("seconds", [0.02, 0.5, 3.333, 7.98, 8, 20])
def test_silence_before_a_short_utterance_is_as_if_it_had_been_recorded(seconds: float) -> None:
    pcm = noise(seconds)
    recorded = np.concatenate((np.zeros(WINDOW, np.int16), pcm))
    assert features(pcm).shape == (80, 800)
    np.testing.assert_allclose(features(pcm), features(recorded), atol=1e-5)


def test_only_the_last_eight_seconds_are_heard() -> None:
    pcm = noise(20)
    np.testing.assert_array_equal(features(pcm), features(pcm[-WINDOW:]))


def test_the_level_of_the_recording_does_not_matter() -> None:
    pcm = noise(2)
    np.testing.assert_allclose(features(pcm), features(pcm // 8 * 4), atol=0.05)


def silences(name: str) -> tuple[Pcm16, Pcm16]:
    """What `PIPECAT` has the scores of: a packaged clip until after its speech, and the first 60 % of that."""
    (recording,) = (recording for recording in packaged() if recording.path.stem == name)
    assert recording.speech_end is not None
    whole = read_audio(recording.path)
    end = int((recording.speech_end + 0.2) * RATE)
    whole = np.pad(whole[:end], (0, max(0, end - len(whole))))
    return whole, whole[: int(len(whole) * 0.6)]


@pytest.mark.engines
async def test_scores_are_those_of_pipecat(smart_turn: SmartTurn) -> None:
    for name, expected in PIPECAT.items():
        scores = [await smart_turn.score(pcm) for pcm in silences(name)]
        # int8 kernels round differently from processor to processor
        assert scores == pytest.approx(expected, abs=0.05), name


@pytest.mark.engines
async def test_a_score_that_nobody_waits_for_is_not_computed(
    smart_turn: SmartTurn, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def infer(session: object, pcm: Pcm16, stop: object) -> float:
        computed.append(len(pcm))
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        return 0.5

    monkeypatch.setattr(endpoint, "_infer", infer)
    busy = [asyncio.create_task(smart_turn.score(noise(1))) for _ in range(THREADS)]
    late = asyncio.create_task(smart_turn.score(noise(2)))
    await begun.wait()
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    go_on.set()
    await asyncio.gather(*busy)
    await smart_turn.score(noise(1))  # behind it in the queue
    assert len(noise(2)) not in computed


async def test_one_that_was_not_started_says_so() -> None:
    engine = SmartTurn(ModelsSettings())
    with pytest.raises(StageError, match="not been started"):
        await engine.score(noise(1))
    await engine.close()


async def test_no_detector_has_no_opinion() -> None:
    engine = NoEndpoint()
    await engine.start()
    assert await engine.score(noise(1)) == NEUTRAL_AUDIO
    await engine.close()


@pytest.mark.engines
async def test_a_score_that_takes_too_long_is_a_stage_error_and_the_next_one_is_right(
    smart_turn: SmartTurn, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    before = await smart_turn.score(noise(1))
    with monkeypatch.context() as hanging:
        hanging.setattr(endpoint, "_infer", lambda *_: go_on.wait(10))
        hanging.setattr(smart_turn._worker, "_timeout_s", 0.05)
        for _ in range(THREADS):
            with pytest.raises(StageError, match=r"gave nothing for 0\.05 s"):
                await smart_turn.score(noise(1))
    go_on.set()
    assert await smart_turn.score(noise(1)) == before
    assert smart_turn.healthy
