import asyncio
import time

import numpy as np
import pytest

from tests.fixtures import Recording, packaged, recordings
from voice_agent.audio import (
    FRAME,
    FRAME_MS,
    RATE,
    SAMPLE_RATES,
    Pcm16,
    frames,
    ms_to_samples,
    read_audio,
    resample,
)
from voice_agent.config import VadEngine, VadSettings
from voice_agent.errors import StageError
from voice_agent.stages.vad import CascadeVad, Vad, VadStream, build_vad

THRESHOLD = VadSettings().threshold
ENGINES: list[VadEngine] = ["webrtcvad", "silero", "cascade"]
JUDGES: list[VadEngine] = ["silero", "cascade"]
"""Those that tell a voice from other sounds."""


def started(engine: VadEngine) -> Vad:
    vad = build_vad(VadSettings(engine=engine))
    asyncio.run(vad.start())
    return vad


def feed(stream: VadStream, pcm: Pcm16) -> list[float]:
    return [stream.feed(frame) for frame in frames(pcm)]


def in_silence(recording: Recording, silence_ms: int = 1000) -> Pcm16:
    """The recording with digital silence on both sides."""
    return np.pad(read_audio(recording.path), ms_to_samples(silence_ms))


def hiss(seconds: float, level: float) -> Pcm16:
    """White noise of that root mean square."""
    return np.random.default_rng(0).normal(0, level, int(seconds * RATE)).round().astype(np.int16)


def speech_span_ms(probabilities: list[float]) -> tuple[int, int]:
    """Start of the first speech frame and end of the last."""
    speech = [index for index, p in enumerate(probabilities) if p >= THRESHOLD]
    return speech[0] * FRAME_MS, (speech[-1] + 1) * FRAME_MS


def utterances(probabilities: list[float]) -> int:
    """Stretches of at least 60 ms of speech: each would open an utterance."""
    runs = "".join("x" if p >= THRESHOLD else " " for p in probabilities).split()
    return sum(len(run) * FRAME_MS >= 60 for run in runs)


@pytest.mark.engines
@pytest.mark.parametrize("engine", JUDGES)
@pytest.mark.parametrize("recording", packaged(), ids=lambda r: r.path.stem)
def test_finds_where_speech_starts_and_ends(engine: VadEngine, recording: Recording) -> None:
    start_ms, end_ms = speech_span_ms(feed(started(engine).stream(), in_silence(recording)))
    assert recording.speech_start is not None
    assert recording.speech_end is not None
    # A soft onset takes some windows of 32 ms to be believed; the level ends before the breath does.
    assert start_ms - 1000 == pytest.approx(recording.speech_start * 1000, abs=200)
    assert end_ms - 1000 == pytest.approx(recording.speech_end * 1000, abs=220)


@pytest.mark.engines
def test_cascade_starts_and_ends_where_the_manifest_says() -> None:
    found = recordings(["command", "query"])
    if not found:
        pytest.skip("no recordings beside the checkout")
    vad = started("cascade")
    late, early = [], []
    for recording in found:
        start_ms, end_ms = speech_span_ms(feed(vad.stream(), in_silence(recording)))
        assert recording.speech_start is not None
        assert recording.speech_end is not None
        late.append(abs(start_ms - 1000 - recording.speech_start * 1000))
        early.append(abs(end_ms - 1000 - recording.speech_end * 1000))
    assert np.percentile(late, 90) <= 100
    assert np.percentile(early, 90) <= 120


@pytest.mark.engines
@pytest.mark.parametrize("engine", JUDGES)
def test_hears_speech_in_the_telephone_band(engine: VadEngine) -> None:
    vad = started(engine)
    for recording in packaged():
        wide = in_silence(recording)
        narrow = resample(resample(wide, RATE, 8000), 8000, RATE)
        start_ms, end_ms = speech_span_ms(feed(vad.stream(), wide))
        narrow_start_ms, narrow_end_ms = speech_span_ms(feed(vad.stream(), narrow))
        assert narrow_start_ms == pytest.approx(start_ms, abs=150), recording.path
        # A trailing s ("hearts") lies above 4 kHz: on the telephone there is none.
        assert narrow_end_ms == pytest.approx(end_ms, abs=300), recording.path


@pytest.mark.engines
@pytest.mark.parametrize("engine", JUDGES)
@pytest.mark.parametrize("rate", [rate for rate in SAMPLE_RATES if rate != RATE])
def test_hears_the_same_speech_at_any_rate(engine: VadEngine, rate: int) -> None:
    vad = started(engine)
    for recording in packaged():
        given = resample(in_silence(recording), RATE, rate)
        start_ms, end_ms = speech_span_ms(feed(vad.stream(), resample(given, rate, RATE)))
        stream = vad.stream(rate)
        heard = [stream.feed(frame) for frame in frames(given, rate * FRAME_MS // 1000)]
        at_rate_start_ms, at_rate_end_ms = speech_span_ms(heard)
        assert at_rate_start_ms == pytest.approx(start_ms, abs=100), recording.path
        assert at_rate_end_ms == pytest.approx(end_ms, abs=100), recording.path


@pytest.mark.engines
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_frames_at_once_are_judged_as_one_by_one(engine: VadEngine, rate: int) -> None:
    vad = started(engine)
    speech = resample(in_silence(packaged()[0]), RATE, rate)
    line = np.concatenate([speech, resample(hiss(2, 30), RATE, rate), speech])
    cut = list(frames(line, rate * FRAME_MS // 1000))
    one_by_one, at_once = vad.stream(rate), vad.stream(rate)
    expected = [one_by_one.feed(frame) for frame in cut]
    sizes = np.random.default_rng(0).integers(1, 25, len(cut))
    heard: list[float] = []
    for size in sizes:
        if taken := cut[len(heard) : len(heard) + int(size)]:
            heard += at_once.feed_frames(np.concatenate(taken))
    assert heard == expected


@pytest.mark.engines
@pytest.mark.parametrize("engine", ENGINES)
def test_digital_silence_is_not_speech(engine: VadEngine) -> None:
    assert max(feed(started(engine).stream(), np.zeros(10 * RATE, np.int16))) < THRESHOLD


@pytest.mark.engines
@pytest.mark.parametrize("engine", JUDGES)
@pytest.mark.parametrize("level", [1, 30, 300])
def test_hiss_opens_no_utterance(engine: VadEngine, level: float) -> None:
    assert utterances(feed(started(engine).stream(), hiss(10, level))) == 0


@pytest.mark.engines
def test_cascade_opens_fewer_utterances_on_noise_than_webrtcvad() -> None:
    noises = recordings(["noise", "music"])
    if not noises:
        pytest.skip("no recordings beside the checkout")
    opened = {
        engine: sum(
            utterances(feed(started(engine).stream(), read_audio(noise.path))) > 0 for noise in noises
        )
        for engine in ENGINES
    }
    assert opened["cascade"] <= len(noises) / 3
    assert opened["webrtcvad"] > 2 * opened["cascade"]


@pytest.mark.engines
@pytest.mark.parametrize("level", [0, 1, 30, 100])
def test_silero_rests_on_a_silent_line(level: float) -> None:
    vad = started("cascade")
    assert isinstance(vad, CascadeVad)
    stream = vad.stream()
    line = hiss(60, level)
    judged = sum(stream.judging for frame in frames(line) if stream.feed(frame) is not None)
    assert judged < 0.02 * len(line) / FRAME


@pytest.mark.engines
def test_cascade_hears_an_onset_as_soon_as_silero_alone() -> None:
    silero, cascade = started("silero"), started("cascade")
    later_ms = []
    for recording in packaged():
        pcm = in_silence(recording)
        alone_ms, _ = speech_span_ms(feed(silero.stream(), pcm))
        behind_the_gate_ms, _ = speech_span_ms(feed(cascade.stream(), pcm))
        later_ms.append(behind_the_gate_ms - alone_ms)
    # Their windows do not begin at the same sample, which may move a soft onset by some windows either way.
    assert np.median(later_ms) <= FRAME_MS
    assert max(later_ms) <= 150


@pytest.mark.engines
def test_cascade_agrees_with_silero_through_a_long_session() -> None:
    session = np.concatenate([in_silence(recording) for recording in packaged()])
    alone = np.array(feed(started("silero").stream(), session)) >= THRESHOLD
    gated = np.array(feed(started("cascade").stream(), session)) >= THRESHOLD
    assert (alone != gated).mean() < 0.03


@pytest.mark.engines
@pytest.mark.parametrize("engine", ENGINES)
def test_reset_forgets_what_was_heard(engine: VadEngine) -> None:
    pcm = read_audio(packaged()[0].path)
    stream = started(engine).stream()
    first = feed(stream, pcm)
    stream.reset()
    assert feed(stream, pcm) == first


@pytest.mark.engines
@pytest.mark.parametrize("engine", ENGINES)
def test_streams_of_one_engine_do_not_hear_each_other(engine: VadEngine) -> None:
    vad = started(engine)
    one, other = (read_audio(recording.path)[:RATE] for recording in packaged()[:2])
    first, second = vad.stream(), vad.stream()
    interleaved = [(first.feed(a), second.feed(b)) for a, b in zip(frames(one), frames(other), strict=True)]
    alone = list(zip(feed(vad.stream(), one), feed(vad.stream(), other), strict=True))
    assert interleaved == alone


@pytest.mark.engines
@pytest.mark.parametrize("engine", ENGINES)
def test_a_frame_costs_far_less_than_a_millisecond(engine: VadEngine) -> None:
    pcm = read_audio(packaged()[-1].path)
    stream = started(engine).stream()
    began = time.thread_time()
    count = len(feed(stream, pcm))
    assert (time.thread_time() - began) / count < 0.0005


@pytest.mark.parametrize("engine", JUDGES)
def test_an_engine_that_was_not_started_says_so(engine: VadEngine) -> None:
    with pytest.raises(StageError, match="start"):
        build_vad(VadSettings(engine=engine)).stream()
