"""Where in a text one is, as far as that tells a mark from a mention of one."""

import re
from typing import Final

_SENTENCE_END: Final = re.compile(r"[.!?…。！？｡؟۔।][\"'”’»)\]*_]*\Z")
_FENCE: Final = "```"
_ENOUGH: Final = 8
"""Characters at the end of a line that tell whether it ends a sentence: a mark, and quotes or brackets after it."""


class Place:
    """The end of a text that comes in pieces."""

    def __init__(self) -> None:
        self._begin = self._last = ""
        """The first characters of the line, and the last, white space left out."""
        self._ticks = 0
        self._fenced = False
        self.after = ""
        """The last character, white space too."""

    def feed(self, text: str) -> None:
        """Go on behind `text`."""
        self.after = text[-1:] or self.after
        first, *more = text.split("\n")
        self._go_on(first)
        for line in more:
            self._fenced ^= self._begin == _FENCE
            self._begin, self._last, self._ticks = "", "", 0
            self._go_on(line)

    @property
    def amid(self) -> bool:
        """Whether it is in the midst of a sentence, or within backticks."""
        return self.in_code or (bool(self._last) and not _SENTENCE_END.search(self._last))

    @property
    def in_code(self) -> bool:
        """Whether it is within backticks."""
        return self._fenced or bool(self._ticks % 2)

    def _go_on(self, text: str) -> None:
        self._ticks += text.count("`")
        if len(self._begin) < len(_FENCE):
            self._begin = (self._begin + text).lstrip()[: len(_FENCE)]
        self._last = (self._last + text.rstrip())[-_ENOUGH:] if text.strip() else self._last
