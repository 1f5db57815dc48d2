"""Where a long sentence can be cut: how natural a cut is in front of one of its words."""

from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Final

from voice_agent.stages.english import (
    INTRODUCTIONS,
    JOINS,
    LOOSE_JOINS,
    NOT_BEFORE,
    OPENERS,
    PREPOSITIONS,
    PRONOUNS,
)
from voice_agent.stages.stops import without_edges, without_tail

MIN_CLAUSE_WORDS: Final = 3
"""Fewest words on either side of a cut within a sentence: less sounds chopped."""


class Strength(IntEnum):
    """How natural a cut within a sentence is."""

    POOR = auto()
    FAIR = auto()
    WEAK = auto()
    STRONG = auto()


@dataclass(slots=True)
class Word:
    """A word of the sentence that is being read."""

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
        """Without quotes, markup and punctuation around it."""
        return without_edges(self.text).replace("’", "'")

    @property
    def key(self) -> str:
        """As the lists of `english.py` have it."""
        return self.bare.lower()

    @property
    def end(self) -> str:
        """Its last character, quotes and markup apart."""
        return without_tail(self.text)[-1:]


def strength(words: list[Word], k: int) -> Strength | None:
    """How naturally the sentence can be cut before word `k`; the two words from there are complete."""
    last, first, second = words[k - 1], words[k], words[k + 1]
    if first.shielded:
        return None
    if last.dash or last.end in (";", ":", "—", "–"):
        sums = last.bare[-1:].isdigit() and first.bare[:1].isdigit()
        return None if sums else Strength.STRONG
    if last.end == ",":
        return _after_comma(words, k)
    if last.key in NOT_BEFORE:
        return None
    if first.key in JOINS or (first.key in ("and", "or") and second.key in PRONOUNS):
        return Strength.STRONG if k > MIN_CLAUSE_WORDS + 1 else None
    if first.key in LOOSE_JOINS:
        return Strength.WEAK
    if first.key in ("and", "or"):
        return Strength.FAIR
    return Strength.POOR if first.key in PREPOSITIONS else None


def _after_comma(words: list[Word], k: int) -> Strength | None:
    last, first = words[k - 1], words[k]
    if first.bare[:1].isdigit():
        return None  # "March 3, 2025"
    if last.bare[:1].isupper() and first.bare[:1].isupper() and first.key.split("'")[0] != "i":
        return None  # "Paris, France"
    around = words[max(0, k - 1 - MIN_CLAUSE_WORDS) : k - 1] + words[k : k + 2]
    dated = last.bare.isdigit() and len(last.bare) == 4  # "On March 3, 2025, we moved"
    if not dated and any(word.end == "," for word in around):
        return Strength.POOR  # "apples, pears, and plums"
    introduced = words[0].key in INTRODUCTIONS and not any(w.end == "," for w in words[: k - 1])
    opens = introduced or first.key in OPENERS or (len(first.key) > 4 and first.key.endswith(("ly", "ing")))
    return Strength.STRONG if opens else Strength.WEAK
