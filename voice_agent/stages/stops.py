"""Which stops end a sentence: those before white space, and those that the next sentence follows at once.

Everything here takes time in proportion to the length of what it is given.
"""

import re
from enum import Enum, auto
from itertools import groupby
from typing import Final

from voice_agent.stages.english import (
    BEFORE_NAME,
    BEFORE_NUMBER,
    CODE_NAMES,
    NEVER_LAST,
    SMALL_HOSTS,
    SMALL_STARTERS,
    STARTERS,
    TITLES,
    TO_ADDRESS,
    UNSPACED_STARTERS,
)

_QUOTES: Final = "\"')]}»”’"
_STOPS: Final = ".!?…,:;—–-"


class Wait(Enum):
    """The text that will tell whether a stop was the end of the sentence."""

    CAPITAL = auto()
    """The next word's first letter: not a small one, nor a digit."""
    STARTER = auto()
    """The next word: one of `STARTERS`, with a capital."""
    AFTER_TIME = auto()
    """The next word: with a capital, and not a day or a time zone."""
    ELLIPSIS = auto()
    """The next word: with a capital, and not "I"."""


_MARKER: Final = re.compile(r"\d{1,3}|[A-Za-z]|[ivx]{1,4}")
"""The number of a list's item: "1. First" at the start of a line, or after "as follows:"."""

_CITED: Final = 120
"""Characters at the end of a text in which its citations are looked for."""
_CITATIONS: Final = re.compile(
    r"(?:\[(?:\^|[#A-Za-z]{1,14}[ .:#_-]{0,3})?\d{1,3}(?:(?:\s?[,;–-]\s?|\s)\d{1,3}){0,9}"
    r"(?:,\s?pp?\.?\s?[\d–-]{1,9})?\]"
    r"|\[(?i:cite_start|cite_end|sources?|[ivx]{1,5})\]|【[^【】\n]{0,60}】|\s?⁽[¹²³⁰⁴-⁹]{1,3}⁾|[¹²³⁰⁴-⁹]"
    "|(?<=\\S)\\^\\d{1,3}\\^|\ue200[^\ue200\ue201\\n]{0,80}\ue201)+$"
)

_CITATION_SIGNS: Final = frozenset("]】\ue201¹²³⁰⁴⁵⁶⁷⁸⁹⁾^")
CITATION_ENDS: Final = "]】\ue201⁾^"


def without_tail(word: str) -> str:
    """Without what may stand after a stop: quotes, brackets, emphasis, emoji."""
    end = len(word)
    while end and not (word[end - 1].isalnum() or word[end - 1].isspace() or word[end - 1] in _STOPS):
        end -= 1
    return word[:end]


def without_edges(word: str) -> str:
    """Without all that is no letter or digit around it."""
    start, end = 0, len(word)
    while start < end and not word[start].isalnum():
        start += 1
    while end > start and not word[end - 1].isalnum():
        end -= 1
    return word[start:end]


def uncited(text: str) -> str:
    """Without the marks of citations at its end: "France.[1][2]", "France.¹", "France.【1†source】"."""
    if text[-1:] not in _CITATION_SIGNS:
        return text
    cited = _CITATIONS.search(text[-_CITED:])
    return text[: -len(cited[0])] if cited else text


def after_stop(word: str, before: str | None = None) -> Wait | bool:
    """Whether a sentence ends with `word`, white space having followed: yes, no, or what will tell.

    Args:
        word: as it was written, with its punctuation.
        before: the word before it in the piece, if any.
    """
    word = uncited(word)
    closed = without_tail(word)
    if closed.endswith(("...", "…")):
        return Wait.ELLIPSIS
    if closed.endswith(("!", "?")):
        # `"Really?" he asked` goes on; so does `(why?) and`.
        return Wait.CAPITAL if any(c in _QUOTES for c in word[len(closed) :]) else True
    if not closed.endswith("."):
        return False
    bare = closed[:-1].lstrip("([{\"'“‘*_`~$#")
    key = bare.lower()
    if (before is None or before.endswith(":")) and _MARKER.fullmatch(bare):
        return False
    if bare in TITLES or key in NEVER_LAST:
        return False
    if key in ("a.m", "p.m"):
        return Wait.AFTER_TIME
    if key in BEFORE_NUMBER:
        return Wait.CAPITAL
    if bare == "I" and before and before[:1].islower():
        return True
    if key in BEFORE_NAME or all(len(i) == 1 and i.isalpha() for i in bare.split(".")):
        return Wait.STARTER
    return True


_NO_SENTENCE: Final = frozenset("/@\\=<>{}#&|`")
"""Signs of an address or of code: in a run with one of these a sentence begins only with one of `STARTERS`."""
_UNSPACED: Final = re.compile(
    r"(?<![^\W_])([^\W_]+)([)\]\"'”’»*_]{0,4})(\.\.\.|…|\.|[!?]{1,3})"
    r"((?:\[\^?\d{1,3}\])*)([)\]\"'”’»*_]{0,4}[(\[\"'“‘«*_]{0,4})"
    r"(?=([^\W\d_]+)(?:['’]([^\W\d_]+))?(?=[,;:!?)\"'”’*_…]|\.(?!\w)|\.(?=[^\W\d_])|-{2}|[—–]|\s|$))"
)
_UNSPACED_NUMBER: Final = re.compile(
    r"(?<![\w./\\@=-])([^\W\d_]{2,})[)\]\"'”’»*_]{0,4}[.!?…]"
    r"(?=[$€£]?\d[\d,]*(?:\.\d+)?%?(?:[,;:!?)\"'”’*_…—–]|\.(?!\w)|\s|$))"
)
"""A number after a word and a stop: "The end.2020 was bad"."""
_RELEASES: Final = frozenset(("alpha", "beta", "final", "release", "dev", "rc", "preview"))
_OPEN: Final = frozenset("([“‘«")
_EITHER: Final = frozenset("\"'*_")
_SAME: Final = {char: re.compile(f"{re.escape(char)}+") for char in _EITHER}


def unspaced_end(run: str, before: str = "") -> int:
    """Where in a run of characters without white space the next sentence begins: 6 in "today.How", or 0.

    Args:
        run: such as `today.How`, `end."Next`, `yes?No`; not `example.com`, `Node.js`, `U.S.A`, `J.R.R.Tolkien`.
        before: the text in front of it, which tells whether a quote after the stop opens or closes.
    """
    if before.rstrip().endswith(("=", "import", "from")):
        return 0  # code, whatever it looks like
    address = not _NO_SENTENCE.isdisjoint(run)
    if not address and (found := _UNSPACED_NUMBER.search(run)) and _ends_before_number(found[1]):
        earlier = unspaced_end(run[: found.end()], before)
        return earlier or found.end()
    named = before.rsplit(maxsplit=1)[-1:]
    addressed = bool(named) and named[0].lower() in TO_ADDRESS
    for found in _UNSPACED.finditer(run):
        if address and not (found[3] == "." and found[6].lower() in STARTERS and found[6][1:].islower()):
            continue
        if _unspaced(found, addressed=addressed):
            begins = found.start(5)
            for char, several in groupby(found[5]):
                if char in _OPEN:
                    break
                if char in _EITHER and len(_SAME[char].findall(before + run[:begins])) % 2 == 0:
                    break
                begins += len(list(several))
            return begins
    return 0


def _ends_before_number(word: str) -> bool:
    """Whether a stop between this word and a number ends a sentence: not in "No.5", "p.4", "RFC.2616"."""
    return not word[1:].isupper() and word.lower() not in BEFORE_NUMBER | NEVER_LAST


def _unspaced(found: re.Match[str], *, addressed: bool) -> bool:
    """Whether the stop of such a match ends a sentence; `addressed` where it is likely to be part of an address."""
    left, closed, stop, _, _, right, rest = found.groups()
    key, known = right.lower(), left.lower()
    if stop[-1] in "!?":
        return right[0].isupper() and (left[-1].isalpha() or bool(closed))
    if left in TITLES or known in NEVER_LAST:
        return False
    if stop != ".":
        return right[0].isupper() and key != "i" and key in STARTERS
    if len(left) < 2 and not (closed or left.isdigit()):
        # "the U.S.It is", "at 5 p.m.Then"; not "U.S.A", "J.R.R.Tolkien", "e.g.This"
        short = found.string[max(0, found.start() - 2) : found.end(3)]
        return (
            short[1:2] == "." == short[3:4]
            and short.lower() not in ("e.g.", "i.e.")
            and len(right) > 1
            and right[0].isupper()
            and key in UNSPACED_STARTERS
        )
    if left.isdigit() and found.start() == 0 and len(left) < 3:
        return False  # a list's item: "1.First"
    more = found.string[max(found.end(6), found.end(7)) :].rstrip(".")
    if right.islower():
        # No file and no host ends in these: "today.how" is no address.
        small = SMALL_STARTERS if addressed else SMALL_STARTERS | SMALL_HOSTS
        return (
            found.string[max(0, found.start() - 1)] != "."
            and len(left) > 1
            and left[1:].islower()
            and (bool(rest) or known not in CODE_NAMES)
            and (f"{key}'{rest}" if rest else key) in small
            and all(part.lower() in UNSPACED_STARTERS | small for part in more.split(".") if part)
        )
    if more[:1] == "." and not (key in UNSPACED_STARTERS and more[1:2].isupper()):
        return False  # "System.Out.Print"
    if not (right[1:].islower() or right in ("I", "A")):
        return False  # "ASP.NET", "Console.WriteLine"
    if key in UNSPACED_STARTERS or rest:
        return True
    if known in CODE_NAMES or known in BEFORE_NAME or known in BEFORE_NUMBER:
        return False
    if left.isdigit():
        return len(left) > 1 and key not in _RELEASES  # "at 5.30.Bring wine"
    return left.islower() or bool(closed)
