"""An event loop on virtual time."""

import asyncio
import selectors


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: where it would, its clock jumps on. For tests without real input and output,
    and far quicker than looptime on an hour of short sleeps."""

    def __init__(self) -> None:
        super().__init__(_Impatient())
        self._selector: _Impatient

    def time(self) -> float:
        return self._selector.now


class _Impatient(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is scheduled: this would wait for ever"
        self.now += max(0.0, timeout)
        return []
