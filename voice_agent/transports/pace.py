"""How fast a client's audio is heard: as it could have been said.

Turn-taking counts time in samples, while transcripts and replies take theirs on the clock. Of audio that comes faster
than it can have been spoken the pauses would be over before the words in front of them are known, and two turns would
be taken for one. So what is early waits, and the connection is not read meanwhile; nothing is dropped. What is late,
after a network that stood still, is heard at once.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from voice_agent.audio import Pcm16

AHEAD_S: Final = 2.0
"""How far audio may be ahead of the clock: what a client held until it was connected (the page 2 s), and jitter."""

LATE_S: Final = 30.0
"""How much late audio is heard at once: a network that stood still for longer has lost its connection."""

SPEED: Final = 1.1
"""Speed at which early audio is heard. Above 1, so that a sound card whose clock is fast, commonly by 0.01 %, is
never held up."""

PIECE_S: Final = 0.2
"""Length of the pieces in which early audio is heard."""


class Pace:
    """Of one session's audio."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._clock = asyncio.get_running_loop().time
        self._ahead = 0.0
        """How far what was heard was ahead of the clock at `_at`, seconds; less than 0 where it was late."""
        self._at = self._clock()

    async def pieces(self, pcm: Pcm16) -> AsyncIterator[Pcm16]:
        """The audio, all of it and in order, each piece as soon as it is not too early."""
        least = round(PIECE_S * self._rate)
        while len(pcm):
            room = int((AHEAD_S - self._now_ahead()) * self._rate)
            if room < min(least, len(pcm)):
                await asyncio.sleep((min(least, len(pcm)) - room) / self._rate / SPEED)
                continue
            piece, pcm = pcm[:room], pcm[room:]
            self._ahead += len(piece) / self._rate
            yield piece

    def _now_ahead(self) -> float:
        now = self._clock()
        self._ahead = max(self._ahead - (now - self._at) * SPEED, -LATE_S)
        self._at = now
        return self._ahead
