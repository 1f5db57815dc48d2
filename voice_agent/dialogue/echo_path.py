"""The path of a sound from the loudspeaker to the microphone: its delay, its loudness and its reverberation.

Three models, each for what the one before leaves unexplained: `find_lag`, `Canceller` and `Coupling`.
`voice_agent.dialogue.echo` puts them together.
"""

import math
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from voice_agent.audio import FRAME, RATE, ms_to_samples

Floats: TypeAlias = NDArray[np.floating[Any]]
"""Audio in the units of PCM16, or power; float32."""
Spectrum: TypeAlias = NDArray[np.complexfloating[Any, Any]]

SEARCH: Final = 4096
"""Samples of the microphone in which an echo is looked for: 256 ms."""
FAINT: Final = 20.0
"""Amplitude (of 32768) below which there is nothing to find."""
_STRIDE: Final = 2
"""The search runs at 8 kHz: all that a phone carries, at half the cost."""
_FFT: Final = 9600
"""At least the samples searched at 8 kHz (9408), and quick to transform."""
_BIN_HZ: Final = np.fft.rfftfreq(_FFT, _STRIDE / RATE)
_VOICE: Final = (_BIN_HZ > 250) & (_BIN_HZ < 3600)
_BLOCK: Final = 80
"""10 ms at 8 kHz."""


def find_lag(mic: Floats, played: Floats) -> tuple[int, float]:
    """Where in `played` the sound of `mic` begins, in samples, and how sure that is.

    Generalized cross-correlation with the phase transform (Knapp and Carter 1976). The sureness is the peak over
    the RMS of the correlation: about 5 to 8 where there is no echo, 10 to 50 where there is.
    """
    heard, sound = (x[: len(x) // 2 * 2].reshape(-1, _STRIDE).sum(1) for x in (mic, played))
    white_heard, white_sound = _whiten(heard), _whiten(sound)
    places = len(sound) - len(heard) + 1
    fit = np.abs(np.fft.irfft(np.conj(white_heard) * white_sound, _FFT)[:places])
    best = int(fit.argmax())
    # Only where both have sound is there something to compare: a peak must stand out from those places, and not
    # from silence.
    overlap = np.correlate(_has_sound(sound), _has_sound(heard), "valid")
    comparable = np.repeat(overlap >= 4, _BLOCK)[:places]
    if overlap[min(best // _BLOCK, len(overlap) - 1)] < 8 or not comparable.any():
        return _STRIDE * best, 0.0
    sureness = float(fit[best] / np.sqrt(np.mean(fit[: len(comparable)][comparable] ** 2) + 1e-20))
    if sureness > 6:
        # Two clicks fit each other anywhere. An echo fits all along: the best two of 16 parts don't count for much.
        product = np.fft.irfft(white_heard, _FFT)[: len(heard)]
        product = product * np.fft.irfft(white_sound, _FFT)[best : best + len(heard)]
        parts = np.sort(np.abs(product.reshape(16, -1).sum(1)))
        sureness *= min(1.0, float(parts[:-2].sum() / (parts.sum() + 1e-20)) / 0.6)
    return _STRIDE * best, sureness


def _whiten(x: Floats) -> Spectrum:
    spectrum = np.fft.rfft(np.diff(x, prepend=x[:1]), _FFT)
    size = np.abs(spectrum)
    white: Spectrum = np.where(_VOICE, spectrum / (size + 1e-2 * size.max() + 1e-9), 0)
    return white


def _has_sound(x: Floats) -> Floats:
    energy = np.square(x[: len(x) // _BLOCK * _BLOCK]).reshape(-1, _BLOCK).sum(1)
    has: Floats = (energy > max(1e-3 * float(energy.max()), _BLOCK * FAINT**2)).astype(np.float32)
    return has


PARTS: Final = 12
"""Frames of echo that the filter spans: 240 ms from the sound to the end of its reverberation."""
EARLY: Final = ms_to_samples(3)
"""The loudest path need not be the first; the filter begins this much before it."""
NEAR: Final = ms_to_samples(1.5)
"""By how much a lag may be off where a room has several paths as loud."""


class Canceller:
    """Partitioned-block frequency-domain Kalman filter (Enzner and Vary 2006; Kuech, Mabande and Enzner 2014).

    It slows down by itself where the user speaks too, as it takes what it can't explain for noise.
    """

    KEEP: Final = 0.998
    """Share of the path that is the same a frame later."""
    DECAY: Final = 0.5
    """Of the power expected in each part of the path, against the part before."""

    def __init__(self, heard: Floats | None = None, played: Floats | None = None) -> None:
        """Expect a path as loud as `heard` over `played`."""
        bins = FRAME + 1
        gain = 1.0
        if heard is not None and played is not None:
            gain = min(4.0, float(heard @ heard) / float(played @ played + 1))
        self._sound = np.zeros((PARTS, bins), np.complex64)
        self._loud = np.zeros((PARTS, bins), np.float32)
        self._path = np.zeros((PARTS, bins), np.complex64)
        decay = (1 - self.DECAY) * self.DECAY ** np.arange(PARTS, dtype=np.float32)
        self._doubt = np.repeat((gain * decay)[:, None], bins, 1).astype(np.float32)
        """Expected squared error of the path."""
        self._noise = np.full(bins, 1e3, np.float32)
        self._turn = 0
        self._block = np.zeros(2 * FRAME, np.float32)

    def recall(self, played: Floats) -> None:
        """Take the audio that was played before the next frame, PARTS * FRAME samples."""
        before = np.lib.stride_tricks.sliding_window_view(played, 2 * FRAME)[::FRAME][::-1]
        self._sound[:] = 0
        self._sound[: len(before)] = np.fft.rfft(before)
        self._loud = _power(self._sound)

    def feed(self, frame: Floats, played: Floats) -> Floats:
        """The rest of a frame without its echo; `played` holds 2 * FRAME samples and ends where the frame does."""
        self._sound[1:] = self._sound[:-1]
        self._sound[0] = np.fft.rfft(played)
        self._loud[1:] = self._loud[:-1]
        self._loud[0] = _power(self._sound[0])
        left: Floats = frame - np.fft.irfft((self._sound * self._path).sum(0))[FRAME:]
        self._block[FRAME:] = left
        error = np.fft.rfft(self._block)
        self._noise = 0.8 * self._noise + 0.2 * _power(error) + 1
        unsure = 0.5 * self._doubt * self._loud
        expected = unsure.sum(0) + self._noise
        self._path += np.conj(self._sound) * self._doubt * (error / expected)
        self._doubt *= self.KEEP**2 * (1 - unsure / expected)
        # Each part of the path is FRAME samples long, and may have changed since. One part every other frame is as
        # good as all of them in each.
        self._turn = (self._turn + 1) % (2 * PARTS)
        part, odd = divmod(self._turn, 2)
        if not odd:
            taps = np.fft.irfft(self._path[part])
            taps[FRAME:] = 0
            self._path[part] = np.fft.rfft(taps)
            self._doubt[part] += 2 * PARTS * (1 - self.KEEP**2) * _power(self._path[part])
        return left

    def shift(self, heard: Floats, played: Floats) -> int:
        """How many samples later than predicted `heard` comes, at most NEAR either way.

        `played` ends where `heard` does, and begins PARTS * FRAME samples before it.
        """
        size = len(played) + PARTS * FRAME
        taps = np.fft.irfft(self._path)[:, :FRAME].ravel()
        echo = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(taps, size), size)[
            PARTS * FRAME : len(played)
        ]
        fit = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(echo, size)), size)
        return int(np.concatenate((fit[-NEAR:], fit[: NEAR + 1])).argmax()) - NEAR


def _power(spectrum: Spectrum) -> Floats:
    power: Floats = spectrum.real**2 + spectrum.imag**2
    return power


WINDOW: Final = 512
"""Samples that are compared at a time: 32 ms, up to the end of a frame."""
BANDS: Final = 20
"""Between 150 and 7200 Hz, spaced as on the mel scale."""
AUDIBLE: Final = 3e5
"""Power in a band from which what is played can tell something of the echo: about -65 dBFS."""


class Coupling:
    """The level of the echo in each band, relative to what is played."""

    TAIL: Final = 0.5
    """Power of a sound's echo against the frame before: -3 dB in 20 ms is the decay of a living room (0.4 s)."""
    SPREAD: Final = 0.05
    """A loudspeaker's distortion: of the power in all bands, how much may come back in any of them."""
    RISE: Final = 10 ** (0.5 / 10)
    FALL: Final = 10 ** (-0.25 / 10)
    """Steps a frame of a gain whose echo was louder, or was not: it ends where a third of the frames are louder."""
    MARGIN: Final = 3.0
    CAP: Final = 20.0
    """Levels in dB over the echo: only the excess over MARGIN counts, and no more than CAP of it."""
    TOGETHER: Final = 0.3
    """Weight of the excess of all bands together, against the mean of what it is in each: the voice of a telephone
    is in few of them."""

    def __init__(self) -> None:
        self._gain = np.full(BANDS, 0.1, np.float32)
        self._sound = np.zeros(BANDS, np.float32)
        """Power of what was played and has not died away, by band."""
        self._noise = np.full(BANDS, np.inf, np.float32)
        self._before = np.ones(BANDS, np.float32)
        self._after = np.ones(BANDS, np.float32)
        """Usual power of an echo before and after the canceller."""
        self._score = 0.0

    def begin(self, left: Floats, sound: Floats) -> None:
        """Learn from successive frames at once; shapes (frames, BANDS)."""
        for row in sound:
            self._sound = row + self.TAIL * self._sound
        self._gain = np.clip(left.sum(0) / (sound.sum(0) / (1 - self.TAIL) + AUDIBLE), 1e-6, 4.0)

    def unfilter(self) -> None:
        """The canceller may be off: expect what there would be without it."""
        self._gain = np.clip(self._gain * self._before / self._after, self._gain, 4.0)

    def score_unfiltered(self, mic: Floats, sound: Floats) -> float:
        """See `score`, without a canceller, and learning nothing."""
        self._hear_noise(mic)
        return self._excess(mic, self._gain * self._before / self._after * sound / (1 - self.TAIL))

    def score(self, mic: Floats, left: Floats, sound: Floats, users: float) -> float:
        """The excess of a frame over the echo that is expected, in dB, over the bands and the last frames.

        Learns, little where the score is that of the user. All take power in each band.
        """
        self._hear_noise(left)
        self._sound = sound + self.TAIL * self._sound
        echo = self._gain * self._sound
        self._score = 0.5 * self._score + 0.5 * self._excess(left, echo)
        audible = (self._sound > AUDIBLE) & (echo + left > 4 * self._noise)
        users_turn = self._score >= users
        if not users_turn:
            slowly = 0.03 * audible
            self._before += slowly * (mic - self._before)
            self._after += slowly * (left - self._after)
        self._gain[audible & (left > echo)] *= self.RISE**0.2 if users_turn else self.RISE
        self._gain[audible & (left <= echo)] *= self.FALL
        return self._score

    def _hear_noise(self, power: Floats) -> None:
        self._noise = np.minimum(self._noise * 1.01, power + 1)

    def _excess(self, power: Floats, echo: Floats) -> float:
        expected = echo + 2 * self._noise + (self.SPREAD / BANDS * float(echo.sum()) + 30)
        over = 10 * np.log10((power + 1) / expected) - self.MARGIN
        together = 10 * math.log10(float(power.sum()) / float(expected.sum()) + 1e-9) - self.MARGIN
        bands = float(np.minimum(np.maximum(over, 0), self.CAP).sum()) / BANDS
        return bands + self.TOGETHER * min(max(together, 0), self.CAP)


def _mel() -> Floats:
    hz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    edges = 700 * (np.geomspace(1 + 150 / 700, 1 + 7200 / 700, BANDS + 2) - 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle)), 0).T.astype(
        np.float32
    )


_MEL: Final = _mel()
_HANN: Final = np.hanning(WINDOW).astype(np.float32)


def bands(windows: Floats) -> Floats:
    """Power of each window in each band; shapes (n, WINDOW) and (n, BANDS)."""
    power: Floats = _power(np.fft.rfft(windows * _HANN)) @ _MEL
    return power
