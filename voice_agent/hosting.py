"""A session in a task of its own: it belongs to the agent and not to a socket, and can outlive the one it came over."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from voice_agent.config import Settings
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.session import Session, open_session
from voice_agent.engines import Engines

log = logging.getLogger(__name__)

END_WITHIN_S: Final = 2.0
"""How long the tasks of a session may take to end; what hangs longer is logged, and not waited for."""


class HostedSession:
    """One session, from `begin` to `end`; in between, clients attach and detach."""

    def __init__(self, session: Session, task: asyncio.Task[None], over: asyncio.Event) -> None:
        self.session = session
        self._task = task
        self._over = over

    @classmethod
    async def begin(cls, engines: Engines, settings: Settings, options: SessionOptions) -> "HostedSession":
        """Open a session. Raises what `open_session` does."""
        opened: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        over = asyncio.Event()

        async def hold() -> None:
            async with open_session(engines, settings, options) as session:
                opened.set_result(session)
                await over.wait()

        task = asyncio.create_task(hold(), name="session")
        try:
            either: set[asyncio.Future[Any]] = {task, opened}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not opened.done():
                await task  # raises what went wrong
        except BaseException:
            task.cancel()
            raise
        return cls(opened.result(), task, over)

    @asynccontextmanager
    async def attached(self) -> AsyncIterator[Session]:
        """Feed the session and write out its events, for as long as the context lasts.

        Raises:
            ExceptionGroup: a task of the session failed in a way that nobody foresaw.
        """
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._until_it_fails())
            try:
                yield self.session
            finally:
                watching.cancel()

    async def end(self) -> None:
        """End the session; no task of it is left afterwards, unless one hangs."""
        self._over.set()
        _, hanging = await asyncio.wait({self._task}, timeout=END_WITHIN_S)
        if hanging:
            log.error("session %s had not ended after %.0f s", self.session.id, END_WITHIN_S)
            self._task.cancel()
        elif not self._task.cancelled() and (error := self._task.exception()):
            log.debug("session %s ended with %r", self.session.id, error)  # told to who was attached

    async def _until_it_fails(self) -> None:
        await asyncio.shield(self._task)
