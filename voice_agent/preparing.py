"""How many responses may be prepared before they are due, and what became of them."""

import os
from typing import Final, Protocol

from prometheus_client import Counter

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
    def made(self) -> bool:
        """Whether all of it is made; it may still be playing."""


class Preparing:
    """Shared by all sessions.

    Work that is due goes before work that may be thrown away: with as many responses under way as the machine has
    cores, due or not, no further one is prepared.
    """

    def __init__(self, limit: int | None = None) -> None:
        """`limit` responses under way at once, by default one for each core."""
        self._limit = (os.cpu_count() or 1) if limit is None else limit
        self._under_way: set[Work] = set()

    def may_begin(self) -> bool:
        """Whether one more may be prepared now; where not, that is counted."""
        self._under_way = {work for work in self._under_way if not work.made}
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
