"""Quotes a client's text in errors and logs: short, and on one line."""

import reprlib
from typing import Final

LONGEST: Final = 60
"""Characters of a client's value that are shown: enough to know it again."""

_short: Final = reprlib.Repr()
_short.maxlevel = 1
_short.maxstring = _short.maxother = _short.maxlong = LONGEST


def quoted(value: object) -> str:
    """A value as Python would write it, the middle of a long one left out; at most about `LONGEST` characters."""
    try:
        text = _short.repr(value)
    except ValueError:  # Python writes no integer of over 4300 digits (sys.set_int_max_str_digits)
        return "a number of thousands of digits"
    return text if len(text) <= 2 * LONGEST else f"{text[:LONGEST]}..."


def shortened(text: str) -> str:
    """Text that is quoted without quotation marks, such as the name of a field."""
    return quoted(text)[1:-1]
