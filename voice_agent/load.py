"""How much of the machine conversations take, as measured, and whether one more can be served."""

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import psutil
from prometheus_client import Counter, Gauge

log = logging.getLogger(__name__)

FULL: Final = 0.9
"""Share of a resource that conversations may take. What waits grows without bound towards 1."""
SAMPLE_EVERY_S: Final = 1.0
REMEMBERED_S: Final = 15.0
"""Time constant of the average: one turn or two."""
TALKS_FOR_S: Final = 30.0
"""How long a session counts as a conversation after its last turn."""

_used = Gauge("voice_agent_load", "Share of a resource that is used, averaged.", ["resource"])
_conversations = Gauge(
    "voice_agent_conversations", "Sessions that had a turn of late.", multiprocess_mode="livesum"
)
_turned_away = Counter(
    "voice_agent_sessions_turned_away",
    "Sessions that were told at their first turn that the machine is full.",
)

Meter = Callable[[], float]
"""Seconds of a resource used since some time, 1 a second where all of it is."""


class Load:
    """Shared by all sessions. A session that only listens takes next to nothing, so what counts are conversations:
    sessions with a turn in the last `TALKS_FOR_S`.

    Two estimates of what they take are made, and the larger one counts: what is measured, which comes late and knows of
    everything, and what one was measured to take when the server started (`rehearse`), times their number.
    """

    def __init__(self, most: int | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`most` conversations at once, whatever they take; else as many as can be served, if that is measured."""
        self._most = most
        self._clock = clock
        self._meters: dict[str, Meter] = {}
        self._used: dict[str, float] = {}
        """Share of each resource, averaged."""
        self._cost: dict[str, float] = {}
        """Share of each that one conversation takes."""
        self._talked: dict[str, float] = {}
        """When a session had its last turn, by its id."""

    @property
    def full(self) -> bool:
        """Whether one more conversation would cost the others their speed."""
        talking = self._talking()
        if self._most is not None:
            return talking >= self._most
        if not talking:
            return False
        return any(
            max(used, talking * self._cost.get(name, 0.0)) + self._cost.get(name, 0.0) > FULL
            for name, used in self._used.items()
        )

    def has_room_for(self, session: str) -> bool:
        """Whether a session may have a turn now. One that had one lately may."""
        self._talking()
        return session in self._talked or not self.full

    def admits(self, session: str) -> bool:
        """The same, and it has it."""
        if not self.has_room_for(session):
            _turned_away.inc()
            return False
        self._talked[session] = self._clock()
        self._talking()
        return True

    def replied(self, session: str) -> None:
        """A reply is over."""
        if session in self._talked:
            self._talked[session] = self._clock()

    def left(self, session: str) -> None:
        """It has ended."""
        self._talked.pop(session, None)
        self._talking()

    @contextmanager
    def rehearsal(self) -> Iterator[Callable[[float], None]]:
        """For one turn, with nothing else under way: what it takes, once it is told how many seconds of conversation
        that was, is what one conversation takes.
        """
        before = self._read()
        seconds: list[float] = []
        yield seconds.append
        if seconds:
            self._cost = {name: (now - before[name]) / seconds[0] for name, now in self._read().items()}
            shares = ", ".join(f"{share:.0%} of {name}" for name, share in self._cost.items())
            log.info("a conversation takes %s", shares)

    def meter(self, meters: Mapping[str, Meter]) -> None:
        """Measure these resources."""
        self._meters = dict(meters)
        self._used = dict.fromkeys(meters, 0.0)

    async def watch(self) -> None:
        """Measure, until this is cancelled."""
        loop = asyncio.get_running_loop()
        at, before = loop.time(), await asyncio.to_thread(self._read)
        while True:
            await asyncio.sleep(SAMPLE_EVERY_S)
            now, after = loop.time(), await asyncio.to_thread(self._read)
            self._average({name: (after[name] - before[name]) / (now - at) for name in after}, now - at)
            at, before = now, after

    def _average(self, shares: Mapping[str, float], seconds: float) -> None:
        weight = 1 - math.exp(-seconds / REMEMBERED_S)
        for name, share in shares.items():
            self._used[name] += weight * (share - self._used[name])
            _used.labels(name).set(self._used[name])

    def _read(self) -> dict[str, float]:
        return {name: meter() for name, meter in self._meters.items()}

    def _talking(self) -> int:
        """Conversations under way."""
        since = self._clock() - TALKS_FOR_S
        self._talked = {session: at for session, at in self._talked.items() if at > since}
        _conversations.set(len(self._talked))
        return len(self._talked)


def processor_s() -> float:
    """Processor time of this process and those it has begun, as a share of the cores that they may use, seconds."""
    me = psutil.Process()
    used = time.process_time()
    for child in me.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
    return used / (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
