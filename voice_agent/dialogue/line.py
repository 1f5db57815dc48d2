"""Whether audio still comes, by the clock: the one thing about hearing that counting samples can't tell."""

import asyncio
from collections.abc import Callable
from typing import Final

SILENT_AFTER_S: Final = 0.7
"""Audio that is missing for this long, while something waits for it, is taken for silence. Bad lines stall for half a
second and then deliver what they held back."""
LOST_AFTER_S: Final = 1.0
"""After this long the user's turn is over, whatever it is missing."""
DECIDED_AFTER_S: Final = 1.0
"""A reply is paused no longer than this, though turn-taking, which counts samples, would wait for those that a line
holds back."""
STEP_S: Final = 0.1
"""From then on, silence is heard in steps of this."""
TICK_S: Final = 0.001
"""A timer may fire this much early: it would be set again and again until the clock has moved on."""
LONGEST_PIECE_S: Final = 1.0
"""Seconds. A client that sends audio in longer pieces is taken for a line that delivers what it held back."""
HELD_UP_S: Final = 0.1
"""A timer that is later than this tells that the event loop was busy: what came meanwhile is still to be read."""


class Line:
    """Tells what is missing in `silent`, once that the line is `lost`, that a decision is `overdue`, that the client is
    `gone`."""

    def __init__(
        self,
        *,
        waited_for: Callable[[], bool],
        silent: Callable[[float], None],
        lost: Callable[[], None],
        overdue: Callable[[], None],
        gone: Callable[[], None],
        idle_s: float,
    ) -> None:
        """
        Args:
            waited_for: whether anything is undecided until more is heard.
            silent: hear so many seconds of silence.
            lost: decide without hearing more.
            overdue: the reply has been paused for too long.
            gone: the client has given no sign of life for `idle_s`.
            idle_s: 0 for never.
        """
        loop = asyncio.get_running_loop()
        self._clock, self._call_at = loop.time, loop.call_at
        self._waited_for, self._silent, self._lost, self._gone = waited_for, silent, lost, gone
        self._overdue = overdue
        self._idle_s = idle_s
        self._heard_at = self._alive_at = self._clock()
        self._due_s = 0.0
        """From then to when more is due."""
        self._filled_s = 0.0
        """Silence heard in place of audio since the last audio came."""
        self._told_lost = False
        self._missing: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        if idle_s:
            self._idle = self._call_at(self._alive_at + idle_s, self._look_for_life)

    def heard(self, seconds: float) -> None:
        """So much audio came at once, and what follows from it was done. As much later, the next is due."""
        self._heard_at = self._alive_at = self._clock()
        self._due_s = min(seconds, LONGEST_PIECE_S)
        self._filled_s, self._told_lost = 0.0, False
        if self._missing is None and self._waited_for():
            self._watch(self._heard_at + self._due_s + SILENT_AFTER_S)

    def alive(self) -> None:
        """The client did something."""
        self._alive_at = self._clock()

    def paused(self) -> None:
        """The reply is paused from now on, until it is known what the user wants."""
        if self._pause:
            self._pause.cancel()
        self._watch_pause(self._clock() + DECIDED_AFTER_S)

    def close(self) -> None:
        """Watch no more."""
        for timer in (self._missing, self._pause, self._idle):
            if timer:
                timer.cancel()

    def _watch(self, due: float) -> None:
        self._missing = self._call_at(due, self._look_for_audio, due)

    def _look_for_audio(self, due: float) -> None:
        self._missing = None
        now = self._clock()
        if not self._waited_for():
            return
        missing_s = now - self._heard_at
        if now - due > HELD_UP_S:
            self._watch(now + STEP_S)
        elif missing_s < self._due_s + SILENT_AFTER_S - TICK_S:
            self._watch(self._heard_at + self._due_s + SILENT_AFTER_S)
        else:
            unfilled_s, self._filled_s = missing_s - self._filled_s, missing_s
            self._silent(unfilled_s)
            if missing_s >= self._due_s + LOST_AFTER_S and not self._told_lost:
                self._told_lost = True
                self._lost()
            self._watch(now + STEP_S)

    def _watch_pause(self, due: float) -> None:
        self._pause = self._call_at(due, self._look_for_decision, due)

    def _look_for_decision(self, due: float) -> None:
        now = self._clock()
        if now - due > HELD_UP_S:
            self._watch_pause(now + STEP_S)
        else:
            self._overdue()

    def _look_for_life(self) -> None:
        until = self._alive_at + self._idle_s
        if until - TICK_S <= self._clock():
            self._gone()
        else:
            self._idle = self._call_at(until, self._look_for_life)
