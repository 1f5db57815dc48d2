"""Where running text can be cut: sentences, lines and clauses, decided as early as is safe.

No IO and no clock: characters in, pieces out. A piece is given as soon as its end is certain, which is
the white space after most stops ("Hello there! "), and the next word's first letter or its end after those
that may be part of an abbreviation ("U.S. Army", "No. 5", "5 p.m. Call me").
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Final

from voice_agent.stages.english import (
    AFTER_TIME,
    BEFORE_NAME,
    BEFORE_NUMBER,
    INTERJECTIONS,
    INTRODUCTIONS,
    JOINS,
    LOOSE_JOINS,
    NEVER_LAST,
    NOT_BEFORE,
    OPENERS,
    PREPOSITIONS,
    PRONOUNS,
    STARTERS,
    TITLES,
)

MIN_CLAUSE_WORDS: Final = 3
"""Fewest words on either side of a cut within a sentence: less sounds chopped."""


CJK_STOPS: Final = "。！？"
FENCES: Final = ("```", "~~~")
DASHES: Final = ("-", "--", "–", "—")
_QUOTES: Final = "\"')]}»”’"
_TAIL: Final = re.compile(r"(?:[^\w\s.!?…,:;—–-]|_)+$")
"""What may stand after a stop: quotes, brackets, emphasis, emoji."""
_EDGES: Final = re.compile(r"^[\W_]+|[\W_]+$")


class Wait(Enum):
    """What will tell whether a stop was the end of the sentence."""

    CAPITAL = auto()
    """The next word's first letter: not a small one, nor a digit."""
    STARTER = auto()
    """The next word: one of `STARTERS`, with a capital."""
    AFTER_TIME = auto()
    """The next word: with a capital, and not a day or a time zone."""
    ELLIPSIS = auto()
    """The next word: with a capital, and not "I"."""


class Strength(IntEnum):
    """How natural a cut within a sentence is."""

    POOR = auto()
    FAIR = auto()
    WEAK = auto()
    STRONG = auto()


@dataclass(frozen=True)
class Piece:
    """A piece of the text that is complete."""

    text: str
    silent: bool
    """Within a code block: for the screen only."""


@dataclass(slots=True)
class _Word:
    start: int
    """Index of its first character in the piece, with the quotes or markup in front."""
    shielded: bool
    """It starts within brackets or code, where nothing is cut."""
    text: str = ""
    """With its punctuation. Empty while it is still being written."""
    dash: bool = False
    """A dash stands between it and the next word."""

    @property
    def bare(self) -> str:
        return _EDGES.sub("", self.text).replace("’", "'")

    @property
    def key(self) -> str:
        return self.bare.lower()

    @property
    def end(self) -> str:
        """Its last character, quotes and markup apart."""
        return _TAIL.sub("", self.text)[-1:]


def after_stop(word: str, before: str | None = None) -> Wait | bool:
    """Whether a sentence ends with `word`, white space having followed: yes, no, or what will tell.

    Args:
        word: as it was written, with its punctuation.
        before: the word before it in the piece, if any.
    """
    closed = _TAIL.sub("", word)
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


_MARKER: Final = re.compile(r"\d{1,3}|[A-Za-z]|[ivx]{1,4}")
"""The number of a list's item: "1. First" at the start of a line, or after "as follows:"."""


class Cutter:
    """Cuts text into pieces, character by character; what it gives does not depend on how it is fed."""

    def __init__(self, first_chunk_words: int, max_words: int) -> None:
        if not 2 * MIN_CLAUSE_WORDS <= first_chunk_words <= max_words:
            raise ValueError(
                f"first_chunk_words={first_chunk_words}, max_words={max_words}: "
                f"want {2 * MIN_CLAUSE_WORDS} <= first_chunk_words <= max_words"
            )
        self._first_words = first_chunk_words
        self._max_words = max_words
        self._given = 0
        """Words in the pieces given so far, code apart."""
        self._fence = ""
        """The mark that opened the code block which this text is in."""
        self._begin(line_start=True)

    def _begin(self, *, line_start: bool) -> None:
        """Start on the next piece."""
        self._text = ""
        self._line_start = line_start
        self._words: list[_Word] = []
        self._cuts: dict[int, Strength] = {}
        """Words before which the sentence could be cut."""
        self._wait: Wait | None = None
        self._wait_cut = 0
        self._blank = True
        self._table = False
        self._run: int | None = None
        """Where the run of non-space that is being read started."""
        self._run_shielded = self._run_is_word = False
        self._parens = self._brackets = 0
        self._code = False

    def feed(self, text: str) -> Iterator[Piece]:
        """Take more text; give the pieces that it completes."""
        while text:
            start = len(self._text)
            self._text += text
            text = ""
            for index in range(start, len(self._text)):
                cut = self._read(index)
                if cut is not None:
                    text = self._text[cut:]
                    yield self._take(cut)
                    break

    def end(self) -> Iterator[Piece]:
        """Give what is left: the text is over."""
        if self._text:
            yield self._take(len(self._text))

    def _take(self, cut: int) -> Piece:
        text, silent = self._text[:cut], bool(self._fence)
        line = text.strip()
        if self._fence:
            if line.startswith(self._fence) and not line.strip(self._fence[0]):
                self._fence = ""
        else:
            self._given += sum(word.start < cut for word in self._words)
            if self._line_start and line.startswith(FENCES):
                self._fence = line[:3]
        self._begin(line_start=text.endswith("\n"))
        return Piece(text, silent)

    def _read(self, index: int) -> int | None:
        """Take in the character at `index`; say where to cut, if that is certain now."""
        char = self._text[index]
        cut = None
        if char.isspace():
            if self._run is not None:
                cut = self._run_ended(self._text[self._run : index], index)
                self._run = None
            if char == "\n":
                if self._blank:
                    self._line_start = True
                elif cut is None:
                    cut = index + 1
            return cut
        if self._fence:
            self._blank = False
            return None
        if self._blank:
            self._blank = False
            self._table = self._line_start and char == "|"
        if self._run is None:
            self._run = index
            self._run_is_word = False
            self._run_shielded = self._shielded
        if not self._run_is_word and char.isalnum():
            self._run_is_word = True
            self._words.append(_Word(self._run, self._run_shielded))
            cut = self._word_started(char)
        elif char == "`":
            self._code = not self._code
        elif char == "[":
            self._brackets += 1
        elif char == "]":
            self._brackets = max(0, self._brackets - 1)
        elif char == "(" and self._text[index - 1 : index] not in (":", ";"):  # unless a sad face
            self._parens += 1
        elif char == ")":
            self._parens = max(0, self._parens - 1)
        elif char in CJK_STOPS:
            cut = index + 1
        return cut

    @property
    def _shielded(self) -> bool:
        return self._code or self._table or self._brackets > 0 or self._parens > 0

    def _run_ended(self, run: str, index: int) -> int | None:
        """White space at `index` ended a run of other characters."""
        before = None
        if self._run_is_word:
            word = self._words[-1]
            word.text = run
            if self._wait is not None:
                wait, self._wait = self._wait, None
                if self._ends_before(wait, word):
                    return self._wait_cut
            if len(self._words) > 1:
                before = self._words[-2].text
        elif not self._words:
            return None
        elif run in DASHES:
            self._words[-1].dash = True
            return None
        else:
            before = self._words[-1].text
        if self._code or self._table or self._brackets:
            return None
        if self._opens_reply() and not self._parens:
            return index + 1
        verdict = after_stop(run, before)
        if verdict is True and self._parens:
            verdict = Wait.CAPITAL
        if verdict is True:
            return index + 1
        if verdict:
            self._wait, self._wait_cut = verdict, index + 1
        return None

    def _opens_reply(self) -> bool:
        """Whether the words so far are an interjection at the very start: "Sure, ...". Speakers take a breath
        behind it, and a voice that says it at once keeps nobody waiting for the sentence."""
        if self._given or self._words[-1].end != ",":
            return False
        return " ".join(word.key for word in self._words) in INTERJECTIONS

    def _ends_before(self, wait: Wait, word: _Word) -> bool:
        """Whether the sentence ended before `word`, which has a capital."""
        match wait:
            case Wait.STARTER:
                return word.key.split("'")[0] in STARTERS
            case Wait.AFTER_TIME:
                return word.key not in AFTER_TIME
            case _:
                return word.key.split("'")[0] != "i" and len(self._words) > MIN_CLAUSE_WORDS

    def _word_started(self, char: str) -> int | None:
        """The first letter or digit of a word has come."""
        if self._wait is Wait.CAPITAL:
            self._wait = None
            if not (char.islower() or char.isdigit()):
                return self._wait_cut
        elif self._wait is not None and not char.isupper():
            self._wait = None
        elif self._wait is Wait.ELLIPSIS and char != "I":
            self._wait = None
            if len(self._words) > MIN_CLAUSE_WORDS:
                return self._wait_cut
        return self._clause()

    def _clause(self) -> int | None:
        """Where to cut the sentence that is being read, if it is long enough to be cut."""
        count = len(self._words)
        latest = count - MIN_CLAUSE_WORDS
        if latest < MIN_CLAUSE_WORDS:
            return None
        strength = self._strength(latest)
        if strength is not None:
            self._cuts[latest] = strength
        if count > self._max_words:
            # The most natural cut, and the last of these, but not so early that the rest is long again.
            late = [k for k in self._cuts if k >= self._max_words // 3]
            if late:
                return self._words[max(late, key=lambda k: (self._cuts[k], k))].start
            # Brackets or code that never close, or words of another language.
            return self._words[latest].start if count > 2 * self._max_words else None
        if self._given < MIN_CLAUSE_WORDS and count >= self._first_words:
            enough = Strength.STRONG if count < 2 * self._first_words else Strength.WEAK
            natural = [k for k, strength in self._cuts.items() if strength >= enough]
            if natural:
                return self._words[max(natural)].start
        return None

    def _strength(self, k: int) -> Strength | None:
        """How naturally the sentence can be cut before word `k`; the two words from there are complete."""
        last, first, second = self._words[k - 1], self._words[k], self._words[k + 1]
        if first.shielded:
            return None
        if last.dash or last.end in (";", ":", "—", "–"):
            sums = last.bare[-1:].isdigit() and first.bare[:1].isdigit()
            return None if sums else Strength.STRONG
        if last.end == ",":
            return self._after_comma(k)
        if last.key in NOT_BEFORE:
            return None
        if first.key in JOINS or (first.key in ("and", "or") and second.key in PRONOUNS):
            return Strength.STRONG if k > MIN_CLAUSE_WORDS + 1 else None
        if first.key in LOOSE_JOINS:
            return Strength.WEAK
        if first.key in ("and", "or"):
            return Strength.FAIR
        return Strength.POOR if first.key in PREPOSITIONS else None

    def _after_comma(self, k: int) -> Strength | None:
        last, first = self._words[k - 1], self._words[k]
        if first.bare[:1].isdigit():
            return None  # "March 3, 2025"
        if last.bare[:1].isupper() and first.bare[:1].isupper() and first.key.split("'")[0] != "i":
            return None  # "Paris, France"
        around = self._words[max(0, k - 1 - MIN_CLAUSE_WORDS) : k - 1] + self._words[k : k + 2]
        dated = last.bare.isdigit() and len(last.bare) == 4  # "On March 3, 2025, we moved"
        if not dated and any(word.end == "," for word in around):
            return Strength.POOR  # "apples, pears, and plums"
        introduced = self._words[0].key in INTRODUCTIONS and not any(
            w.end == "," for w in self._words[: k - 1]
        )
        opens = (
            introduced or first.key in OPENERS or (len(first.key) > 4 and first.key.endswith(("ly", "ing")))
        )
        return Strength.STRONG if opens else Strength.WEAK
