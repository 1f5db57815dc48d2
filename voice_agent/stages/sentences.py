"""Where running text can be cut: sentences, lines and clauses, decided as early as is safe.

No IO and no clock: characters in, pieces out. A piece is given as soon as its end is certain, which is
the white space after most stops ("Hello there! "), and the next word's first letter or its end after those
that may be part of an abbreviation ("U.S. Army", "No. 5", "5 p.m. Call me").
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from voice_agent.stages.clauses import MIN_CLAUSE_WORDS, Strength, Word, strength
from voice_agent.stages.english import AFTER_TIME, INTERJECTIONS, MAY_ACT, STARTERS
from voice_agent.stages.fences import Fence, opened
from voice_agent.stages.scripts import is_wide
from voice_agent.stages.stops import CITATION_ENDS, Wait, after_stop, uncited, unspaced_end

CJK_STOPS: Final = "。！？"
CJK_COMMAS: Final = "，；：、"
DASHES: Final = ("-", "--", "–", "—")

_BREAKS: Final = ",;:!?—–)]}/|"
"""After these a run of characters without white space is best cut."""

MAX_CHARACTERS: Final = 300
"""Longest piece, whatever the text: an endless line, word or run of signs is cut here. 24 long words have 240. It also
bounds the work for each character that comes."""
MANY_SLASHES: Final = 8
"""A word with more of them is an address, or data, of which no part is said but the beginning."""
WIDE_CLAUSE: Final = 16
"""Characters of a script without spaces after which a comma is a cut: 3 to 4 s of speech."""
MAX_WIDE: Final = 36
"""Most characters of such a script in a piece: some 8 s of speech, as with 24 words."""


class Inside(Enum):
    """The kind of token that goes on from the piece before: one so long that its end was not waited for."""

    NUMBER = auto()
    WORD = auto()


@dataclass(frozen=True)
class Piece:
    """A piece of the text that is complete."""

    text: str
    silent: bool
    """Within a code block: for the screen only."""
    inside: Inside | None = None
    """It begins in the middle of this."""


def _inside(before: str, after: str) -> Inside | None:
    """The kind of token that goes on from the character `before` a cut to the one `after` it."""
    if not (before.isalnum() and after.isalnum()) or is_wide(before) or is_wide(after):
        return None
    return Inside.NUMBER if before.isdigit() and after.isdigit() else Inside.WORD


def _may_act(word: str) -> bool:
    """Whether a stage direction may begin with `word`."""
    return word in MAY_ACT or word.endswith(("s", "ing", "ly"))


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
        self._fence: Fence | None = None
        """The fence that opened the code block which this text is in."""
        self._quoted = False
        """The code block has had a line with the sign of a quotation in front."""
        self._begin(line_start=True)

    def _begin(self, *, line_start: bool, before: str = "", inside: Inside | None = None) -> None:
        """Start on the next piece.

        Args:
            line_start: it is at the start of a line.
            before: the character in front of it, unless that is white space.
            inside: what it begins in the middle of, if that is known whatever its first character is.
        """
        self._text = ""
        self._before, self._inside = before, inside
        self._line_start = line_start
        self._words: list[Word] = []
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
        self._starred = False
        """Within asterisks that opened in front of a small letter: what may be a stage direction is left whole."""
        self._wide = 0
        """Characters of scripts without spaces."""

    def feed(self, text: str) -> Iterator[Piece]:
        """Take more text; give the pieces that it completes."""
        # In short stretches, so that a long text is not copied once for each of its pieces.
        for start in range(0, len(text), MAX_CHARACTERS):
            yield from self._feed(text[start : start + MAX_CHARACTERS])

    def _feed(self, text: str) -> Iterator[Piece]:
        while text:
            start = len(self._text)
            self._text += text
            text = ""
            for index in range(start, len(self._text)):
                cut = self._read(index)
                forced = cut is None and index + 1 >= MAX_CHARACTERS
                if forced:
                    cut = self._longest(index + 1)
                if cut is not None:
                    text = self._text[cut:]
                    yield self._take(cut, forced=forced)
                    break

    def end(self) -> Iterator[Piece]:
        """Give what is left: the text is over."""
        if self._text:
            yield self._take(len(self._text))

    def _take(self, cut: int, *, forced: bool = False) -> Piece:
        """The piece up to `cut`; `forced` where it had become too long, and nothing said that it ends there."""
        text, silent = self._text[:cut], self._fence is not None
        line = text.strip()
        piece = Piece(text, silent, self._inside or _inside(self._before, text[0]))
        run = "" if text[-1].isspace() else text.split()[-1]
        endless = len(run) == len(text) and piece.inside is Inside.WORD
        data = forced and (endless or "://" in run or run.count("/") > MANY_SLASHES)
        if self._fence:
            self._quoted = self._fence.quoted and (self._quoted or line.startswith(">"))
            closed = self._fence.closed_by(text) if self._line_start else 0
            if closed and not text[closed:].strip():
                self._fence = None
        else:
            self._given += sum(word.start < cut for word in self._words)
            self._fence, self._quoted = opened(text), False
        line_start = text.endswith("\n") or (self._line_start and not line)
        self._begin(line_start=line_start, before=run[-1:], inside=Inside.WORD if data else None)
        return piece

    def _longest(self, most: int) -> int:
        """Where to cut a piece of `most` characters: at a space or a mark in its second half, or there."""
        start = self._words[-1].start if self._words else 0
        if start >= most // 2:
            return start
        for index in range(most - 2, most // 2, -1):
            if self._text[index].isspace() or (
                self._text[index] in _BREAKS and not _inside(self._text[index - 1], self._text[index + 1])
            ):
                return index + 1
        return most

    def _read(self, index: int) -> int | None:
        """Take in the character at `index`; say where to cut, if that is certain now."""
        char = self._text[index]
        cut = None
        if (
            self._fence
            and self._quoted
            and self._line_start
            and self._blank
            and not (char.isspace() or char == ">")
        ):
            self._fence = None
        if self._fence:
            return self._fenced(self._fence, index)
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
        if is_wide(char):
            self._wide += 1
        if self._blank:
            self._blank = False
            self._table = self._line_start and char == "|"
        if self._run is None:
            self._run = index
            self._run_is_word = False
            self._run_shielded = self._shielded
        if not self._run_is_word and char.isalnum():
            self._run_is_word = True
            self._words.append(Word(self._run, self._run_shielded))
            if char.islower() and self._text[self._run : index] == "*":
                self._starred |= len(self._words) == 1 or self._words[-2].end in tuple(".!?:,…")
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
        elif char in CJK_STOPS or (char in CJK_COMMAS and self._wide >= WIDE_CLAUSE):
            cut = index + 1
        if cut is None and self._wide >= MAX_WIDE:
            cut = index + 1
        return cut

    def _fenced(self, fence: Fence, index: int) -> int | None:
        """Take in a character of a code block: a line of it is cut at its end, or where the block ends within it."""
        char = self._text[index]
        if char == "\n" and self._blank:
            self._line_start = True
            return None
        begun, self._blank = not self._blank, self._blank and char.isspace()
        # A mark is told from a line of code when white space, or what follows that, has come.
        if begun and self._line_start and (char.isspace() or self._text[index - 1].isspace()):
            line = self._text[: index + 1]
            closed = fence.closed_by(line)
            if closed and line[closed:].strip():
                return index if line[closed:].strip() == char else closed
        return index + 1 if char == "\n" else None

    @property
    def _shielded(self) -> bool:
        return self._code or self._table or self._starred or self._brackets > 0 or self._parens > 0

    def _run_ended(self, run: str, index: int) -> int | None:
        """White space at `index` ended a run of other characters."""
        before = None
        if self._run_is_word:
            word = self._words[-1]
            word.text = run
            if self._starred and ("*" in run[1:] or (run[0] == "*" and not _may_act(word.key))):
                self._starred = False
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
        begins = index - len(run)
        if not self._parens and (next_one := unspaced_end(run, self._text[:begins])):
            return begins + next_one
        verdict = after_stop(self._cited(index) or run, before)
        if verdict is True and self._parens:
            verdict = Wait.CAPITAL
        if verdict is True:
            return index + 1
        if verdict:
            self._wait, self._wait_cut = verdict, index + 1
        return None

    def _cited(self, index: int) -> str:
        """The word that a citation with spaces in it, which ends at `index`, is written on: "France.[1, 2]"."""
        if self._text[index - 1] not in CITATION_ENDS:
            return ""
        text = uncited(self._text[:index])
        return text.rsplit(maxsplit=1)[-1] if text and not text[-1].isspace() else ""

    def _opens_reply(self) -> bool:
        """Whether the words so far are an interjection at the very start: "Sure, ...". Speakers take a breath
        behind it, and a voice that says it at once keeps nobody waiting for the sentence."""
        if self._given or self._words[-1].end != ",":
            return False
        return " ".join(word.key for word in self._words) in INTERJECTIONS

    def _ends_before(self, wait: Wait, word: Word) -> bool:
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
        natural = strength(self._words, latest)
        if natural is not None:
            self._cuts[latest] = natural
        if count > self._max_words:
            # The most natural cut, and the last of these, but not so early that the rest is long again.
            late = [k for k in self._cuts if k >= self._max_words // 3]
            if late:
                return self._words[max(late, key=lambda k: (self._cuts[k], k))].start
            # Brackets or code that never close, or words of another language.
            return self._words[latest].start if count > 2 * self._max_words else None
        if self._given < MIN_CLAUSE_WORDS and count >= self._first_words:
            enough = Strength.STRONG if count < 2 * self._first_words else Strength.WEAK
            early = [k for k, found in self._cuts.items() if found >= enough]
            if early:
                return self._words[max(early)].start
        return None
