"""Which of llama.cpp's slots a request goes to."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile


class Slots:
    """Which conversation each of the server's slots holds, so that its next turn finds it there.

    Left to itself the server gives a request to the slot whose last prompt is most like it. Conversations
    that begin with the same instructions then push each other out of one slot while the rest stand empty,
    and every turn reads its whole history again (the third turns of three conversations: 72 to 82 tokens and
    1.4 s on a busy machine; 22 tokens and 0.2 s where a slot was kept).
    """

    def __init__(self, count: int) -> None:
        self._held: list[Sequence[object]] = [()] * count
        self._free = list(range(count))
        """Least recently used first."""

    @contextmanager
    def take(self, messages: Sequence[object]) -> Iterator[int]:
        """The free slot that holds most of `messages`, else the one longest unused; -1 where all are busy."""
        if not self._free:
            yield -1  # the server queues it
            return
        slot = max(
            self._free, key=lambda slot: _shared(self._held[slot], messages)
        )  # max: the first of equals
        self._free.remove(slot)
        self._held[slot] = tuple(messages)
        try:
            yield slot
        finally:
            self._free.append(slot)


def _shared(held: Sequence[object], messages: Sequence[object]) -> int:
    """Messages that both begin with; the instructions alone, which all have, count for none."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(held, messages, strict=False)))
    return same if same > 1 else 0
