"""The words that there are to say in a text."""

import re
from typing import Final

_UNREADABLE: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]+")
"""Control characters, of which NUL ends a text for espeak, and halves of a surrogate pair, which no encoding holds."""


def speakable(text: str) -> bool:
    """Whether `text` has anything to say: a letter or a digit, not punctuation alone."""
    return any(map(str.isalnum, text))


def legible(text: str) -> str:
    """`text` with a space for what no engine can read: whatever a language model sends comes this far."""
    return _UNREADABLE.sub(" ", text)
