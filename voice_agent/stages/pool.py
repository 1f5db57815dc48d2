"""The threads that an engine runs in: who goes first, and what becomes of one that hangs."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from time import monotonic
from typing import Final, Generic, TypeVar

from prometheus_client import Counter, Histogram

from voice_agent.urgency import Need, Urgency

T = TypeVar("T")

log = logging.getLogger(__name__)

STOP_S: Final = 1.0
"""Time for a call that was told to stop at its time limit, before its thread is given up: a model's longest step that
can't be stopped within."""
MOST_LOST: Final = 4
"""Threads that may hang at once. Each keeps its memory and perhaps a core; beyond that a restart is cheaper."""

_waits = Histogram(
    "voice_agent_queue_wait_seconds",
    "How long work waited for a thread of an engine, by its urgency when it got one.",
    ["stage", "urgency"],
    buckets=(0.001, 0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8),
)
_lost = Counter(
    "voice_agent_engine_threads_lost", "Threads given up since a call on an engine hung in them.", ["stage"]
)


class PoolClosedError(RuntimeError):
    """Nothing runs any more."""


class Job(Generic[T]):
    """A call that waits for a thread, runs in one, or is over."""

    def __init__(self, call: Callable[[], T], limit_s: float, need: Need) -> None:
        self.outcome: Future[T] = Future()
        """The result of the call. Cancelled where it was dropped before it began."""
        self.limit_s = limit_s
        self.need = need
        self.asked_at = monotonic()
        self.begun_at: float | None = None
        self._call: Callable[[], T] | None = call

    def run(self) -> None:
        """Make the call, and let go of what it holds."""
        call, self._call = self._call, None
        assert call
        try:
            self.outcome.set_result(call())
        except BaseException as error:  # it is for whoever asked, and must not end their task, or the process
            harmless = isinstance(error, Exception) and not isinstance(error, CancelledError | StopIteration)
            self.outcome.set_exception(error if harmless else RuntimeError(repr(error)))

    def drop(self) -> None:
        """Nobody waits for it: it is not begun any more, and holds nothing. If it runs, it goes on.

        Takes no lock of the pool's: the garbage collector may call this at any time.
        """
        if self.outcome.cancel():
            self._call = None

    def hangs_in(self) -> float:
        """Seconds until the thread that runs it is to be given up."""
        assert self.begun_at is not None
        return self.begun_at + self.limit_s + STOP_S - monotonic()


class Pool:
    """A few threads. Those that hang are given up, counted and replaced, as long as they are not too many.

    They are daemons: one that hangs keeps no process from ending, as those of `concurrent.futures` do. Nobody
    watches them all the time. A pool looks after its threads when it is asked for something, and `look_after`
    says when to ask again.

    The most urgent job goes first, as judged when a thread is free. `spare` threads do nothing ahead of time
    (`Urgency.AHEAD`): what somebody waits for finds one free.
    """

    def __init__(self, stage: str, threads: int, *, spare: int = 0) -> None:
        self._stage = stage
        self._size = threads
        self._most_ahead = max(1, threads - spare)
        self._changed = threading.Condition()
        self._waiting: list[Job[object]] = []
        """In the order in which they came."""
        self._running: dict[threading.Thread, Job[object] | None] = {}
        """Each thread, with what it runs; None where it waits."""
        self._hung: set[threading.Thread] = set()
        """Those that were given up and have not come back."""
        self._closed = False
        self._ended: Future[None] = Future()

    @property
    def healthy(self) -> bool:
        """Whether no more threads hang than can be replaced."""
        self.look_after()
        return len(self._hung) < MOST_LOST

    def submit(self, call: Callable[[], T], *, limit_s: float, need: Need | None = None) -> Job[T]:
        """Run `call` when its turn comes; without a `need` it is due. A thread in which it runs for longer than
        `limit_s` is given up.

        Raises:
            PoolClosedError: the pool is closed, all its threads hang, or the system gives it none. What waits
                when it is closed gets that as its outcome.
        """
        self.look_after()
        job = Job(call, limit_s, need or Need())
        with self._changed:
            if self._closed:
                raise PoolClosedError("closed")
            if not self._room:
                raise PoolClosedError(f"not working: {len(self._hung)} of its threads hang")
            self._waiting.append(job)  # type: ignore[arg-type]
            self._add_threads()
            if not self._running:
                job.drop()
                raise PoolClosedError("not working: the system gives it no thread")
            self._changed.notify()
        return job

    def look_after(self) -> float | None:
        """Give up the threads that hang. Seconds until another one might; None while nothing runs."""
        given_up, waits = [], []
        with self._changed:
            for thread, job in list(self._running.items()):
                if job is None:
                    continue
                if (left_s := job.hangs_in()) > 0:
                    waits.append(left_s)
                    continue
                del self._running[thread]
                self._hung.add(thread)
                given_up.append(job)
            hung = len(self._hung)
            self._add_threads()
        for job in given_up:
            _lost.labels(self._stage).inc()
            log.error(
                "a thread of the %s hung for over %.3g s and is given up (%d hang now; from %d on it is not ready)",
                self._stage,
                job.limit_s,
                hung,
                MOST_LOST,
            )
        return min(waits, default=None)

    def close(self) -> tuple["Future[None]", list[threading.Thread]]:
        """Fail what waits, let what runs come to its end, begin nothing.

        Gives what is done when no thread runs, and the threads. Those that were given up are not waited for.
        """
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            threads = list(self._running)
            self._end_if_empty()
            self._changed.notify_all()
        for job in waiting:
            if job.outcome.set_running_or_notify_cancel():
                job.outcome.set_exception(PoolClosedError("closed"))
        return self._ended, threads

    @property
    def _room(self) -> int:
        """Threads that there may be, with those that hang."""
        return min(self._size, self._size + MOST_LOST - 1 - len(self._hung))

    def _add_threads(self) -> None:
        """As many as there is work for. The lock is held."""
        idle = sum(job is None for job in self._running.values())
        wanted = len(self._waiting) - idle
        for _ in range(min(wanted, self._room - len(self._running))):
            thread = threading.Thread(target=self._work, name=self._stage, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                log.error("the %s can't have another thread: %s", self._stage, error)
                return
            self._running[thread] = None

    def _work(self) -> None:
        me = threading.current_thread()
        while job := self._next(me):
            job.run()
            del job  # what it gave is not to be kept until there is another one

    def _next(self, me: threading.Thread) -> Job[object] | None:
        """The next job for `me`; None where it is to end."""
        with self._changed:
            if me in self._hung:
                self._hung.remove(me)
                log.warning("a thread of the %s that had hung has come back", self._stage)
                if self._closed or len(self._running) >= self._room:
                    return None
            self._running[me] = None
            self._changed.notify()  # work ahead of time may have been passed over, because enough of it ran
            while not self._closed:
                if job := self._take():
                    self._running[me] = job
                    return job
                self._changed.wait()
            del self._running[me]
            self._end_if_empty()
            return None

    def _take(self) -> Job[object] | None:
        """The most urgent job that may be begun. The lock is held."""
        now = monotonic()
        ahead = sum(job is not None and _is_ahead(job, now) for job in self._running.values())
        for job in sorted(self._waiting, key=lambda job: job.need.rank(now)):
            if ahead >= self._most_ahead and _is_ahead(job, now):
                break
            self._waiting.remove(job)
            if _begin(job):
                _waits.labels(self._stage, job.need.rank(now)[0].name.lower()).observe(now - job.asked_at)
                return job
        return None

    def _end_if_empty(self) -> None:
        if self._closed and not self._running and not self._ended.done():
            self._ended.set_result(None)


def _is_ahead(job: Job[object], now: float) -> bool:
    return job.need.rank(now)[0] is Urgency.AHEAD


def _begin(job: Job[object]) -> bool:
    """False where it was dropped."""
    if not job.outcome.set_running_or_notify_cancel():
        return False
    job.begun_at = monotonic()
    return True
