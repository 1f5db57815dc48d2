"""A text without what can't be seen, its numbers in one spelling, and without strings that no one reads aloud."""

import re
from itertools import pairwise
from typing import Final

from voice_agent.stages.stops import unspaced_end

_INVISIBLE: Final = re.compile(
    "[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e"
    "\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e01ef]+"
)
"""Soft hyphens, joiners, directions of writing, fillers, tags."""
_SPACES: Final = re.compile(r"[^\S\n]+")
_BRACKETS: Final = str.maketrans("（）［］｛｝〔〕＊＿＜＞", "()[]{}[]*_<>")
_SPACED: Final = re.compile(
    r"(?<![\d.,])(\d{1,3})((?:[\xa0\u2002-\u200a\u202f\u205f\u3000\u066c'’_]\d{3})+)(?:,(\d{1,2}))?(?![\d'’])"
)
"""10 000 with a space that does not break, 10'000, 10_000: thousands as they are set in other countries and in code."""
_PLAIN: Final = re.compile(
    r"(?<![\d.,:/+-])(?<![\d)] )([1-9]\d{0,2})((?: \d{3})+)(?:,(\d{1,2}))?(?! ?[\d(]|[.,:/-]\d|\.\w)"
)
"""The same with plain spaces: "1 234 567". "10 200 300" is such a number too: lists have commas."""
_ROUND: Final = re.compile(r"[1-9]\d0(?: \d\d0){2,}")
"""A list all the same: "100 200 300"."""
_APART: Final = re.compile(
    r"(?i)\b(?:january|february|march|april|may|june|july|august|september|october|november|december|chapter|page"
    r"|part|section|step|version|day|level|season|episode|room|code|pin|number|call|dial|zip|id|password|otp)"
    r"\s(?:is\s)?$"
)
"""Behind these a number stands by itself ("On May 5 300 people came"), or is read digit by digit."""
_LAKHS: Final = re.compile(r"(?<![\d.,])\d{1,2}(?:,\d\d)+,\d{3}(?![\d,])")
_DOTTED: Final = re.compile(r"(?<![\w.,])\d{1,3}\.\d{3}\.\d{3}(?![\w]|[.,]\d)")
_COMMA: Final = re.compile(r"(?<![\w.,])(\d{1,3}(?:\.\d{3})+),(\d{1,2})(?!\d)")
_EUROS: Final = re.compile(r"(?<![\d.,])(\d{1,4}),(\d\d)(?=\s?€)|(?<=€)(\d{1,4}),(\d\d)(?!\d)")
_GROUPS: Final = re.compile(r"\D+")

_FACE_SIGNS: Final = "°•◕ಠ□ツ´`・ω益ᴥ﹏ᵕ◉¬❛"
_IN_FACE: Final = r"(?:(?![A-Za-z]{2}|\d)[^()ʕʔ\n]){0,6}"
_FACES: Final = re.compile(
    r"¯[\\_]{0,5}\(ツ\)[_\\]{0,3}/?¯?|(?<!\S)(?:\([\^>][_.o-]{0,2}[\^<]\)|>_<|[Tt]_[Tt]|[oO]_[oO])(?!\w)"
    rf"|[(ʕ]{_IN_FACE}[{_FACE_SIGNS}]{_IN_FACE}[{_FACE_SIGNS}]{_IN_FACE}[)ʔ][╯ノﾉ]?(?:\s?︵\s?[┻━┳─]{{1,6}})?"
)
"""Faces and shrugs drawn with signs of many scripts."""
_STRETCHED: Final = re.compile(r"([^\W\d_])\1{4,}")
"""A letter many times: "Nooooo"."""
LONGEST_WORD: Final = 45
"""Letters of the longest word in an English dictionary; what is longer is no word."""
LONGEST_CODE: Final = 34
"""Characters of the longest code that people read out, an account number (IBAN)."""
_STRING: Final = re.compile(r"(?<![\w.:/-])[A-Za-z0-9+/]{40,}={0,2}|[A-Za-z0-9]{20,}")
_UUID: Final = re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")
_TOO_LONG: Final = re.compile(rf"[^\W\d_]{{{LONGEST_WORD + 1},}}")
_SHORT: Final = 20
"""Characters of a text without white space that none of the strings here fit in."""


def visible(text: str) -> str:
    """`text` without characters that can't be seen, with plain spaces, and commas between its thousands."""
    if not text.isascii():
        text = _INVISIBLE.sub("", text).translate(_BRACKETS)
    if any(map(str.isdecimal, text)):
        text = _SPACED.sub(_thousands, text)
        text = _PLAIN.sub(_plain, text)
        text = _DOTTED.sub(lambda m: m[0].replace(".", ","), text)
        text = _COMMA.sub(lambda m: m[1].replace(".", ",") + "." + m[2], text)
        text = _EUROS.sub(lambda m: m[0].replace(",", "."), text)
        text = _LAKHS.sub(lambda m: m[0].replace(",", ""), text)
    return _SPACES.sub(" ", text)


def _thousands(match: re.Match[str]) -> str:
    number = match[1] + "," + ",".join(_GROUPS.split(match[2])[1:])
    return f"{number}.{match[3]}" if match[3] else number


def _plain(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - 20) : match.start()]
    listed = _ROUND.fullmatch(match[0]) and not match[0].endswith(" 000")
    return match[0] if listed or _APART.search(before) else _thousands(match)


def without_strings(text: str) -> str:
    """`text` without drawn faces, hashes, keys, encoded data and endless words: they are for the screen."""
    text = _FACES.sub(" ", text)
    text = _STRETCHED.sub(r"\1\1\1", text)
    if len(text) < _SHORT or max(map(len, text.split()), default=0) < _SHORT:
        return text
    text = _UUID.sub(" ", text)
    return _TOO_LONG.sub(_word, _STRING.sub(_string, text))


def _string(match: re.Match[str]) -> str:
    text = match[0]
    if text.isdecimal():
        return text
    cases = sum(a.islower() != b.islower() for a, b in pairwise(text))
    plain = text.isalpha() and (cases < 6 or text.isupper())
    code = text.isupper() and len(text) <= LONGEST_CODE
    path = "/" in text and not any(map(str.isdecimal, text))
    return text if plain or code or path else " "


def _word(match: re.Match[str]) -> str:
    return match[0] if any(char > "\u0530" for char in match[0]) else " "


_TITLE: Final = re.compile(r"\b((?:Dr|Mrs?|Ms|Prof|St|Mt|Sgt|Capt|Gen|Sen|Rev)\.)(?=[A-Z][a-z])")
_TOUCHING: Final = re.compile(r"[.!?…][)\]\"'”’»*_\[\d(“‘«]*[^\W\d_]|[^\W\d_][)\]\"'”’»*_]*[.!?…][$€£]?\d")


def spaced(text: str) -> str:
    """`text` with a space between sentences that have none: "I am fine today.How are you?"."""
    if not _TOUCHING.search(text):
        return text
    text = _TITLE.sub(r"\1 ", text)
    runs: list[str] = []
    for run in text.split(" "):
        while begins := unspaced_end(run, runs[-1] if runs else ""):
            runs.append(run[:begins])
            run = run[begins:]
        runs.append(run)
    return " ".join(runs)
