"""The threads that Whisper runs in, and who goes first."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

T = TypeVar("T")

CLOSED: Final = "it is closed"


@dataclass(frozen=True, eq=False)
class _Request(Generic[T]):
    call: Callable[[], T]
    partial: bool
    outcome: "Future[T]" = field(default_factory=Future)


class Queue(Generic[T]):
    """Runs whole utterances before partial ones, and those of a kind in the order they came.

    Partial ones never take the last of several threads, so that a whole one waits for them only where there
    is one thread. It needs no bound of its own: a session waits for one or two transcripts at a time, and
    sessions are bounded.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="whisper")
        self._most_partial = max(1, threads - 1)
        self._running_partial = 0
        self._whole: deque[_Request[T]] = deque()
        self._partial: deque[_Request[T]] = deque()
        self._closed = False
        self._lock = threading.Lock()

    def submit(self, call: Callable[[], T], *, partial: bool = False) -> "Future[T]":
        """Run `call` when its turn comes; cancelling what it gives takes it off the queue until then.

        Raises:
            RuntimeError: the queue is closed; what waits at that time gets it as its outcome.
        """
        request = _Request(call, partial)
        with self._lock:
            if self._closed:
                raise RuntimeError(CLOSED)
            (self._partial if partial else self._whole).append(request)
            self._threads.submit(self._run_next)
        return request.outcome

    def close(self) -> None:
        """Fail what waits, and wait for what runs."""
        with self._lock:
            self._closed = True
            waiting = [*self._whole, *self._partial]
            self._whole.clear()
            self._partial.clear()
        for request in waiting:
            if request.outcome.set_running_or_notify_cancel():
                request.outcome.set_exception(RuntimeError(CLOSED))
        self._threads.shutdown(cancel_futures=True)

    def _run_next(self) -> None:
        """Each request brings one call of this, so that none is forgotten; whose turn it is, is decided only here."""
        request = self._take()
        if request is None:
            return
        try:
            request.outcome.set_result(request.call())
        except BaseException as error:  # as an executor does: it is for whoever asked
            request.outcome.set_exception(error)
        if request.partial:
            self._let_next_partial_run()

    def _take(self) -> _Request[T] | None:
        with self._lock:
            while self._whole:
                request = self._whole.popleft()
                if request.outcome.set_running_or_notify_cancel():
                    return request
            while self._partial and self._running_partial < self._most_partial:
                request = self._partial.popleft()
                if request.outcome.set_running_or_notify_cancel():
                    self._running_partial += 1
                    return request
            return None

    def _let_next_partial_run(self) -> None:
        """One may have been passed over, because enough of them ran."""
        with self._lock:
            self._running_partial -= 1
            if self._partial and not self._closed:
                self._threads.submit(self._run_next)
