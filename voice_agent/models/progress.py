"""How a fetch is shown: bars in a terminal, log lines elsewhere."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as RichProgress

log = logging.getLogger(__name__)

console = Console(stderr=True)
"""The terminal that the bars are drawn on; log handlers that write to it do not tear them."""

LOG_LINES = 10
"""Lines for a whole fetch: enough to tell that it is alive, too few to flood a log."""


class Progress(Protocol):
    """Hears how far a fetch is."""

    def __call__(self, name: str, done: int, total: int) -> None:
        """`done` of `total` bytes of the weights `name` are here. May go back when a source fails."""


class LogLines:
    """A log line for each tenth."""

    def __init__(self) -> None:
        self._said = -1

    def __call__(self, name: str, done: int, total: int) -> None:
        """Say it, if it is further than what was last said."""
        tenth = done * LOG_LINES // total
        if tenth > self._said:
            self._said = tenth
            log.info("%s: %.0f of %.0f MB", name, done / 1e6, total / 1e6)


class _Bars:
    """One display for all fetches of the process: engines fetch side by side, a terminal has one bottom."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._display: RichProgress | None = None

    @contextmanager
    def bar(self) -> Iterator[Progress]:
        with self._lock:
            if self._display is None:
                self._display = RichProgress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    DownloadColumn(),
                    TransferSpeedColumn(),
                    TimeRemainingColumn(),
                    console=console,
                )
                self._display.start()
            display, self._users = self._display, self._users + 1
        task = display.add_task("", total=None)
        try:
            yield lambda name, done, total: display.update(
                task, description=name, completed=done, total=total
            )
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    display.stop()
                    self._display = None


_bars = _Bars()


@contextmanager
def shown(progress: Progress | None) -> Iterator[Progress]:
    """`progress` itself, or by default what suits the place that this process writes to."""
    if progress is not None:
        yield progress
    elif console.is_terminal:
        with _bars.bar() as bar:
            yield bar
    else:
        yield LogLines()
