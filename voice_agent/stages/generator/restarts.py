"""How soon a process that ended by itself is started again, and from when on that is no longer expected to help."""

from typing import Final

PAUSES_S: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Before each start, seconds: one after the other while it does not start, or does not run for `SETTLED_S`; then
always the last. A crash is to cost no reply; a file that is gone, or memory that is taken, takes longer."""
SETTLED_S: Final = 60.0
"""An end after this long, seconds, is not counted with the failures before it."""
BROKEN_AFTER: Final = 3
"""Failures in a row: a crash and two restarts that did not help, the second of them after a pause. From then on new
callers had better go elsewhere."""


class Restarts:
    """Counts failures in a row: starts that failed, and ends soon after one that did not."""

    def __init__(self) -> None:
        self.failures = 0
        """In a row."""

    @property
    def broken(self) -> bool:
        """Whether there were so many that the next start is not likely to help."""
        return self.failures >= BROKEN_AFTER

    @property
    def pause_s(self) -> float:
        """How long to wait before the next start."""
        return PAUSES_S[min(max(self.failures, 1), len(PAUSES_S)) - 1]

    def did_not_start(self) -> None:
        """A start failed, however long it took to."""
        self.failures += 1

    def ended(self, ran_s: float) -> None:
        """A start went well, and the process ended `ran_s` seconds later."""
        self.failures = 1 if ran_s >= SETTLED_S else self.failures + 1
