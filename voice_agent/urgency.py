"""Work that may turn out to be for nothing, and how much of it a busy machine is spared."""

import os
from typing import Final, Protocol

from prometheus_client import Counter

LOOK_SHARE: Final = 0.2
"""Most of the time that live transcripts may take, of all sessions together: the longer one took, the longer the next
one waits."""

_prepared: Final = Counter(
    "voice_agent_prepared_responses",
    "Responses prepared before the end of the turn: used, discarded since the user went on, or skipped since the "
    "machine was busy.",
    ["outcome"],
)
_wasted: Final = Counter(
    "voice_agent_prepared_wasted_seconds", "How long responses were being prepared that were then discarded."
)


class Work(Protocol):
    """A response that is being made."""

    @property
    def ready(self) -> bool:
        """Whether its first audio is there: the rest is made while that is played."""


class Preparing:
    """Shared by all sessions.

    Work that is due goes before work that may be thrown away: while as many responses as the machine has cores are on
    the way to their first audio, due or not, no further one is prepared.
    """

    def __init__(self, limit: int | None = None) -> None:
        """`limit` responses on the way to their first audio, by default one for each core."""
        self._limit = (os.cpu_count() or 1) if limit is None else limit
        self._under_way: set[Work] = set()
        self._look_from = 0.0

    def may_begin(self) -> bool:
        """Whether one more may be prepared now; where not, that is counted."""
        self._under_way = {work for work in self._under_way if not work.ready}
        if len(self._under_way) < self._limit:
            return True
        _prepared.labels("skipped").inc()
        return False

    def begun(self, work: Work) -> None:
        """This is being made."""
        self._under_way.add(work)

    def ended(self, work: Work) -> None:
        """It is made, or nobody wants it any more."""
        self._under_way.discard(work)

    def used(self) -> None:
        """A prepared response was due."""
        _prepared.labels("used").inc()

    def wasted(self, seconds: float) -> None:
        """A prepared response was discarded."""
        _prepared.labels("discarded").inc()
        _wasted.inc(seconds)

    def may_look(self, now: float) -> bool:
        """Whether there is time for a live transcript at `now`, on the loop's clock; if so, none is under way."""
        if now < self._look_from:
            return False
        self._look_from = float("inf")
        return True

    def looked(self, begun: float, now: float) -> None:
        """The live transcript that was allowed has ended."""
        self._look_from = begun + (now - begun) / LOOK_SHARE
