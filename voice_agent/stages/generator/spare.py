"""One open connection more than is in use: a reply that is left in the middle takes its connection with it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

log = logging.getLogger(__name__)

STALE_S: Final = 60.0
"""After this long an endpoint may have closed a connection that nobody used: many do so after 60 or 75 s."""
AFTER_S: Final = 0.05
"""So much later than the reply's own request, which is to have the connection that is there."""
OPENING_S: Final = 5.0
"""For opening one."""
MOST_OPENING: Final = 2
"""At the same time, however many replies are left."""


class Spare:
    """Keeps a connection for the request that follows on a reply that was left, in the background.

    Mostly that request is made in the same moment, so the connection is opened when a reply begins that may be left. It
    is a guess whether it is still there when it is needed: where not, that request opens one, as it would without.
    """

    def __init__(self, touch: Callable[[], Awaitable[object]]) -> None:
        """`touch` makes a request that costs little. Since the connections that are there are in use, it opens one."""
        self._touch = touch
        self._closed = False
        self._until = 0.0
        """When the one that was opened last, and not used since, counts as gone."""
        self._opening: set[asyncio.Task[None]] = set()

    def begun(self) -> None:
        """A reply begins that may be left."""
        if asyncio.get_running_loop().time() >= self._until:
            self._open()

    def left(self) -> None:
        """A reply was left, and its connection is closed."""
        if asyncio.get_running_loop().time() >= self._until:
            self._open()
        self._until = 0.0  # it takes the place of the other

    async def close(self) -> None:
        """Nothing is being opened afterwards."""
        self._closed = True
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)

    def _open(self) -> None:
        if self._closed or len(self._opening) >= MOST_OPENING:
            return
        self._until = asyncio.get_running_loop().time() + STALE_S
        task = asyncio.create_task(self._opened(), name="a spare connection")
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _opened(self) -> None:
        await asyncio.sleep(AFTER_S)
        try:
            async with asyncio.timeout(OPENING_S):
                await self._touch()
        except Exception as error:  # whatever it is, the next request finds out, and tells it
            log.debug("no spare connection: %s", type(error).__name__)
