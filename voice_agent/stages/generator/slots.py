"""Which request llama.cpp is given next, and in which of its slots."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from voice_agent.errors import StageError
from voice_agent.urgency import Need, Urgency

LOOK_AGAIN_S: Final = 0.05
"""How soon it is noticed that a request which waits for a slot that is kept is due now: a need tells nobody that it
changed."""
BUSY: Final = (
    "llama.cpp was busy with other replies for as long as a turn may take (VOICE_AGENT_LLM__TURN_TIMEOUT_S)"
)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    messages: Sequence[object]
    need: Need
    slot: asyncio.Future[int]


class Slots:
    """The server's slots, for one request each, and the queue for them: the most urgent goes first. (The server's own
    queue is first come, first served.)

    A request goes to the slot that holds its conversation. Left to itself the server gives it to the slot whose last
    prompt is most like it. Conversations that begin with the same instructions then push each other out of one slot
    while the rest stand empty, and every turn reads its whole history again (the third turns of three conversations: 72
    to 82 tokens and 1.4 s on a busy machine; 22 tokens and 0.2 s where a slot was kept).
    """

    def __init__(self, count: int, *, kept: int = 0) -> None:
        """`kept` of them (fewer than `count`) are for requests that somebody waits for. Without these, a reply that is
        due would wait until one that was prepared for somebody else is written to its end, and prepared ones, which
        may be for nothing, would slow down those that are heard.
        """
        self._kept = kept
        self._held: list[Sequence[object]] = [()] * count
        self._free = list(range(count))
        """Least recently used first."""
        self._waiting: list[_Waiting] = []
        self._look: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def take(
        self, messages: Sequence[object], need: Need | None = None, *, until: float | None = None
    ) -> AsyncIterator[int]:
        """The free slot that holds most of `messages`, else the one longest unused; waits for its turn, without a
        `need` as one that is due. Leaving gives it back.

        Raises:
            StageError: its turn did not come by `until`, on the event loop's clock.
        """
        waiting = _Waiting(messages, need or Need(), asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._choose()
        try:
            try:
                async with asyncio.timeout_at(until):
                    slot = await waiting.slot
            except TimeoutError:
                raise StageError("generator", BUSY) from None
            yield slot
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            else:
                self._free.append(waiting.slot.result())  # also of one that was cancelled as its turn came
            self._choose()

    def _choose(self) -> None:
        """Give free slots to those whose turn it is."""
        if self._look:
            self._look.cancel()
            self._look = None
        while self._free and self._waiting:
            loop = asyncio.get_running_loop()
            now = loop.time()
            first = min(self._waiting, key=lambda waiting: waiting.need.rank(now))
            if first.need.rank(now)[0] > Urgency.DUE and len(self._free) <= self._kept:
                self._look = loop.call_later(LOOK_AGAIN_S, self._choose)
                break
            self._waiting.remove(first)
            first.slot.set_result(self._slot_for(first.messages))

    def _slot_for(self, messages: Sequence[object]) -> int:
        slot = max(
            self._free, key=lambda slot: _shared(self._held[slot], messages)
        )  # max: the first of equals
        self._free.remove(slot)
        self._held[slot] = tuple(messages)
        return slot


def _shared(held: Sequence[object], messages: Sequence[object]) -> int:
    """Messages that both begin with; the instructions alone, which all have, count for none."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(held, messages, strict=False)))
    return same if same > 1 else 0
