"""Formats, resampling and files."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.audio import (
    FRAME,
    RATE,
    SAMPLE_RATES,
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


def test_what_the_new_rate_cannot_hold_is_filtered_out() -> None:
    assert np.abs(resample(tone(7000, 48_000), 48_000, 8000)[400:-400]).max() < 100


def test_float_and_back_is_the_same_and_clips() -> None:
    pcm = np.array([-32768, -1, 0, 1, 32767], np.int16)
    assert np.abs(to_pcm16(to_float(pcm)).astype(int) - pcm).max() <= 1
    assert to_pcm16(np.array([-2.0, 2.0])).tolist() == [-32767, 32767]


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
