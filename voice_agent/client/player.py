"""A simulated loudspeaker, for what the user hears, and the measure of where sound and speech are."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_agent.audio import SILENCE, Pcm16, ms_to_samples, to_float
from voice_agent.client.messages import (
    Id,
    Pause,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    Resume,
    ServerEvent,
)

AUDIBLE_DBFS: Final = -50.0
SPEECH_BELOW_PEAK_DB: Final = 35.0
WINDOW_MS: Final = 10
"""With the two above: a window is audible above -50 dBFS, and speech where it is also within 35 dB of the
loudest one. A pause between words is quieter than that, a fading vowel is not; room noise in a recording
with a headset is quieter too."""


def levels_dbfs(pcm: Pcm16, rate: int) -> NDArray[np.float64]:
    """Level of each window of 10 ms; the last may be shorter."""
    size = ms_to_samples(WINDOW_MS, rate)
    starts = np.arange(0, len(pcm), size)
    if not len(starts):
        return np.zeros(0)
    energy = np.add.reduceat(to_float(pcm).astype(np.float64) ** 2, starts)
    lengths = np.diff(np.append(starts, len(pcm)))
    return 10 * np.log10(energy / lengths + 1e-12)


def speech_bounds(pcm: Pcm16, rate: int) -> tuple[int, int] | None:
    """First speech sample and the one after the last, by energy; None where nothing is audible."""
    levels = levels_dbfs(pcm, rate)
    if not len(levels):
        return None
    loud = np.flatnonzero(levels > max(levels.max() - SPEECH_BELOW_PEAK_DB, AUDIBLE_DBFS))
    size = ms_to_samples(WINDOW_MS, rate)
    return (int(loud[0]) * size, min(len(pcm), (int(loud[-1]) + 1) * size)) if len(loud) else None


@dataclass(slots=True)
class Piece:
    """The audio of one binary message."""

    pcm: Pcm16
    arrived_s: float
    started_s: float | None = None
    """When its first sample was played; None while, or because, it was not."""
    heard: int = 0
    """Samples of it that were played."""


@dataclass(slots=True)
class Reply:
    """One response as it reached the user."""

    response: Id
    turn: Id | None
    started_s: float
    text: str = ""
    pieces: list[Piece] = field(default_factory=list)
    ended: ResponseEnded | None = None
    cut: bool = False
    """It ended incomplete: what was not played by then is dropped, and so is what comes later."""
    reported_ms: int = 0
    """The position last told to the server."""

    @property
    def received(self) -> Pcm16:
        """All audio that came."""
        return np.concatenate([piece.pcm for piece in self.pieces]) if self.pieces else SILENCE

    @property
    def heard(self) -> Pcm16:
        """The audio that was played."""
        played = [piece.pcm[: piece.heard] for piece in self.pieces]
        return np.concatenate(played) if played else SILENCE

    def first_audible(self, rate: int) -> Piece | None:
        """The first piece with sound in it: what ends the user's wait."""
        return next((p for p in self.pieces if (levels_dbfs(p.pcm, rate) > AUDIBLE_DBFS).any()), None)


class Player:
    """A loudspeaker, simulated: what comes is played at once, in order, at real time.

    Nothing runs here; each call brings the position up to the time it is given.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        """Hertz."""
        self.tap: Callable[[float, Id, Pcm16], None] | None = None
        """Gets all that is played: from when, of which response, and the sound."""
        self.replies: dict[Id, Reply] = {}
        """Every response so far, oldest first. A long-lived caller may remove those that have ended."""
        self._latest: Reply | None = None
        self._queue: deque[tuple[Reply, Piece]] = deque()
        self._paused: Id | None = None
        self._run: tuple[float, int] | None = None
        """When the sound now playing without a gap began, and the samples of it so far; None in silence."""
        self._silent_s = 0.0

    @property
    def playing(self) -> bool:
        """Whether sound comes out, as of the last call."""
        return self._run is not None

    @property
    def ends_s(self) -> float:
        """When the sound that is there ends or ended; what is paused is not counted."""
        if self._run is None:
            return self._silent_s
        started_s, played = self._run
        left = sum(
            len(piece.pcm) - piece.heard for reply, piece in self._queue if reply.response != self._paused
        )
        return started_s + (played + left) / self.rate

    def apply(self, at_s: float, event: ServerEvent) -> None:
        """Take note of a message of the server."""
        match event:
            case ResponseStarted(response=response, turn=turn):
                self._latest = self.replies[response] = Reply(response, turn, at_s)
            case ResponseText(response=response, text=text) if response in self.replies:
                self.replies[response].text += text
            case ResponseEnded(response=response, reason=reason) if response in self.replies:
                self.replies[response].ended = event
                if reason != "completed":
                    self.cut(at_s, response)
                elif self._paused == response:
                    self._hold(at_s, None)
            case Pause(response=response) if response in self.replies:
                self._hold(at_s, response)
            case Resume(response=response) if response == self._paused:
                self._hold(at_s, None)

    def receive(self, at_s: float, pcm: Pcm16) -> None:
        """Queue audio of the response that was started last; dropped if there is none or it was cut."""
        if self._latest is None or self._latest.cut or not len(pcm):
            return
        self.advance(at_s)
        piece = Piece(pcm, at_s)
        self._latest.pieces.append(piece)
        self._queue.append((self._latest, piece))
        if self._run is None:
            self._begin(at_s)

    def cut(self, at_s: float, response: Id) -> None:
        """Stop this response, and drop what was not played of it."""
        self.advance(at_s)
        self.replies[response].cut = True
        self._queue = deque(entry for entry in self._queue if entry[0].response != response)
        if self._paused == response:
            self._paused = None
        self._begin(at_s)

    def advance(self, now_s: float) -> None:
        """Play on until now."""
        if self._run is None:
            return
        started_s, played = self._run
        due = round((now_s - started_s) * self.rate) - played
        while self._playable() and due > 0:
            reply, piece = self._queue[0]
            if piece.started_s is None:
                piece.started_s = started_s + played / self.rate
            step = min(due, len(piece.pcm) - piece.heard)
            if self.tap:
                sound = piece.pcm[piece.heard : piece.heard + step]
                self.tap(started_s + played / self.rate, reply.response, sound)
            piece.heard += step
            played += step
            due -= step
            if piece.heard == len(piece.pcm):
                self._queue.popleft()
        self._silent_s = started_s + played / self.rate
        self._run = (started_s, played) if self._playable() else None

    def progress(self, now_s: float) -> list[tuple[Id, int]]:
        """Responses whose position has moved since the last call, each with the milliseconds played of it."""
        self.advance(now_s)
        moved = []
        for reply in self.replies.values():
            ms = sum(piece.heard for piece in reply.pieces) * 1000 // self.rate if reply.ended is None else 0
            if ms > reply.reported_ms:
                reply.reported_ms = ms
                moved.append((reply.response, ms))
        return moved

    def _hold(self, at_s: float, response: Id | None) -> None:
        self.advance(at_s)
        self._paused = response
        self._begin(at_s)

    def _playable(self) -> bool:
        return bool(self._queue) and self._queue[0][0].response != self._paused

    def _begin(self, at_s: float) -> None:
        """Play from here on whatever is next."""
        self._run = (at_s, 0) if self._playable() else None
