"""How long to wait for the next piece of a reply."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from voice_agent.stages.generator.deltas import Delta, ThoughtDelta
from voice_agent.stages.generator.failures import NOTHING, THOUGHTS, SilenceError


class Patience:
    """The bounds of one attempt. Only waiting counts: a slow listener is not a slow model.

    Before the first text (or call of a function) all waits together are bounded by the turn, whatever else
    comes; after it, those between two texts are. So thoughts are a sign of life, but not for ever.
    """

    def __init__(
        self, *, first: tuple[float, str], token: tuple[float, str], turn: tuple[float, str], turn_at: float
    ) -> None:
        """Each is a time in seconds, with the name of its setting.

        They begin now, but for the turn: it began earlier, and is over at `turn_at` on the event loop's clock.
        """
        self._clock = asyncio.get_running_loop().time
        self._token, self._turn = token, turn
        self._first_at = self._clock() + first[0]
        self._turn_at = turn_at
        self._first = first
        self._heard: Delta | None = None
        self._fresh = False

    def heard(self, delta: Delta) -> None:
        """`delta` came, and was dealt with."""
        self._heard, self._fresh = delta, True

    @asynccontextmanager
    async def wait(self) -> AsyncIterator[None]:
        """Wait for what comes next.

        Raises:
            SilenceError: it did not come in time.
        """
        self._begin()
        seconds, setting, at = min(
            (*self._first, self._first_at), (*self._turn, self._turn_at), key=lambda bound: bound[2]
        )
        what = THOUGHTS if isinstance(self._heard, ThoughtDelta) and setting == self._turn[1] else NOTHING
        try:
            async with asyncio.timeout_at(at) as timeout:
                yield
        except TimeoutError:
            if timeout.expired():
                raise SilenceError(what, seconds, setting) from None
            raise  # of the connection

    def _begin(self) -> None:
        if not self._fresh:
            return
        self._fresh = False
        now = self._clock()
        self._first, self._first_at = self._token, now + self._token[0]
        if not isinstance(self._heard, ThoughtDelta):
            self._turn_at = now + self._turn[0]
