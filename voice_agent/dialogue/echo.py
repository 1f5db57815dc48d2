"""Tells the agent's own voice, come back through the user's microphone, from the user's.

What is played is known, so the echo can be looked for. Four steps, each on what the one before left:

1. How late the microphone hears what is played: `find_lag`, a generalized cross-correlation.
2. What a loudspeaker and a room make of it: `Canceller`, an adaptive filter; its prediction is subtracted.
3. How much echo is left after that (distortion, late reverberation, a browser's own canceller): `Coupling`,
   one gain for each band, learned.
4. A frame that is louder than that is the user's; any other is echo.

Until a correlation has shown that the microphone hears what is played, nothing is echo: on headphones and on a
phone line nobody is ever held back, and what it costs is at most a pause at the start of a session's first
reply, which is taken back. After that the first second of each reply is expected to come back as well.

The guard knows no clock, no engine and no task; time is counted in samples received.
"""

import heapq
import re
from collections import deque
from difflib import SequenceMatcher
from itertools import accumulate
from typing import Final

import numpy as np
from rapidfuzz.distance import Indel

from voice_agent.audio import FRAME, RATE, Pcm16, ms_to_samples
from voice_agent.dialogue.echo_path import (
    AUDIBLE,
    EARLY,
    FAINT,
    PARTS,
    SEARCH,
    WINDOW,
    Canceller,
    Coupling,
    Floats,
    bands,
    find_lag,
)

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
    """Score (see `Coupling.score`, dB) from which a frame is the user's. Chosen on simulated rooms; see
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
    EVERY: Final = 50
    """Frames between two looks at a lag that is known: it moves where a player runs dry."""
    SOON: Final = -(-SEARCH // FRAME)
    """The same, where the last look found another lag: as soon as there is audio that was not looked at."""
    TIRED: Final = 40
    """Looks in one reply without any success after which one in twelve frames has to do."""

    def __init__(self) -> None:
        self._played = _Played()
        self._mic = np.zeros(SEARCH, np.float32)
        self._left = np.zeros(WINDOW, np.float32)
        """The latest that the canceller left of the microphone."""
        self._heard_up_to = 0
        self._lag: int | None = None
        """The lag of the echo, in samples; None where no echo is known of."""
        self._confirmed = False
        """Whether the lag was seen in this reply: between replies it moves."""
        self._seen: deque[tuple[int, int]] = deque(maxlen=40)
        """Likely lags of this reply: when, and which."""
        self._cut = False
        self._starts: deque[int] = deque(maxlen=8)
        """Of replies that are scheduled and not heard yet."""
        self._start = 0
        """Of the reply that is heard."""
        self._frames = 0
        """Of this reply, heard."""
        self._looks = 0
        self._missing = 0
        """Frames of this reply in which the echo should have shown itself."""
        self._canceller = Canceller()
        self._coupling = Coupling()

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

    def expects(self, at: int) -> bool:
        """Whether anything that was played can still come back at sample `at`: for a while after its end, too."""
        return at <= self._played.end + LATEST + REVERB

    def is_echo(self, frame: Pcm16, at: int) -> bool:
        """Whether what is heard is explained by what was played; `frame` holds FRAME samples at RATE, from `at` on."""
        if not self.expects(at):
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
        mic, rest, sound = bands(
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
        """The audio whose echo is heard up to `end`, or just after: the filter wants what comes early too."""
        return self._played.read(end - lag + EARLY - length, length)

    def _expected(self, lag: int, end: int) -> bool:
        """Whether what is heard is no louder than the echo would be at any lag that is near the last reply's."""
        span = self._played.read(end - lag - WANDER - WINDOW, WINDOW + 2 * WANDER)
        sound = bands(np.lib.stride_tricks.sliding_window_view(span, WINDOW)[::FRAME]).max(0)
        self._missing += bool(sound.max() > AUDIBLE)
        if self._missing > self.PATIENCE:
            self._lag = None
        [mic] = bands(self._mic[None, -WINDOW:])
        return self._coupling.score_unfiltered(mic, sound) < self.THRESHOLD

    def _is_time_to_look(self) -> bool:
        if self._confirmed and self._lag is not None:
            moved = self._seen and abs(self._seen[-1][1] - self._lag) > 2 * self.AGREE
            return self._frames % (self.SOON if moved else self.EVERY) == 0
        return self._looks < self.TIRED or self._frames % 12 == 0

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
            self._coupling = Coupling()
            self._canceller = Canceller(self._mic, self._played.read(end - lag - SEARCH, SEARCH))
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
            self._coupling.begin(bands(np.stack(rests)), bands(np.stack(sounds)))


class _Played:
    """The audio that is played, on the session's count of samples: the latest KEPT of it, and silence elsewhere."""

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
        """The `length` samples from `start` on."""
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


FEWEST_WORDS: Final = 3
"""One or two words that the agent has said too are as likely to be the user's answer."""
ALIKE: Final = 0.8
"""Share of equal letters: Whisper gets a word in five of an echo wrong."""


COARSE: Final = 8
"""Of a text of twice as many words and more, the places are tried at this many steps a length, then the best nearer."""
CONFIRMED: Final = 4
"""Places that are looked at closely, of a shorter text."""
MOST_WORDS: Final = 100
"""Of a text of twice as many words and more, so many of its beginning and of its end are looked for."""


def is_echo_text(heard: str, said: str) -> bool:
    """Whether `heard`, the transcript of a barge-in, is just words of `said`, what the agent has been saying.

    Fuzzy, in order; never for one or two words. Takes about 3 ms for 2000 words that were said, whatever was heard.

    The share of equal letters is difflib's (Ratcliff & Obershelp), which wants long runs of them: for a few words
    a longest common subsequence finds enough letters anywhere. That one is never less, is a hundred times
    quicker, and says where to look; for a long text, where the two hardly differ, it decides.
    """
    mine, agents = _words(heard), _words(said)
    if len(mine) < FEWEST_WORDS or len(mine) * ALIKE > len(agents):
        return False
    if len(mine) >= 2 * MOST_WORDS:
        return _is_among(mine[:MOST_WORDS], agents) and _is_among(mine[-MOST_WORDS:], agents)
    return _is_among(mine, agents)


def _is_among(mine: list[str], agents: list[str]) -> bool:
    count = len(mine)
    text, whole = " ".join(mine), " ".join(agents)
    begins = list(accumulate((len(word) + 1 for word in agents), initial=0))

    def place(start: int) -> str:
        """As many of the agent's words as were heard."""
        return whole[begins[start] : begins[min(start + count, len(agents))] - 1]

    def alike(start: int) -> float:
        return Indel.normalized_similarity(text, place(start))

    last = max(0, len(agents) - count)
    step = max(1, count // COARSE)
    if step == 1:
        best = heapq.nlargest(CONFIRMED, range(last + 1), key=alike)
        return any(
            alike(start) >= ALIKE and SequenceMatcher(None, place(start), text, False).ratio() >= ALIKE
            for start in best
        )
    found = max(range(0, last + 1, step), key=alike)
    while step > 1:
        step = (step + 1) // 2
        found = max((start for start in (found, found - step, found + step) if 0 <= start <= last), key=alike)
    return alike(found) >= ALIKE


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("’", "'"))
