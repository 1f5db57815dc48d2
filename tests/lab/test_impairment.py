"""The bad line and the bad room: measured, not believed."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from voice_agent.audio import RATE, SAMPLE_RATES, Pcm16, frames, write_wav
from voice_agent.errors import AudioError, LabError
from voice_agent.lab.impairment import Impairment, Line
from voice_agent.lab.noise import one_over_f, rms, speech_level

SECONDS = 20.0


def white(level: float, rate: int = RATE, seconds: float = SECONDS, seed: int = 1) -> Pcm16:
    pcm: Pcm16 = (
        np.random.default_rng(seed)
        .normal(0, level, round(seconds * rate))
        .clip(-32768, 32767)
        .astype(np.int16)
    )
    return pcm


def silent(rate: int = RATE, seconds: float = SECONDS) -> Pcm16:
    return np.zeros(round(seconds * rate), np.int16)


def through(line: Line, voice: Pcm16, played: Pcm16, rate: int = RATE) -> Pcm16:
    """What the microphone picks up."""
    size = rate // 50
    pairs = zip(frames(voice, size), frames(played, size), strict=True)
    return np.concatenate([line.microphone(frame, heard) for frame, heard in pairs])


def decibels(ratio: float) -> float:
    return float(20 * np.log10(ratio))


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Three seconds of it."""
    path = tmp_path / "noise.wav"
    write_wav(path, (one_over_f(3 * RATE, np.random.default_rng(3)) * 1000).astype(np.int16), RATE)
    return path


def test_a_good_line_changes_nothing() -> None:
    line = Line(Impairment(), RATE)
    voice = white(3000, seconds=1)
    np.testing.assert_array_equal(through(line, voice, white(3000, seconds=1, seed=2)), voice)
    assert [line.delay_s(number) for number in range(100)] == [0.0] * 100


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("snr_db", [5.0, 20.0])
def test_noise_has_its_distance_to_the_speech(noise: Path, rate: int, snr_db: float) -> None:
    line = Line(Impairment(noise=noise, snr_db=snr_db), rate)
    line.set_speech_level(2000)
    heard = through(line, silent(rate), silent(rate), rate)
    assert decibels(2000 / rms(heard)) == pytest.approx(snr_db, abs=1)


def test_the_voice_is_in_the_noise_as_it_was(noise: Path) -> None:
    voice = white(2000)
    with_voice = through(Line(Impairment(noise=noise), RATE), voice, silent())
    without = through(Line(Impairment(noise=noise), RATE), silent(), silent())
    np.testing.assert_allclose(with_voice.astype(int) - without, voice, atol=1)


def test_the_noise_is_looped_without_a_click(tmp_path: Path) -> None:
    """A tone that ends in the middle of its period would jump where the loop closes."""
    path = tmp_path / "hum.wav"
    tone = 8000 * np.sin(2 * np.pi * 100.3 * np.arange(RATE) / RATE + 1)
    write_wav(path, tone.astype(np.int16), RATE)
    line = Line(Impairment(noise=path, snr_db=0), RATE)
    heard = through(line, silent(), silent()).astype(int)
    steepest = 2 * np.pi * 100.3 / RATE * np.abs(heard).max()
    assert np.abs(np.diff(heard)).max() < 1.5 * steepest


def test_noise_that_cannot_be_had_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"absent\.wav: no such file"):
        Line(Impairment(noise=tmp_path / "absent.wav"), RATE)
    write_wav(tmp_path / "silent.wav", silent(seconds=1), RATE)
    with pytest.raises(LabError, match=r"silent\.wav: there is no sound"):
        Line(Impairment(noise=tmp_path / "silent.wav"), RATE)


def response(impairment: Impairment, rate: int = RATE) -> NDArray[np.float64]:
    """The way from the loudspeaker to the microphone, found by correlation with white noise."""
    played = white(8000, rate)
    heard = through(Line(impairment, rate), silent(rate), played, rate)
    size = 1 << (2 * len(played) - 1).bit_length()
    across = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(played, size)), size)
    return np.asarray(across[: rate // 2] / np.square(played, dtype=float).sum())


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("echo_db", [10.0, 30.0])
def test_the_echo_has_its_level(rate: int, echo_db: float) -> None:
    played = white(8000, rate)
    heard = through(Line(Impairment(echo_db=echo_db), rate), silent(rate), played, rate)
    assert decibels(rms(played) / rms(heard)) == pytest.approx(echo_db, abs=1)


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_the_echo_comes_late_and_the_room_dies_away_behind_it(rate: int) -> None:
    found = response(Impairment(echo_db=6, seed=5), rate)
    direct = int(np.abs(found).argmax())
    assert 40 <= direct * 1000 / rate <= 60
    assert np.abs(found[: direct - 2]).max() < 0.05 * found[direct]
    early, late = (rms(found[direct + rate * ms // 1000 :][: rate // 25]) for ms in (2, 102))
    assert decibels(early / late) == pytest.approx(20, abs=4)  # 60 dB in 300 ms


def test_the_echo_goes_on_after_what_was_played() -> None:
    line = Line(Impairment(echo_db=0), RATE)
    line.microphone(np.zeros(320, np.int16), white(8000, seconds=0.02))
    tail = [line.microphone(np.zeros(320, np.int16), np.zeros(0, np.int16)) for _ in range(30)]
    assert tail[5].any()
    assert not tail[-1].any()


def test_what_is_too_loud_is_clipped_and_does_not_wrap() -> None:
    line = Line(Impairment(echo_db=0), RATE)
    loud = np.full(RATE, 30_000, np.int16)
    heard = through(line, loud, loud)
    assert heard.max() == 32767
    assert heard.min() >= 0


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_the_telephone_lets_its_band_through_and_nothing_else(rate: int) -> None:
    voice = white(4000, rate)
    heard = through(Line(Impairment(mulaw=True), rate), voice, silent(rate), rate)
    hertz = np.fft.rfftfreq(len(voice), 1 / rate)
    before, after = (np.abs(np.fft.rfft(pcm)) ** 2 for pcm in (voice, heard))

    def gain_db(low: float, high: float) -> float:
        band = (hertz >= low) & (hertz < high)
        return float(10 * np.log10(after[band].sum() / before[band].sum()))

    assert gain_db(350, 3300) == pytest.approx(0, abs=1)
    assert gain_db(20, 150) < -25
    if rate > 8000:
        assert gain_db(4600, rate / 2) < -30


def test_mulaw_is_coarse_in_proportion_to_the_level() -> None:
    """G.711 keeps about 38 dB between a signal and its own noise, at any level."""
    tone = np.sin(2 * np.pi * 1020 * np.arange(RATE) / RATE)
    for level in (300, 10_000):
        heard = through(
            Line(Impairment(mulaw=True), RATE), (level * tone).astype(np.int16), silent(seconds=1)
        )
        power = np.abs(np.fft.rfft(heard[RATE // 5 :] * np.hanning(len(heard) - RATE // 5))) ** 2
        peak = int(power.argmax())
        signal = power[peak - 3 : peak + 4].sum()
        assert 25 < 10 * np.log10(signal / (power.sum() - signal)) < 45


def delays(impairment: Impairment, count: int = 50_000, call: int = 0) -> list[float | None]:
    line = Line(impairment, RATE, call)
    return [line.delay_s(number) for number in range(count)]


@pytest.mark.parametrize("loss", [0.01, 0.1, 0.5])
def test_so_many_frames_are_lost_and_in_bursts(loss: float) -> None:
    lost = np.array([delay is None for delay in delays(Impairment(loss=loss), 300_000)])
    assert lost.mean() == pytest.approx(loss, rel=0.15)
    bursts = np.count_nonzero(np.diff(lost.astype(int)) == 1)
    assert lost.sum() / bursts == pytest.approx(3, rel=0.15)


def test_jitter_never_reorders_and_has_its_mean_where_frames_do_not_meet() -> None:
    late = np.array(delays(Impairment(jitter_ms=4)), float)
    leaves = late + np.arange(len(late)) * 0.02
    assert (np.diff(leaves) > -1e-9).all()
    assert late.mean() == pytest.approx(0.004, rel=0.1)
    heavy = np.array(delays(Impairment(jitter_ms=40)), float)
    assert (np.diff(heavy + np.arange(len(heavy)) * 0.02) > -1e-9).all()
    assert heavy.mean() > 0.04


def test_in_a_stall_nothing_leaves_and_then_all_at_once() -> None:
    late = np.array(delays(Impairment(stall_ms=400, stall_every_s=5), 3000), float)
    leaves = late + np.arange(len(late)) * 0.02
    gaps = np.flatnonzero(np.diff(leaves) > 0.021)
    assert len(gaps) == pytest.approx(12, abs=1)  # in a minute
    assert np.diff(leaves[gaps + 1]) == pytest.approx(5.0)
    assert late.max() == pytest.approx(0.4, abs=0.021)
    released = np.flatnonzero(np.isclose(leaves, leaves[gaps[0] + 1]))
    assert len(released) == pytest.approx(20, abs=1)
    assert np.count_nonzero(late) <= 21 * 12


def test_the_same_seed_gives_the_same_call_and_another_call_is_another(noise: Path) -> None:
    bad = Impairment(jitter_ms=20, loss=0.05, stall_ms=100, noise=noise, echo_db=20, mulaw=True, seed=7)
    voice, played = white(2000, seconds=2), white(2000, seconds=2, seed=2)
    one, again, other = (through(Line(bad, RATE, call), voice, played) for call in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert delays(bad, 500) == delays(bad, 500) != delays(bad, 500, call=1)
    reseeded = bad.model_copy(update={"seed": 8})
    assert delays(bad, 500) != delays(reseeded, 500)


def test_frames_come_in_turn_and_have_20_ms() -> None:
    line = Line(Impairment(jitter_ms=1), RATE)
    line.delay_s(0)
    with pytest.raises(ValueError, match="turn of 1"):
        line.delay_s(2)
    with pytest.raises(ValueError, match="has 320"):
        line.microphone(np.zeros(160, np.int16), np.zeros(160, np.int16))


def test_a_result_names_what_was_set_and_no_more(noise: Path) -> None:
    assert Impairment(snr_db=3, stall_every_s=4, seed=5).as_dict() == {}
    assert Impairment(echo_db=0).as_dict() == {"echo_db": 0.0, "seed": 0}
    assert Impairment(jitter_ms=20, loss=0.1, stall_ms=50, mulaw=True, noise=noise, seed=2).as_dict() == {
        "jitter_ms": 20.0,
        "loss": 0.1,
        "stall_ms": 50.0,
        "stall_every_s": 10.0,
        "mulaw": True,
        "noise": "noise.wav",
        "snr_db": 20.0,
        "seed": 2,
    }


@pytest.mark.parametrize(
    "wrong", [{"loss": 0.9}, {"jitter_ms": -1}, {"stall_ms": 10_000}, {"snr_db": float("nan")}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Impairment.model_validate(wrong)


def test_pauses_do_not_make_speech_quieter() -> None:
    voice = white(3000, seconds=1)
    assert speech_level(np.concatenate((voice, silent(seconds=3), voice)), RATE) == pytest.approx(
        3000, rel=0.02
    )
