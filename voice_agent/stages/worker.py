"""Blocking work off the event loop: a few threads, and generators that run in them piece by piece."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

from voice_agent.errors import StageError, VoiceAgentError
from voice_agent.stages.pool import Job, Pool, PoolClosedError
from voice_agent.urgency import Need

T = TypeVar("T")

LOADING_S: Final = 3600.0
"""Longest time for loading an engine: its weights may be fetched, 2 GB of them over a slow line."""
CLOSING_S: Final = 2.0
"""Longest wait for what runs when an engine is closed."""


class Stop(Protocol):
    """Tells work in a thread to stop: a `threading.Event`, or what an engine has instead. From any thread."""

    def set(self) -> None:
        """The result is not wanted any more."""


class TookTooLongError(StageError):
    """Nothing came within the time limit."""


class Worker:
    """The threads of one stage's engine, shared by the sessions.

    Every call has a time limit. What nobody waits for any more is not begun, and what runs is told to stop; a
    thread that does not come back from a call is replaced (see `Pool`).
    """

    def __init__(self, stage: str, *, threads: int, timeout_s: float, spare: int = 0) -> None:
        """`spare` of several threads are kept for what somebody waits for; see `Pool`."""
        self._stage = stage
        self._timeout_s = timeout_s
        self._pool = Pool(stage, threads, spare=spare)
        self._stops: set[Stop] = set()
        self._waiting: set[asyncio.Future[Any]] = set()

    @property
    def healthy(self) -> bool:
        """Whether there are threads to work in: not too many hang."""
        return self._pool.healthy

    async def load(self, call: Callable[[], T]) -> T:
        """As `run`, for what loads an engine: within `LOADING_S`."""
        return await self.run(call, timeout_s=LOADING_S)

    async def run(
        self,
        call: Callable[[], T],
        *,
        timeout_s: float | None = None,
        need: Need | None = None,
        stop: Stop | None = None,
    ) -> T:
        """The result of `call`, from a thread.

        Args:
            call: the work.
            timeout_s: longest wait, that for a thread included; by default the worker's.
            need: how urgent it is; by default it is due.
            stop: is set when the outcome is known or not wanted any more.

        Raises:
            TookTooLongError: it gave nothing in time.
            StageError: `call` failed, and not with an error of this project; or the worker was closed.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        stop = stop or threading.Event()
        job = self._submit(call, limit_s, need)
        self._stops.add(stop)
        try:
            return await self._outcome(job)
        finally:
            self._leave(job, stop)

    def stream(
        self, pieces: Generator[T, None, None], stop: Stop | None = None, need: Need | None = None
    ) -> AsyncGenerator[T, None]:
        """The pieces of a generator, each made in a thread.

        A generator holds a thread only while it makes a piece: the next is asked for when the one before is
        taken, so at most one lies ready (the bound of the hand-over), a slow consumer holds up nobody, and
        the most urgent of the streams that share a thread goes first, piece by piece.

        Leaving the iteration (`aclose`, a cancelled step, or just dropping it, begun or not) sets `stop`, on
        which `pieces` may end early, drops a piece that no thread has begun, and closes `pieces` as soon as it
        is not running. It does not wait for that.

        Raises:
            TookTooLongError: no piece came within the time limit, the wait for a thread included.
            StageError: `pieces` failed, and not with an error of this project; or the worker was closed.
        """
        return _Stream(self, pieces, stop or threading.Event(), need)

    async def close(self) -> None:
        """Stop what runs, drop what waits, end the threads; within `CLOSING_S`, whatever a thread does.

        Who waits for something gets a StageError.
        """
        ended, threads = self._pool.close()
        for stop in list(self._stops):
            stop.set()
        over = asyncio.wrap_future(ended)
        await asyncio.wait({over}, timeout=CLOSING_S)
        if over.done() and not over.cancelled():
            for thread in threads:
                thread.join(CLOSING_S)  # all that is left is their very end
        over.cancel()
        for waiting in list(self._waiting):
            waiting.cancel()

    def _submit(self, call: Callable[[], T], limit_s: float, need: Need | None) -> Job[T]:
        try:
            return self._pool.submit(call, limit_s=limit_s, need=need)
        except PoolClosedError as error:
            raise StageError(self._stage, f"the {self._stage} is {error}") from error

    def _leave(self, job: Job[T] | None, stop: Stop) -> None:
        """Nobody waits any more. From any thread."""
        self._stops.discard(stop)
        stop.set()
        if job:
            job.drop()

    async def _outcome(self, job: Job[T]) -> T:
        """Meanwhile, look whether the thread is free that `job` waits for."""
        future = asyncio.wrap_future(job.outcome)
        clock = asyncio.get_running_loop().time
        deadline = clock() + job.limit_s
        self._waiting.add(future)
        try:
            while not future.done():
                left_s = deadline - clock()
                if left_s <= 0:
                    raise TookTooLongError(
                        self._stage, f"the {self._stage} gave nothing for {job.limit_s:g} s"
                    )
                look_s = self._pool.look_after()
                await asyncio.wait({future}, timeout=left_s if look_s is None else min(left_s, look_s))
            if future.cancelled():
                raise StageError(self._stage, f"the {self._stage} is closed")
            return future.result()
        except (VoiceAgentError, asyncio.CancelledError):
            raise
        except PoolClosedError as error:
            raise StageError(self._stage, f"the {self._stage} is {error}") from error
        except Exception as error:
            raise StageError(
                self._stage, f"the {self._stage} failed: {type(error).__name__}: {error}"
            ) from error
        finally:
            self._waiting.discard(future)
            future.cancel()


class _Stream(AsyncGenerator[T, None]):
    """See `Worker.stream`. Leaving needs no event loop, so that dropping a stream is leaving it."""

    def __init__(
        self, worker: Worker, pieces: Generator[T, None, None], stop: Stop, need: Need | None
    ) -> None:
        self._worker = worker
        self._pieces = pieces
        self._stop = stop
        self._need = need
        self._ahead: Job[T | None] | None = None
        self._left = False

    async def __anext__(self) -> T:
        if self._left:
            raise StopAsyncIteration
        try:
            if self._ahead is None:
                self._worker._stops.add(self._stop)
                self._ahead = self._advance()
            piece = await self._worker._outcome(self._ahead)
            if piece is None or self._left:
                raise StopAsyncIteration
            self._ahead = self._advance()
        except BaseException:
            self._leave()
            raise
        return piece

    async def asend(self, value: None) -> T:
        return await self.__anext__()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: object = None,
        tb: TracebackType | None = None,
    ) -> T:
        self._leave()
        raise typ

    async def aclose(self) -> None:
        self._leave()

    def __del__(self) -> None:
        self._leave()

    def _advance(self) -> Job[T | None]:
        pieces = self._pieces
        return self._worker._submit(lambda: next(pieces, None), self._worker._timeout_s, self._need)

    def _leave(self) -> None:
        if self._left:
            return
        self._left = True
        self._worker._leave(self._ahead, self._stop)
        if self._ahead is None:
            self._pieces.close()
        else:
            pieces = self._pieces
            self._ahead.outcome.add_done_callback(lambda _: pieces.close())
