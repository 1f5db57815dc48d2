"""A process that is not to outlive the one that started it."""

import ctypes
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def end_with_parent(number: signal.Signals) -> None:
    """Have Linux send this process `number` when the thread that started it ends, with its process or by itself.

    Other systems have nothing like it. None is sent where it has ended already: compare `os.getppid()` afterwards.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
