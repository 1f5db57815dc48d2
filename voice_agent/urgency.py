"""The order of work in every engine's queue."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

RESERVE_S: Final = 1.0
"""Audio that a client still has, seconds, below which what follows is as urgent as what it waits for: a piece of speech
takes a voice 0.3 s at most, and others may be in front."""


class Urgency(IntEnum):
    """The reasons for which work is done, the most urgent first."""

    BARGE_IN = 0
    """The agent stands still until it is known what is said over it."""
    DUE = 1
    """Somebody waits for it."""
    LIKELY = 2
    """The user has fallen silent, and may be done."""
    PREPARED = 3
    """A reply to what may be all that the user says."""
    AHEAD = 4
    """Nobody waits for it yet: the rest of a reply that is being played, or a live transcript."""


@dataclass(slots=True, eq=False)
class Need:
    """How urgent a piece of work is. Whoever asked for it changes it as that becomes clear; an engine looks at it, from
    any thread, when it chooses what to do next.
    """

    urgency: Urgency = Urgency.DUE
    by: float = 0.0
    """When it is wanted, on the event loop's clock; the earlier of two goes first. Of work ahead of time: when what the
    client has by then is played."""

    def rank(self, now: float) -> tuple[Urgency, float]:
        """The smallest goes first; `now` is on the same clock."""
        if self.urgency is Urgency.AHEAD and self.by < now + RESERVE_S:
            return Urgency.DUE, self.by
        return self.urgency, self.by
