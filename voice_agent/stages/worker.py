"""Blocking work off the event loop: a few threads, and generators that run in them piece by piece."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from voice_agent.errors import StageError, VoiceAgentError

T = TypeVar("T")


class Worker:
    """The threads of one stage's engine, shared by the sessions.

    A generator holds a thread only while it makes a piece: the next is asked for when the one before is
    taken, so at most one lies ready (the bound of the hand-over), a slow consumer holds up nobody, and
    streams that share a thread take turns.
    """

    def __init__(self, stage: str, *, threads: int, timeout_s: float) -> None:
        self._stage = stage
        self._timeout_s = timeout_s
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=stage)
        self._stops: set[threading.Event] = set()

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` gives, from a thread; for loading, so without a time-out.

        Raises:
            StageError: `call` failed, and not with an error of this project; or the worker was closed.
        """
        return await self._outcome(asyncio.wrap_future(self._submit(call)), timeout_s=None)

    async def stream(
        self, pieces: Generator[T, None, None], stop: threading.Event | None = None
    ) -> AsyncGenerator[T, None]:
        """The pieces of a generator, each made in a thread.

        Leaving the iteration sets `stop`, on which `pieces` may end early, drops a piece that no thread has
        begun, and closes `pieces` as soon as it is not running. It does not wait for that.

        Raises:
            StageError: `pieces` failed, and not with an error of this project; no piece came within the
                time-out, the wait for a thread included; or the worker was closed.
        """
        stop = stop or threading.Event()
        self._stops.add(stop)

        def advance() -> T | None:
            return next(pieces, None)

        job = self._submit(advance)
        ahead = asyncio.wrap_future(job)
        try:
            while (piece := await self._outcome(ahead, self._timeout_s)) is not None:
                job = self._submit(advance)
                ahead = asyncio.wrap_future(job)
                yield piece
        finally:
            stop.set()
            self._stops.discard(stop)
            ahead.cancel()  # and with it the job, if no thread has begun it
            job.add_done_callback(lambda _: pieces.close())

    async def close(self) -> None:
        """Stop what runs, drop what waits, end the threads. A stream that is still read gets a StageError."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for stop in self._stops:
            stop.set()
        await asyncio.to_thread(self._executor.shutdown)

    def _submit(self, call: Callable[[], T]) -> "Future[T]":
        try:
            return self._executor.submit(call)
        except RuntimeError as error:  # the executor's word for "shut down"
            raise StageError(self._stage, f"the {self._stage} is closed") from error

    async def _outcome(self, future: "asyncio.Future[T]", timeout_s: float | None) -> T:
        done, _ = await asyncio.wait({future}, timeout=timeout_s)
        if not done:
            raise StageError(self._stage, f"the {self._stage} gave nothing for {timeout_s:g} s")
        if future.cancelled():
            raise StageError(self._stage, f"the {self._stage} is closed")
        try:
            return future.result()
        except VoiceAgentError:
            raise
        except Exception as error:
            raise StageError(
                self._stage, f"the {self._stage} failed: {type(error).__name__}: {error}"
            ) from error
