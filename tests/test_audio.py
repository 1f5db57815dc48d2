"""Formats, resampling and files."""

import gc
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_agent.audio import (
    FRAME,
    RATE,
    SAMPLE_RATES,
    SILENCE,
    FrameResampler,
    Pcm16,
    RecentAudio,
    Resampler,
    frames,
    read_audio,
    resample,
    to_float,
    to_pcm16,
    ulaw_decode,
    ulaw_encode,
    write_wav,
)
from voice_agent.errors import AudioError


def tone(hertz: float, rate: int, seconds: float = 1.0) -> Pcm16:
    return (np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate) * 10_000).astype(np.int16)


def signal_to_noise_db(signal: Pcm16, reference: Pcm16) -> float:
    error = signal.astype(float) - reference + 1e-9
    return float(10 * np.log10((reference.astype(float) ** 2).mean() / (error**2).mean()))


@pytest.mark.parametrize("source", SAMPLE_RATES)
@pytest.mark.parametrize("target", SAMPLE_RATES)
def test_a_stream_is_resampled_as_the_same_sound(source: int, target: int) -> None:
    stream = Resampler(source, target)
    given = tone(440, source)
    pieces = [stream.feed(given[start : start + 333]) for start in range(0, len(given), 333)]
    out = np.concatenate([*pieces, stream.feed(given[:0], last=True)])
    assert len(out) == pytest.approx(target, abs=2)
    middle = slice(target // 10, -target // 10)
    assert signal_to_noise_db(out[middle], tone(440, target)[: len(out)][middle]) > 50


@pytest.mark.parametrize("source", [rate for rate in SAMPLE_RATES if rate != RATE])
def test_a_resampled_stream_is_hardly_late(source: int) -> None:
    stream, received, given = Resampler(source, RATE), 0, 0
    for frame in frames(tone(440, source), source // 50):
        given += len(frame)
        received += len(stream.feed(frame))
        assert given / source - received / RATE <= 0.0025


def native(folder: str) -> int:
    """Threads ("task") or open files ("fd") of this process, those of libraries included."""
    return sum(1 for _ in Path("/proc/self", folder).iterdir())


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="Linux tells what a process has")
def test_resamplers_have_no_threads_and_leave_nothing_behind() -> None:
    gc.disable()  # they are freed without it
    try:
        threads, files = native("task"), native("fd")
        live = [Resampler(8000, RATE) for _ in range(100)]
        for resampler in live:
            resampler.feed(tone(440, 8000, 0.02))
        assert native("task") <= threads
        assert native("fd") <= files
        del live, resampler
        memory = psutil.Process().memory_info().rss
        for _ in range(1000):
            Resampler(48_000, RATE).feed(tone(440, 48_000, 0.02))
        assert native("task") <= threads
        assert native("fd") <= files
        assert psutil.Process().memory_info().rss - memory < 8e6  # 1000 that are kept take 98 MB
    finally:
        gc.enable()


def test_after_its_end_a_resampler_gives_nothing() -> None:
    stream = Resampler(8000, RATE)
    assert len(stream.feed(tone(440, 8000), last=True))
    assert len(stream.feed(SILENCE, last=True)) == 0
    assert len(Resampler(8000, RATE).feed(SILENCE, last=True)) == 0


def test_what_the_new_rate_cannot_hold_is_filtered_out() -> None:
    assert np.abs(resample(tone(7000, 48_000), 48_000, 8000)[400:-400]).max() < 100


def test_float_and_back_is_the_same_and_clips() -> None:
    pcm = np.array([-32768, -1, 0, 1, 32767], np.int16)
    assert np.abs(to_pcm16(to_float(pcm)).astype(int) - pcm).max() <= 1
    assert to_pcm16(np.array([-2.0, 2.0])).tolist() == [-32767, 32767]


def test_what_is_no_number_is_silent() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 0.5], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert to_pcm16(odd).tolist() == [0, 32767, -32767, 16383]


def test_mu_law_is_what_libsndfile_makes_of_every_sample() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    file = BytesIO()
    soundfile.write(file, every, 8000, format="RAW", subtype="ULAW")
    assert ulaw_encode(every) == file.getvalue()


def test_mu_law_is_read_as_libsndfile_reads_every_byte() -> None:
    every = bytes(range(256))
    expected, _ = soundfile.read(
        BytesIO(every), dtype="int16", format="RAW", subtype="ULAW", samplerate=8000, channels=1
    )
    assert np.array_equal(ulaw_decode(every), expected)


def test_mu_law_takes_a_slice_and_nothing() -> None:
    pcm = np.arange(-3000, 3000, 7).astype(np.int16)
    assert ulaw_encode(pcm[::2]) == ulaw_encode(pcm[::2].copy())
    assert ulaw_encode(pcm[:0]) == b""
    assert len(ulaw_decode(b"")) == 0


def test_the_last_frame_is_padded_or_left_short() -> None:
    pcm = np.ones(FRAME + 5, np.int16)
    assert [len(frame) for frame in frames(pcm)] == [FRAME, FRAME]
    assert [len(frame) for frame in frames(pcm, pad=False)] == [FRAME, 5]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 60)), max_size=30))
def test_recent_audio_holds_what_was_not_let_go(steps: list[tuple[int, int]]) -> None:
    recent, whole = RecentAudio(), np.zeros(0, np.int16)
    dropped = 0
    for length, drop in steps:
        frame = np.arange(len(whole), len(whole) + length).astype(np.int16)
        recent.append(frame)
        whole = np.concatenate([whole, frame])
        dropped = max(dropped, min(drop * 10, len(whole)))
        recent.drop_before(dropped)
        kept = recent.since(dropped)
        assert np.array_equal(kept, whole[len(whole) - len(kept) :])
        assert len(kept) >= len(whole) - dropped


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_recent_audio_of_any_rate_is_given_out_at_the_one_that_is_heard(rate: int) -> None:
    recent, whole = RecentAudio(rate), tone(440, RATE)
    for piece in frames(tone(440, rate), rate // 20):
        recent.append(piece)
    position = 13 * FRAME
    recent.drop_before(position)
    kept = recent.since(position)
    assert len(kept) == pytest.approx(RATE - position, abs=2)
    middle = slice(200, -200)
    assert signal_to_noise_db(kept[middle], whole[position:][: len(kept)][middle]) > 40


FRACTION = st.none() | st.floats(0, 1)


@pytest.mark.parametrize("rate", [*SAMPLE_RATES, 22_050, 44_100])
@given(steps=st.lists(st.tuples(st.sampled_from([7, 441, 12_000, 48_000]), FRACTION, FRACTION), max_size=25))
@settings(deadline=None, max_examples=50)
def test_recent_audio_is_what_resampling_in_one_go_gives(
    rate: int, steps: list[tuple[int, float | None, float | None]]
) -> None:
    """Whatever came in which pieces, was let go of, and was asked for. But for the ends: 5 ms, as far as the filter
    reaches."""
    reach = RATE * 5 // 1000
    line = np.random.default_rng(rate).normal(0, 3000, sum(step[0] for step in steps)).astype(np.int16)
    whole = resample(line, rate, RATE)
    recent, end, dropped = RecentAudio(rate), 0, 0
    for length, drop, ask in steps:
        recent.append(line[end : end + length])
        end += length
        now = end * RATE // rate
        if drop is not None:
            dropped = max(dropped, round(drop * now))
            recent.drop_before(dropped)
        if ask is not None:
            position = round(dropped + ask * (now - dropped))
            kept = recent.since(position)
            assert abs(len(kept) - (now - position)) <= 2 or now < reach  # FFmpeg gives nothing for so little
            inner = slice(0, max(0, len(kept) - reach))
            error = kept[inner].astype(int) - whole[position : position + len(kept)][inner]
            assert np.abs(error).max(initial=0) <= 1


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_a_long_utterance_is_resampled_once_and_a_bit_at_a_time(
    rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    feed = Resampler.feed

    def counting(self: Resampler, pcm: Pcm16, *, last: bool = False) -> Pcm16:
        taken.append(len(pcm))
        return feed(self, pcm, last=last)

    monkeypatch.setattr(Resampler, "feed", counting)
    recent, whole = RecentAudio(rate), tone(440, rate, 60)
    for count, frame in enumerate(frames(whole, rate // 50), 1):
        recent.append(frame)
        if count % 100 == 0:  # a silence every 2 s: the transcriber and smart-turn ask
            assert len(recent.since(0)) == pytest.approx(count * FRAME, abs=2)
            recent.since(0)
    assert max(taken) <= 1.1 * rate
    assert sum(taken) <= 1.2 * len(whole)


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_an_idle_line_is_not_resampled_and_takes_no_memory(
    rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Resampler, "feed", None)
    recent, quarter = RecentAudio(rate), np.zeros(rate // 4, np.int16)
    for count in range(1, 1000):
        recent.append(quarter)
        recent.drop_before(count * RATE // 4 - RATE * 3 // 10)
    assert sum(map(len, (*recent._came, *recent._settled))) <= rate * 0.6


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_recent_audio_forgets_what_was_let_go_of_in_the_midst_of_speech(rate: int) -> None:
    recent = RecentAudio(rate)
    for count, frame in enumerate(frames(tone(440, rate, 30), rate // 50), 1):
        recent.append(frame)
        if count % 50 == 0:
            recent.since(0)
            recent.drop_before(count * FRAME - RATE)
    assert sum(map(len, recent._came)) + sum(map(len, recent._settled)) <= 2.1 * RATE + 1.1 * rate


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_a_frame_is_resampled_to_a_frame(rate: int) -> None:
    resampler = FrameResampler(rate)
    out = [resampler.feed(frame) for frame in frames(tone(440, rate), rate // 50)]
    assert {len(frame) for frame in out} == {FRAME}
    late = round(0.0025 * RATE)
    best = max(
        signal_to_noise_db(np.concatenate(out)[1600 + shift : -1600], tone(440, RATE)[1600 : -1600 - shift])
        for shift in range(late)
    )
    assert best > 40


def test_a_stereo_flac_is_read_as_mono_at_the_asked_rate(tmp_path: Path) -> None:
    left = tone(440, 44_100)
    soundfile.write(tmp_path / "a.flac", np.stack([left, left], axis=1), 44_100)
    audio = read_audio(tmp_path / "a.flac")
    assert len(audio) == pytest.approx(RATE, abs=2)
    assert signal_to_noise_db(audio[1600:-1600], tone(440, RATE)[: len(audio)][1600:-1600]) > 50


def test_a_wav_is_written_and_read_back(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(440, RATE), RATE)
    assert np.abs(read_audio(tmp_path / "a.wav").astype(int) - tone(440, RATE)).max() <= 1


def test_a_file_that_is_no_audio_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nothing\.wav: no such file"):
        read_audio(tmp_path / "nothing.wav")
    (tmp_path / "text.wav").write_text("not audio")
    with pytest.raises(AudioError, match=r"text\.wav: not audio"):
        read_audio(tmp_path / "text.wav")
    write_wav(tmp_path / "empty.wav", tone(440, RATE, 0), RATE)
    with pytest.raises(AudioError, match=r"empty\.wav: holds no audio"):
        read_audio(tmp_path / "empty.wav")
