"""Where blocks of code begin and end, also as models write them: behind words, in a quotation, one in another."""

import re
from dataclasses import dataclass
from typing import Final

_QUOTE: Final = r"\s*(?:>[ \t]?)*[ \t]*"
_OPENS: Final = re.compile(rf"{_QUOTE}(`{{3,}}|~{{3,}})(?:[^\s`][^`\n]*|[ \t]*[^\s`]*\s*)$")
"""The marks at the start of a line, and what tells the language: one word, or words that touch the marks. Marks, a
space and words are what closed a block that was never opened."""
_OPENS_WITHIN: Final = re.compile(r"(?:(?<!`)(`{3,})[\w+#.-]*|(?<!\S)(`{3,})[^\s`][^`\n]*)\s*$")
"""The same behind words: "Here is code: ```python"."""
_MARKS: Final = re.compile(r"`{3,}")
_WORD: Final = re.compile(r"[\w+#.-]*[\w+#]$")
"""A language: such a mark opens a block within a block, and closes none."""


@dataclass(frozen=True)
class Fence:
    """The marks that opened a block of code."""

    marks: str
    start: int
    """Where they stand in the line."""
    quoted: bool
    """They stand in a quotation, with whose last line the block ends."""

    def closed_by(self, line: str) -> int:
        """How much of a line, or of one that is being written, closes the block: 0 if nothing does.

        Text may follow behind a space ("``` And so on"), or touch the marks if it can't be the name of a language.
        """
        found = re.match(rf"{_QUOTE}{self.marks}{self.marks[0]}*", line)
        if found:
            rest = line[found.end() :]
            return 0 if _WORD.match(rest.rstrip("\n")) else found.end()
        bare = line.rstrip()
        many = len(bare) - len(bare.rstrip(self.marks[0]))
        once = line.count(self.marks) == many // len(self.marks)
        return len(line) if line.endswith("\n") and many >= len(self.marks) and once else 0


def opened(line: str) -> Fence | None:
    """The fence that opens a block of code in this line, if one does."""
    if found := _OPENS.match(line):
        return Fence(found[1], found.start(1), ">" in line[: found.start(1)])
    found = _OPENS_WITHIN.search(line)
    if found and len(_MARKS.findall(line, 0, found.start())) % 2 == 0:
        start = found.start(found.lastindex or 0)
        return Fence(found[1] or found[2], start, quoted=line.lstrip().startswith(">"))
    return None
