"""Tells the agent's own voice, come back through the user's microphone, from the user's.

The guard knows what is being played. It finds how late the microphone hears it (generalized cross-correlation),
subtracts what a linear echo path explains (an adaptive filter), learns how much of the echo is left in each
band after that, and lets through what is louder. Nothing is echo until the microphone has been shown to hear
what is played, so a phone line or headphones are never held back.
"""

import difflib
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_agent.audio import FRAME, RATE, Pcm16, ms_to_samples

Floats = NDArray[np.float32]

EARLIEST: Final = ms_to_samples(-150)
LATEST: Final = ms_to_samples(750)
WANDER: Final = ms_to_samples(310)
JOIN: Final = ms_to_samples(150)
KEPT: Final = 8 * RATE
TAIL: Final = LATEST + ms_to_samples(300)


class _Played:
    """What sounds when, on the session's count of samples: the latest KEPT samples, and silence elsewhere."""

    def __init__(self) -> None:
        self._ring = np.zeros(KEPT, np.int16)
        self.end = 0

    def write(self, pcm: Pcm16, at: int) -> None:
        pcm = pcm[-KEPT:]
        self._put(np.zeros(min(max(0, at - self.end), KEPT), np.int16), min(at, max(self.end, at - KEPT)))
        self._put(pcm, at)
        self.end = at + len(pcm)

    def cut(self, at: int) -> None:
        self.end = min(self.end, at)

    def read(self, start: int, length: int) -> Floats:
        out = np.zeros(length, np.float32)
        low, high = max(start, self.end - KEPT, 0), min(start + length, self.end)
        if low < high:
            first, last = low % KEPT, (high - 1) % KEPT + 1
            part = (
                self._ring[first:last]
                if first < last
                else np.concatenate((self._ring[first:], self._ring[:last]))
            )
            out[low - start : high - start] = part
        return out

    def _put(self, pcm: Pcm16, at: int) -> None:
        first = at % KEPT
        head = pcm[: KEPT - first]
        self._ring[first : first + len(head)] = head
        self._ring[: len(pcm) - len(head)] = pcm[len(head) :]


SEARCH: Final = 4096
BLOCK: Final = 80
_SEARCH_FFT: Final = 16384
_f8 = np.fft.rfftfreq(_SEARCH_FFT, 2 / RATE)
_VOICE: Final = (_f8 > 250) & (_f8 < 3600)


def find_lag(mic: Floats, played: Floats) -> tuple[int, float]:
    m, r = mic[0::2] + mic[1::2], played[0::2] + played[1::2]
    m_white, r_white = _whiten(m), _whiten(r)
    c = np.abs(np.fft.irfft(np.conj(m_white) * r_white, _SEARCH_FFT)[: len(r) - len(m) + 1])
    k = int(c.argmax())
    loud = [np.square(x[: len(x) // BLOCK * BLOCK]).reshape(-1, BLOCK).sum(1) for x in (m, r)]
    active = [(x > max(1e-3 * x.max(), BLOCK * 20.0**2)).astype(np.float32) for x in loud]
    overlap = np.correlate(active[1], active[0], "valid")
    near = np.repeat(overlap, BLOCK)[: len(c)]
    if overlap[min(k // BLOCK, len(overlap) - 1)] < 8:
        return 2 * k, 0.0
    c0 = c[: len(near)][near >= 4]
    z = float(c[k] / np.sqrt(np.mean(c0 * c0) + 1e-20))
    if z > 8:
        product = (
            np.fft.irfft(m_white, _SEARCH_FFT)[: len(m)] * np.fft.irfft(r_white, _SEARCH_FFT)[k : k + len(m)]
        )
        parts = np.sort(np.abs(product.reshape(-1, 128).sum(1)))
        z *= float(min(1.0, parts[:-2].sum() / (parts.sum() + 1e-20) / 0.6))
    return 2 * k, z


def _whiten(x: Floats) -> NDArray[np.complex64]:
    spectrum = np.fft.rfft(np.diff(x, prepend=x[:1]), _SEARCH_FFT)
    size = np.abs(spectrum)
    return np.where(_VOICE, spectrum / (size + 1e-2 * size.max() + 1e-9), 0)


PARTS: Final = 12


class _Canceller:
    """Partitioned-block frequency-domain Kalman filter (Enzner and Vary 2006; Kuech, Mabande and Enzner 2014)."""

    STEP = 1.0
    KEEP = 0.998
    SMOOTH = 0.8
    DECAY = 0.5
    ROUND = 1

    def __init__(self) -> None:
        bins = FRAME + 1
        self._x = np.zeros((PARTS, bins), np.complex64)
        self._h = np.zeros((PARTS, bins), np.complex64)
        self._p = np.ones((PARTS, bins), np.float32)
        self._noise = np.full(bins, 1e3, np.float32)
        self._turn = 0

    def begin(self, gain: float) -> None:
        self._p[:] = gain * self.DECAY ** np.arange(PARTS)[:, None] * (1 - self.DECAY)

    def forget_signal(self) -> None:
        self._x[:] = 0

    def residual(self, frame: Floats, played: Floats) -> Floats:
        """`played`: 2 FRAME samples, ending where the frame does."""
        self._x = np.roll(self._x, 1, 0)
        self._x[0] = np.fft.rfft(played)
        rest = frame - np.fft.irfft((self._x * self._h).sum(0))[FRAME:]
        error = np.fft.rfft(np.concatenate((np.zeros(FRAME, np.float32), rest)))
        self._noise = self.SMOOTH * self._noise + (1 - self.SMOOTH) * (error.real**2 + error.imag**2) + 1
        power = self._x.real**2 + self._x.imag**2
        gain = self._p / (0.5 * (self._p * power).sum(0) + self._noise)
        self._h += self.STEP * gain * np.conj(self._x) * error
        for _ in range(self.ROUND):
            k = self._turn = (self._turn + 1) % PARTS
            taps = np.fft.irfft(self._h[k])
            taps[FRAME:] = 0
            self._h[k] = np.fft.rfft(taps)
        a2 = self.KEEP**2
        self._p = a2 * (1 - 0.5 * self.STEP * gain * power) * self._p + (1 - a2) * (
            self._h.real**2 + self._h.imag**2
        )
        return rest


WINDOW: Final = 512
BANDS: Final = 20


def _bank() -> Floats:
    f = np.fft.rfftfreq(WINDOW, 1 / RATE)
    edges = 700 * (10 ** (np.linspace(np.log10(1 + 150 / 700), np.log10(1 + 7200 / 700), BANDS + 2)) - 1)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.clip(np.minimum((f - low) / (mid - low), (high - f) / (high - mid)), 0, None).astype(np.float32)


_BANK: Final = _bank()
_HANN: Final = np.hanning(WINDOW).astype(np.float32)


def _bands(x: Floats) -> Floats:
    s = np.fft.rfft(x * _HANN)
    return _BANK @ (s.real**2 + s.imag**2)


def _db(x: Floats) -> Floats:
    return 10 * np.log10(x)


ACTIVE: Final = 3e5


class _Coupling:
    """How loud the echo is in each band, from what is played; learned as a quantile."""

    SPREAD = 0.05
    TAIL = 0.5
    MARGIN = 3.0
    CAP = 20.0
    UP = 0.5
    DOWN = 0.25

    def __init__(self) -> None:
        self._gain = np.full(BANDS, 0.1, np.float32)
        self._played = np.zeros(BANDS, np.float32)
        self._noise = np.full(BANDS, 1e9, np.float32)
        self._heard = self._left = np.ones(BANDS, np.float32)

    def begin(self, left: Floats, played: Floats) -> None:
        """Bands of successive frames, shape (frames, BANDS)."""
        for row in played:
            self._played = row + self.TAIL * self._played
        self._gain = np.clip(left.sum(0) / (played.sum(0) / (1 - self.TAIL) + ACTIVE), 1e-6, 4).astype(np.float32)

    def listen(self, heard: Floats) -> None:
        self._noise = np.minimum(self._noise * 1.01, heard + 1)

    def worst(self, heard: Floats, played: Floats) -> float:
        echo = self._gain * (self._heard / self._left) * played / (1 - self.TAIL)
        return self._over(heard, echo)

    def _over(self, heard: Floats, echo: Floats) -> float:
        echo = echo + self.SPREAD * echo.mean()
        over = _db((heard + 1) / (echo + 2 * self._noise + 30))
        return float(np.clip(over - self.MARGIN, 0, self.CAP).mean())

    def score(self, heard: Floats, left: Floats, played: Floats, learn_below: float) -> float:
        self._played = played + self.TAIL * self._played
        echo = self._gain * self._played
        score = self._over(left, echo)
        active = (self._played > ACTIVE) & (echo + left > 4 * self._noise)
        up = self.UP if score < learn_below else self.UP / 5
        step = np.where(left > echo, up, -self.DOWN)
        self._gain = np.where(active, self._gain * 10 ** (step / 10), self._gain).astype(np.float32)
        if score < learn_below:
            self._heard = self._heard + 0.03 * active * (heard - self._heard)
            self._left = self._left + 0.03 * active * (left - self._left)
        return score


class EchoGuard:
    """Tells the agent's own voice, come back through the microphone, from the user's."""

    THRESHOLD = 3.0
    SURE = 13.0
    LIKELY = 9.0
    AGREE = ms_to_samples(1)
    PATIENCE = 50

    def __init__(self) -> None:
        self._played = _Played()
        self._mic = np.zeros(SEARCH, np.float32)
        self._rest = np.zeros(WINDOW, np.float32)
        self._next = 0
        self._lag: int | None = None
        self._known = False
        self._starts = 0
        self._seen: list[tuple[int, int]] = []
        self._canceller = _Canceller()
        self._coupling = _Coupling()
        self._count = 0
        self._unsure = 0

    def play(self, pcm: Pcm16, at: int) -> None:
        if at < self._played.end + JOIN and self._played.end - JOIN < at:
            at = self._played.end
        elif at < self._played.end:
            at = self._played.end
        else:
            self._known = False
            self._seen.clear()
        self._played.write(pcm, at)

    def stop(self, at: int) -> None:
        self._played.cut(at)

    def is_echo(self, frame: Pcm16, at: int) -> bool:
        if at != self._next:
            self._mic[:] = 0
        self._next = end = at + FRAME
        samples = frame.astype(np.float32)
        self._mic = np.concatenate((self._mic[FRAME:], samples))
        if at > self._played.end + TAIL:
            return False
        self._count += 1
        heard = _bands(self._mic[-WINDOW:])
        self._coupling.listen(heard)
        if self._count % (25 if self._known else 2) == 0:
            self._search(end)
        if self._lag is None:
            return False
        if not self._known:
            return self._expects_echo(heard, end)
        rest = self._canceller.residual(samples, self._played.read(end - self._lag + 48 - 2 * FRAME, 2 * FRAME))
        self._rest = np.concatenate((self._rest[FRAME:], rest))
        left = _bands(self._rest)
        score = self._coupling.score(
            heard, left, _bands(self._played.read(end - self._lag - WINDOW, WINDOW)), self.THRESHOLD
        )
        return score < self.THRESHOLD

    def _expects_echo(self, heard: Floats, end: int) -> bool:
        span = self._played.read(end - self._lag - WANDER - WINDOW, WINDOW + 2 * WANDER)
        windows = np.lib.stride_tricks.sliding_window_view(span, WINDOW)[::FRAME]
        s = np.fft.rfft(windows * _HANN)
        played = ((s.real**2 + s.imag**2) @ _BANK.T).max(0)
        self._unsure += bool(played.max() > ACTIVE)
        if self._unsure > self.PATIENCE:
            self._lag = None
        return self._coupling.worst(heard, played) < self.THRESHOLD

    def _search(self, end: int) -> None:
        if self._mic @ self._mic < SEARCH * 15.0**2:
            return
        start = end - SEARCH - LATEST
        played = self._played.read(start, SEARCH + LATEST - EARLIEST)
        if np.count_nonzero(np.abs(played) > 50) < 0.05 * len(played):
            return
        offset, sureness = find_lag(self._mic, played)
        lag = LATEST - offset
        if sureness < self.LIKELY:
            return
        agrees = any(end - when >= SEARCH and abs(lag - earlier) <= self.AGREE for when, earlier in self._seen)
        self._seen = [*self._seen, (end, lag)][-40:]
        expected = self._lag is not None and abs(lag - self._lag) <= WANDER
        if sureness > (self.LIKELY if expected else self.SURE) or agrees:
            known, self._known, self._unsure = self._known, True, 0
            if not known or abs(lag - self._lag) > 2 * self.AGREE:
                self._lock(lag, end)

    def _lock(self, lag: int, end: int) -> None:
        """Take up the echo at `lag`, and learn from the audio that showed it."""
        fresh = self._lag is None
        self._lag = lag
        self._canceller.forget_signal()
        if fresh:
            mic, ref = self._mic[-2400:], self._played.read(end - lag - 2400, 2400)
            self._canceller.begin(min(4.0, float(mic @ mic) / float(ref @ ref + 1)))
        lefts, playeds = [], []
        for e in range(FRAME + SEARCH % FRAME, SEARCH, FRAME):
            now = end - SEARCH + e
            rest = self._canceller.residual(self._mic[e - FRAME : e], self._played.read(now - lag + 48 - 2 * FRAME, 2 * FRAME))
            self._rest = np.concatenate((self._rest[FRAME:], rest))
            if fresh:
                lefts.append(_bands(self._rest))
                playeds.append(_bands(self._played.read(now - lag - WINDOW, WINDOW)))
        if fresh:
            self._coupling.begin(np.array(lefts), np.array(playeds))


def is_echo_text(heard: str, said: str) -> bool:
    """Whether `heard` is just words of `said`: three words or more, in order, nearly all of them."""
    mine, theirs = _words(heard), _words(said)
    if len(mine) < 3:
        return False
    blocks = difflib.SequenceMatcher(None, mine, theirs, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) >= 0.75 * len(mine)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())
