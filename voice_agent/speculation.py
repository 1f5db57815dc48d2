"""Speculative work, and how much of it is skipped when the machine is busy."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from prometheus_client import Counter

INTERIM_SHARE: Final = 0.2
"""Most of the time that live transcripts may take, of all sessions together: the longer one took, the longer the next
one waits."""

_prepared: Final = Counter(
    "voice_agent_prepared_responses",
    "Responses prepared before the end of the turn: used, discarded since the user went on, failed, or skipped "
    "since the machine was busy.",
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


class Speculation:
    """Shared by all sessions.

    Work that is due goes before work that may be thrown away: while as many responses as the machine has cores are on
    the way to their first audio, due or not, no further one is prepared.
    """

    def __init__(self, limit: int | None = None) -> None:
        """`limit` responses on the way to their first audio, by default one for each core."""
        self._limit = (os.cpu_count() or 1) if limit is None else limit
        self._under_way: set[Work] = set()
        self._interim_from = 0.0

    def may_begin(self) -> bool:
        """Whether one more may be prepared now; where not, that is counted."""
        self._under_way = {work for work in self._under_way if not work.ready}
        if len(self._under_way) < self._limit:
            return True
        if not self._limit:
            return False
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

    def failed(self) -> None:
        """A prepared response could not be made; it is made again, now that it is due."""
        _prepared.labels("failed").inc()

    def wasted(self, seconds: float) -> None:
        """A prepared response was discarded."""
        _prepared.labels("discarded").inc()
        _wasted.inc(seconds)

    @contextmanager
    def interim(self) -> Iterator[bool]:
        """Whether there is time for a live transcript now; it is made within the context, one at a time."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        if begun < self._interim_from:
            yield False
            return
        self._interim_from = float("inf")
        try:
            yield True
        finally:
            self._interim_from = begun + (clock() - begun) / INTERIM_SHARE
