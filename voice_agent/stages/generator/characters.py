"""Characters that come in pieces, made fit to be shown and said."""

import re
from typing import Final

_HIGH: Final = re.compile("[\ud800-\udbff]\\Z")
_NO_TEXT: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_NEW_LINES: Final = str.maketrans("\x0b\x0c\x85", "\n\n\n")


class Characters:
    """Joins the halves of a character that JSON's escapes put into two pieces, and drops what is no character.

    A half (a surrogate) that stays alone becomes U+FFFD; control characters, but for tab and new line, and
    byte order marks go.
    """

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """The next piece; a half at its end is kept for the one after."""
        if text.isascii() and text.isprintable() and not self._half:
            return text
        text, self._half = self._half + text, ""
        if half := _HIGH.search(text):
            text, self._half = text[: half.start()], half[0]
        whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return _NO_TEXT.sub("", whole).translate(_NEW_LINES)

    def end(self) -> str:
        """The rest, once nothing follows."""
        half, self._half = self._half, ""
        return "\ufffd" if half else ""


def clean(text: str) -> str:
    """A whole text, made fit in the same way."""
    characters = Characters()
    return characters.feed(text) + characters.end()
