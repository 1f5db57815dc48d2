"""Noise of rooms, and how loud things are."""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from voice_agent.audio import Pcm16, ms_to_samples

Array: TypeAlias = NDArray[np.float64]

PAUSE_BELOW_DB: Final = 20.0
WINDOW_MS: Final = 20
"""With the one above: a window that is 20 dB below the loudest one is a pause, and does not count for the level of
speech. ITU-T P.56 does the same, with a margin of 15.9 dB to the level that it finds."""


def one_over_f(samples: int, rng: np.random.Generator) -> Array:
    """Noise whose power falls as 1/f, about as a room's does; its mean square is 1."""
    spectrum = np.fft.rfft(rng.normal(size=samples)) / np.sqrt(np.arange(1, samples // 2 + 2))
    noise = np.fft.irfft(spectrum, samples)
    return np.asarray(noise / noise.std())


def rms(audio: NDArray[np.generic]) -> float:
    """Root mean square; 0 for no audio."""
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if len(audio) else 0.0


def speech_level(pcm: Pcm16, rate: int) -> float:
    """Root mean square of speech without its pauses, so that a hesitation does not make it quieter."""
    size = ms_to_samples(WINDOW_MS, rate)
    if len(pcm) < size:
        return rms(pcm)
    power = np.square(pcm[: len(pcm) // size * size].reshape(-1, size), dtype=np.float64).mean(axis=1)
    return float(np.sqrt(power[power >= power.max() / 10 ** (PAUSE_BELOW_DB / 10)].mean()))


def attenuated(level: float, by_db: float) -> float:
    """A level so many decibels lower."""
    return float(level * 10 ** (-by_db / 20))


def clipped(audio: Array) -> Pcm16:
    """Samples in the range of 16 bits: what is too loud is cut off at the limit, and does not wrap around."""
    pcm: Pcm16 = np.clip(np.round(audio), -32768, 32767).astype(np.int16)
    return pcm
