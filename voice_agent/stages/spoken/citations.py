"""Marks of citations and footnotes, which are for the eye: "[1]", "¹", "【1†source】"."""

import re
from typing import Final

from voice_agent.stages.english import words

_NUMBERS: Final = r"\d{1,3}(?:\s?[,;–-]\s?\d{1,3}){0,9}"
_NAMED: Final = (
    r"(?:(?:sources?|refs?|references?|cite|citations?|footnotes?|notes?|web|docs?|document)[ :#-]?\d{0,3}"
    r"|(?:citation|clarification|verification) needed|(?:when|who|which|where)\?|sic)"
)
_URL: Final = r"\([^()\s]{0,400}(?:\([^()\s]{0,100}\)[^()\s]{0,100})?(?:\)|$)"
_IN_BRACKETS: Final = rf"\^?(?:{_NUMBERS}|{_NAMED})"

_VALUE: Final = re.compile(
    r"(?:=|\b(?:is|are|be|equals|returns?|gives?|gets?|prints?|lists?|arrays?|vectors?|tuples?|range|interval|"
    r"values?|input|output))\s?$"
)
"""Behind these a number in brackets is a value: "the list [1, 2, 3]"."""
_VALUES: Final = re.compile(r"[:,(]\s?$")
"""Behind these several are: "the result: [1, 2]", but "Sources: [1], [2]"."""

_CITED: Final = re.compile(
    # As search engines' models write it: private-use signs around the place, which some servers drop.
    "\ue200[^\ue200\ue201]{0,200}(?:\ue201|$)|\\bcite(?:turn\\d{1,3}[a-z]{1,12}\\d{1,3}){1,20}"
    r"|【(?:[^【】]{0,60}†[^【】]{0,60}|\d{1,3}(?::\d{1,3})?|(?i:source[^【】]{0,60}))】"
    r"|(?i:<ref\b[^<>]{0,200}/>|<ref\b[^<>]{0,200}>[^<>]{0,400}(?:</ref>|$))"
    # Linked: [[1]](url), [1](url), [source](url), also when the url never ends.
    rf"|\^?\[\[(?i:{_IN_BRACKETS})\]\](?:{_URL})?"
    rf"|\^?\[(?i:{_IN_BRACKETS})\]{_URL}"
    rf"|\^?\[\^[^\[\]\s]{{1,40}}\]"
    rf"|\^?\[(?i:{_NAMED})\]"
)
_NUMBERED: Final = re.compile(rf"(?<!\])((?:\s?\^?\[(?!0\]){_NUMBERS}\])+)")
_EMPTY: Final = re.compile(r"(?<=\s)\((?:[Ss]ee|cf\.?|from|[Ss]ources?:?)?\s?\)")
"""What is left of "(see [1])"."""
_RAISED: Final = re.compile(r"(?:(?<=[^\W\d_]{3})|(?<=[.,;:!?\"”’]))[¹²³⁰⁴-⁹]{1,3}(?![\w⁻⁺^(]|\s?[a-z(]\b)")
"""A footnote's number, on a word or a stop. On a single letter or a unit it is a power."""
_FUNCTIONS: Final = words("sin cos tan log exp mol ton day kWh")
_SUP: Final = re.compile(r"(?i)<sup>\s?\[?(\d{1,3})\]?\s?</sup>")
_SUPERSCRIPT: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def without_citations(text: str) -> str:
    """`text` without the marks of citations and footnotes; values in brackets stay: "[0]", "the list [1, 2]"."""
    if not _MARKS.search(text):
        return text
    text = _SUP.sub(lambda m: m[1].translate(_SUPERSCRIPT), text)
    text = _CITED.sub("", text)
    text = _EMPTY.sub("", _NUMBERED.sub(_numbered, text))
    return _RAISED.sub(_raised, text)


_MARKS: Final = re.compile("[\\[【\ue200⁰¹²³⁴-⁹<]|citeturn")


def _numbered(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - 16) : match.start()]
    several = "," in match[0] and _VALUES.search(before)
    return match[0] if several or _VALUE.search(before) else ""


def _raised(match: re.Match[str]) -> str:
    return match[0] if match.string[match.start() - 3 : match.start()] in _FUNCTIONS else ""
