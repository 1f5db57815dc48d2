"""One response's audio on its way out: paced, and accounted for."""

import asyncio
from collections.abc import Callable
from typing import Final

from voice_agent.audio import Pcm16, frames, ms_to_samples

PIECE_MS: Final = 60
"""Longest audio in one message: what is already on its way when the user interrupts."""

DONE_WITHIN_S: Final = 0.001
"""Less time than this is not worth waiting for; nor can every clock tell it from none."""

ACKNOWLEDGE_WITHIN_S: Final = 1.0
"""How long after the expected end of playback a client that reports its position is waited for."""


class Playback:
    """Sends audio no more than `lead_ms` ahead of what the client plays, and knows how much was played.

    The position is the client's own report where it makes one, carried forward at real time. Without
    reports, a player is assumed that plays what it gets at once, in order.
    """

    def __init__(self, rate: int, lead_ms: float, send: Callable[[Pcm16], None]) -> None:
        self._rate = rate
        self._lead_s = lead_ms / 1000
        self._send = send
        self._clock = asyncio.get_running_loop().time
        self._sent_s = 0.0
        self._ends_at = 0.0
        """When the player runs out of audio, if it never stalls."""
        self._reported: tuple[float, float] | None = None
        """The client's last report: seconds played, and when it came."""
        self._changed = asyncio.Event()

    @property
    def sent_ms(self) -> float:
        """Audio given to the client, milliseconds."""
        return self._sent_s * 1000

    @property
    def played_ms(self) -> float:
        """Audio that the client has played by now, milliseconds."""
        now = self._clock()
        if self._reported is None:
            return (self._sent_s - min(self._sent_s, max(0.0, self._ends_at - now))) * 1000
        played, at = self._reported
        return min(self._sent_s, played + now - at) * 1000

    async def put(self, pcm: Pcm16) -> None:
        """Send audio in small pieces, waiting whenever the client has enough for now."""
        for piece in frames(pcm, ms_to_samples(PIECE_MS, self._rate), pad=False):
            while (ahead := self._sent_s - self.played_ms / 1000) > self._lead_s + DONE_WITHIN_S:
                await self._wait(ahead - self._lead_s)
            seconds = len(piece) / self._rate
            self._ends_at = max(self._ends_at, self._clock()) + seconds
            self._sent_s += seconds
            self._send(piece)

    def acknowledge(self, ms: float) -> None:
        """The client reports that it has played this much; more than was sent counts as all of it."""
        self._reported = (min(ms / 1000, self._sent_s), self._clock())
        self._changed.set()

    async def finish(self) -> None:
        """Wait until all of the audio was played."""
        while (left := self._ends_at - self._clock()) > DONE_WITHIN_S:
            await self._wait(left)
        if self._reported is None:
            return
        deadline = self._ends_at + ACKNOWLEDGE_WITHIN_S
        while (left := self._sent_s - self.played_ms / 1000) > DONE_WITHIN_S:
            if (patience := deadline - self._clock()) <= DONE_WITHIN_S:
                break
            await self._wait(min(left, patience))

    async def _wait(self, seconds: float) -> None:
        """Until this much time has passed, or the client reports."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
