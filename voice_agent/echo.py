"""Tells the agent's own voice, come back through the user's microphone, from the user's.

What is played is known, so the echo can be looked for. Four steps, each on what the one before left:

1. How late the microphone hears what is played: `find_lag`, a generalized cross-correlation.
2. What a loudspeaker and a room make of it: `_Canceller`, an adaptive filter; its prediction is subtracted.
3. How much echo is left after that (distortion, late reverberation, a browser's own canceller): `_Coupling`,
   one gain for each band, learned.
4. A frame that is louder than that is the user's; any other is echo.

Until a correlation has shown that the microphone hears what is played, nothing is echo: on headphones and on a
phone line nobody is ever held back, and what it costs is at most a pause at the start of a session's first
reply, which is taken back. After that the first second of each reply is expected to come back as well.

The guard knows no clock, no engine and no task; time is counted in samples received.
"""

import difflib
import math
import re
from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_agent.audio import FRAME, RATE, Pcm16, ms_to_samples

Floats = NDArray[np.float32]
Spectrum = NDArray[np.complex64]

EARLIEST: Final = -ms_to_samples(160)
"""Least lag of the echo behind the moment that `play` was given: that one is an estimate, and can be late."""
LATEST: Final = ms_to_samples(760)
"""Most: 600 ms of buffers and air, and an estimate that was early."""
WANDER: Final = ms_to_samples(310)
"""Most by which the lag differs between two replies of a session: both estimates are off, by 150 ms at most."""
JOIN: Final = ms_to_samples(150)
"""Audio that is said to begin this close to the end of what was scheduled follows on it, without a gap."""
REVERB: Final = ms_to_samples(300)
"""Echo may be heard for this long after the sound."""
KEPT: Final = 8 * RATE
"""Schedule that is remembered: the client's lead (3 s) ahead, and the past in which an echo is looked for."""


class EchoGuard:
    """Tells the agent's own voice, come back through the microphone, from the user's. One for each session.

    Give it everything that is played, and every frame heard while there is something to hear. A frame costs
    about as much as Silero does while there is, and next to nothing otherwise. 0.5 MB.
    """

    THRESHOLD: Final = 2.2
    """Score (see `_Coupling.score`, dB) from which a frame is the user's. Chosen on simulated rooms; see
    docs/latency.md."""
    SURE: Final = 11.0
    """Sureness of a lag (see `find_lag`) at which it is believed at once: speech that is no echo gave at most 10.3
    in 120 conversations."""
    LIKELY: Final = 8.0
    """The same, where the lag is also near the one before, or was found in earlier audio too."""
    AGREE: Final = ms_to_samples(2)
    """Lags this near each other are one."""
    PATIENCE: Final = 50
    """Frames of sound without a sign of the echo that was there in the reply before; then it is gone (headphones)."""
    EVERY: Final = 25
    """Frames between two looks at a lag that is known: it moves where a player runs dry."""
    TIRED: Final = 50
    """Looks in one reply without any success after which one in five frames has to do."""

    def __init__(self) -> None:
        self._played = _Played()
        self._mic = np.zeros(SEARCH, np.float32)
        self._left = np.zeros(WINDOW, np.float32)
        """The latest that the canceller left of the microphone."""
        self._heard_up_to = 0
        self._lag: int | None = None
        """Of the echo; None where there is none that is known of. Samples."""
        self._confirmed = False
        """Whether the lag was seen in this reply: between replies it moves."""
        self._seen: deque[tuple[int, int]] = deque(maxlen=40)
        """Likely lags of this reply: when, and which."""
        self._cut = False
        self._starts: deque[int] = deque()
        """Of replies that are scheduled and not heard yet."""
        self._start = 0
        """Of the reply that is heard."""
        self._frames = 0
        """Of this reply, heard."""
        self._looks = 0
        self._missing = 0
        """Frames of this reply in which the echo should have shown itself."""
        self._canceller = _Canceller()
        self._coupling = _Coupling()

    def play(self, pcm: Pcm16, at: int) -> None:
        """Audio at RATE that begins to sound at about sample `at` of the session's count."""
        end = self._played.end
        if at > end + JOIN or self._cut:
            at = max(at, end)
            self._cut = False
            self._starts.append(at)
        else:
            at = end
        self._played.write(pcm, at)

    def stop(self, at: int) -> None:
        """Playback was paused or cut at `at`: what was scheduled after it will not sound."""
        self._played.cut(at)
        self._cut = True
        while self._starts and self._starts[-1] >= at:
            self._starts.pop()

    def is_echo(self, frame: Pcm16, at: int) -> bool:
        """Whether what is heard is explained by what was played; `frame` holds FRAME samples at RATE, from `at` on."""
        if at > self._played.end + LATEST + REVERB:
            return False
        end = at + FRAME
        whole = at == self._heard_up_to
        self._heard_up_to = end
        samples = frame.astype(np.float32)
        self._mic = np.concatenate((self._mic[FRAME:] if whole else self._mic[FRAME:] * 0, samples))
        while self._starts and at >= self._starts[0] + (self._lag or 0) - WANDER:
            self._begin(self._starts.popleft())
        self._frames += 1
        if self._is_time_to_look():
            self._look(end)
        if self._lag is None:
            return False
        if not self._confirmed:
            return self._expected(self._lag, end)
        if not whole:
            self._canceller.recall(self._sounding(self._lag, at, PARTS * FRAME))
        left = self._canceller.feed(samples, self._sounding(self._lag, end, 2 * FRAME))
        self._left = np.concatenate((self._left[FRAME:], left))
        mic, rest, sound = _bands(
            np.stack((self._mic[-WINDOW:], self._left, self._played.read(end - self._lag - WINDOW, WINDOW)))
        )
        return self._coupling.score(mic, rest, sound, self.THRESHOLD) < self.THRESHOLD

    def _begin(self, start: int) -> None:
        """Another reply is heard from now on."""
        self._start = start
        self._confirmed = False
        self._seen.clear()
        self._frames = self._looks = self._missing = 0

    def _sounding(self, lag: int, end: int, length: int) -> Floats:
        """What was played so that it is heard up to `end`, or just after: the filter wants what comes early too."""
        return self._played.read(end - lag + EARLY - length, length)

    def _expected(self, lag: int, end: int) -> bool:
        """Whether what is heard is no louder than the echo would be at any lag that is near the last reply's."""
        span = self._played.read(end - lag - WANDER - WINDOW, WINDOW + 2 * WANDER)
        sound = _bands(np.lib.stride_tricks.sliding_window_view(span, WINDOW)[::FRAME]).max(0)
        self._missing += bool(sound.max() > AUDIBLE)
        if self._missing > self.PATIENCE:
            self._lag = None
        [mic] = _bands(self._mic[None, -WINDOW:])
        return self._coupling.score_unfiltered(mic, sound) < self.THRESHOLD

    def _is_time_to_look(self) -> bool:
        if self._confirmed:
            return self._frames % self.EVERY == 0
        return self._looks < self.TIRED or self._frames % 5 == 0

    def _look(self, end: int) -> None:
        """Look for the echo, and for how late it is."""
        if self._mic @ self._mic < SEARCH * FAINT**2:
            return
        first = end - SEARCH - LATEST
        played = self._played.read(first, SEARCH + LATEST - EARLIEST)
        played[: max(0, self._start - first)] = 0  # the echo of the reply before tells nothing of this one's
        if played.max() < FAINT:
            return
        self._looks += 1
        offset, sureness = find_lag(self._mic, played)
        if sureness < self.LIKELY:
            return
        lag = LATEST - offset
        again = any(end - when >= SEARCH and abs(lag - other) <= self.AGREE for when, other in self._seen)
        self._seen.append((end, lag))
        if self._confirmed:
            if again and self._lag is not None and abs(lag - self._lag) > 2 * self.AGREE:
                self._aim(lag, end)
        elif again or sureness > self.SURE or (self._lag is not None and abs(lag - self._lag) <= WANDER):
            self._aim(lag, end)

    def _aim(self, lag: int, end: int) -> None:
        """Take up the echo at `lag`, and learn at once from the audio that showed it."""
        length = PARTS * FRAME
        if self._lag is None:
            self._coupling = _Coupling()
            self._canceller = _Canceller(self._mic, self._played.read(end - lag - SEARCH, SEARCH))
        else:
            self._coupling.unfilter()
            lag += self._canceller.shift(self._mic, self._sounding(lag, end, SEARCH + length))
        fresh, self._lag, self._confirmed = self._lag is None, lag, True
        start = end - SEARCH // FRAME * FRAME
        self._canceller.recall(self._sounding(lag, start, length))
        heard = self._mic[-(end - start) :].reshape(-1, FRAME)
        windows = []
        for count, frame in enumerate(heard[:-1], 1):  # the last one is fed by `is_echo`
            now = start + count * FRAME
            left = self._canceller.feed(frame, self._sounding(lag, now, 2 * FRAME))
            self._left = np.concatenate((self._left[FRAME:], left))
            windows.append((self._left, self._played.read(now - lag - WINDOW, WINDOW)))
        if fresh:
            rests, sounds = zip(*windows, strict=True)
            self._coupling.begin(_bands(np.stack(rests)), _bands(np.stack(sounds)))


class _Played:
    """What sounds when, on the session's count of samples: the latest KEPT of it, and silence elsewhere."""

    def __init__(self) -> None:
        self._ring = np.zeros(KEPT, np.int16)
        self.end = 0
        """Of what is scheduled, samples."""

    def write(self, pcm: Pcm16, at: int) -> None:
        """Schedule audio, not before `end`."""
        silence = min(at - self.end, KEPT)
        self._put(np.zeros(silence, np.int16), at - silence)
        self.end = at + len(pcm)
        self._put(pcm[-KEPT:], self.end - len(pcm[-KEPT:]))

    def cut(self, at: int) -> None:
        """Nothing sounds from here on."""
        self.end = min(self.end, at)

    def read(self, start: int, length: int) -> Floats:
        """What sounds from `start` on."""
        out = np.zeros(length, np.float32)
        low, high = max(start, self.end - KEPT, 0), min(start + length, self.end)
        if low < high:
            first, last = low % KEPT, (high - 1) % KEPT + 1
            out[low - start : high - start] = (
                self._ring[first:last]
                if first < last
                else np.concatenate((self._ring[first:], self._ring[:last]))
            )
        return out

    def _put(self, pcm: Pcm16, at: int) -> None:
        first = at % KEPT
        head = pcm[: KEPT - first]
        self._ring[first : first + len(head)] = head
        self._ring[: len(pcm) - len(head)] = pcm[len(head) :]


# 1. The lag

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
    return (energy > max(1e-3 * float(energy.max()), _BLOCK * FAINT**2)).astype(np.float32)


# 2. What a linear path explains

PARTS: Final = 12
"""Frames of echo that the filter spans: 240 ms from the sound to the end of its reverberation."""
EARLY: Final = ms_to_samples(3)
"""The loudest path need not be the first; the filter begins this much before it."""
NEAR: Final = ms_to_samples(1.5)
"""By how much a lag may be off where a room has several paths as loud."""


class _Canceller:
    """Partitioned-block frequency-domain Kalman filter (Enzner and Vary 2006; Kuech, Mabande and Enzner 2014).

    It slows down by itself where the user speaks too, as it takes what it can't explain for noise.
    """

    KEEP: Final = 0.998
    """How much of the path is the same a frame later."""
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
        self._next = 0
        """Part of the path that was seen to last."""
        self._block = np.zeros(2 * FRAME, np.float32)

    def recall(self, played: Floats) -> None:
        """What was played before the next frame, PARTS * FRAME samples."""
        before = np.lib.stride_tricks.sliding_window_view(played, 2 * FRAME)[::FRAME][::-1]
        self._sound[:] = 0
        self._sound[: len(before)] = np.fft.rfft(before)
        self._loud = _power(self._sound)

    def feed(self, frame: Floats, played: Floats) -> Floats:
        """What is left of a frame without its echo; `played` holds 2 * FRAME samples and ends where the frame does."""
        self._sound[1:] = self._sound[:-1]
        self._sound[0] = np.fft.rfft(played)
        self._loud[1:] = self._loud[:-1]
        self._loud[0] = _power(self._sound[0])
        left: Floats = frame - np.fft.irfft(np.einsum("pb,pb->b", self._sound, self._path))[FRAME:]
        self._block[FRAME:] = left
        error = np.fft.rfft(self._block)
        self._noise = 0.8 * self._noise + 0.2 * _power(error) + 1
        unsure = 0.5 * self._doubt * self._loud
        step = error / (unsure.sum(0) + self._noise)
        self._path += np.conj(self._sound) * self._doubt * step
        self._doubt *= self.KEEP**2 * (1 - unsure / (unsure.sum(0) + self._noise))
        # Each part of the path is FRAME samples long, and may have changed since. One part a frame is as good as all.
        part = self._next = (self._next + 1) % PARTS
        taps = np.fft.irfft(self._path[part])
        taps[FRAME:] = 0
        self._path[part] = np.fft.rfft(taps)
        self._doubt[part] += PARTS * (1 - self.KEEP**2) * _power(self._path[part])
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


# 3. What is left of the echo

WINDOW: Final = 512
"""Samples that are compared at a time: 32 ms, up to the end of a frame."""
BANDS: Final = 20
"""Between 150 and 7200 Hz, spaced as on the mel scale."""
AUDIBLE: Final = 3e5
"""Power in a band from which what is played can tell something of the echo: about -65 dBFS."""


class _Coupling:
    """How loud the echo is in each band, for what is played."""

    TAIL: Final = 0.5
    """Power of a sound's echo against the frame before: -3 dB in 20 ms is the decay of a living room (0.4 s)."""
    SPREAD: Final = 0.05
    """A loudspeaker's distortion: of the power in all bands, how much may come back in any of them."""
    RISE: Final = 10 ** (0.5 / 10)
    FALL: Final = 10 ** (-0.25 / 10)
    """Steps a frame of a gain whose echo was louder, or was not: it ends where a third of the frames are louder."""
    MARGIN: Final = 3.0
    CAP: Final = 20.0
    """What counts, dB over the echo: the excess over MARGIN, and no more than CAP."""
    TOGETHER: Final = 0.3
    """Weight of the excess of all bands together, against the mean of what it is in each: the voice of a telephone
    is in few of them."""

    def __init__(self) -> None:
        self._gain = np.full(BANDS, 0.1, np.float32)
        self._sound = np.zeros(BANDS, np.float32)
        """What is played and has not died away."""
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
        """How much louder a frame is than the echo that is expected, dB: over the bands and the last frames.

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


def _mel_bands() -> Floats:
    hz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    edges = 700 * (np.geomspace(1 + 150 / 700, 1 + 7200 / 700, BANDS + 2) - 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle)), 0).T.astype(
        np.float32
    )


_MEL: Final = _mel_bands()
_HANN: Final = np.hanning(WINDOW).astype(np.float32)


def _bands(windows: Floats) -> Floats:
    """Power of each window in each band; shapes (n, WINDOW) and (n, BANDS)."""
    power: Floats = _power(np.fft.rfft(windows * _HANN)) @ _MEL
    return power


# In words

FEWEST_WORDS: Final = 3
"""One or two words that the agent has said too are as likely to be the user's answer."""
ALIKE: Final = 0.8
"""Share of equal letters: Whisper gets a word in five of an echo wrong."""


def is_echo_text(heard: str, said: str) -> bool:
    """Whether `heard`, the transcript of a barge-in, is just words of `said`, what the agent has been saying.

    Fuzzy, in order; never for one or two words.
    """
    mine, agents = _words(heard), _words(said)
    count = len(mine)
    if count < FEWEST_WORDS:
        return False
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(" ".join(mine))
    for start in range(max(1, len(agents) - count + 1)):
        matcher.set_seq1(" ".join(agents[start : start + count]))
        if matcher.quick_ratio() >= ALIKE and matcher.ratio() >= ALIKE:
            return True
    return False


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("’", "'"))
