"""Marks of citations and footnotes, which are for the eye: "[1]", "¹", "【1†source】"."""

import re
from typing import Final

from voice_agent.stages.english import words

_NUMBERS: Final = r"\d{1,3}(?:(?:\s?[,;–-]\s?|\s)\d{1,3}){0,9}(?:,\s?pp?\.?\s?\d{1,4}(?:[–-]\d{1,4})?)?"
_NAMED: Final = (
    r"(?:(?:sources?|refs?|references?|cite|cites|citations?|footnotes?|notes?|web|docs?|document|index)"
    rf"[ .:#_-]{{0,3}}(?:{_NUMBERS})?|cite_(?:start|end)"
    r"|(?:sources?|refs?|references?|cite|citations?|via):\s[^\[\]]{1,80}"
    r"|(?:citation|clarification|verification) needed|(?:when|who|which|where)\?|sic)"
)
_LETTERED: Final = r"(?-i:#\d{1,3}|[A-Z]\d{1,2}|i|[ivx]{2,5})"
"""A number with a sign or a letter, or a Roman one."""
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
    rf"|\[oai_citation[^\[\]]{{0,200}}\](?:{_URL})?"
    # On a single letter it is an index: "a[i]".
    rf"|(?:(?<![^\W_])|(?<=[^\W\d_]{{2}})(?!\[[ivx]))\[{_LETTERED}\](?![\w(])"
    r"|(?:(?<=[^\W\d_]{2})|(?<=[.,;:!?…\"”’]))\^\d{1,3}(?:,\d{1,3}){0,9}\^"
    # The end of it has not come, or never will.
    r"|(?:(?<=[^\W\d_]{2})|(?<=[.,;:!?…\"”’]))\[\^?(?:\d{1,3}[,;\s–-]{0,2}){1,9}$"
)
_NOUN: Final = re.compile(
    r"(?i)(?<![(\w])(to|in|by|from|per|of|as|with|than|via|both|between|see|read)((?:,?(?:\s(?:and|or|&))?\s?"
    r"\[[1-9]\d{0,2}\]){1,9})(?=\s?[,.;:!?)]|\s(?-i:[a-z])|$)"
    r"|^\s?\[[1-9]\d{0,2}\](?=\s(?!as\b|this\b|its\b|us\b)(?-i:[a-z])+s\b)"
)
"""Marks that are what a sentence speaks of: "According to [1] and [2]", "[1] shows"."""
_NUMBERED: Final = re.compile(rf"(?<!\])((?:\s?\^?\[(?!0\]){_NUMBERS}\])+)")
_EMPTY: Final = re.compile(r"(?<=\s)\((?:[Ss]ee|cf\.?|from|[Ss]ources?:?)?\s?\)")
"""The rest of "(see [1])" without its mark."""
_RAISED: Final = re.compile(
    r"(?:(?<=[^\W\d_]{3})|(?<=[.,;:!?\"”’]))[¹²³⁰⁴-⁹]{1,3}(?:[\s,][¹²³⁰⁴-⁹]{1,3})*(?![\w⁻⁺^(]|\s?[a-z(]\b)"
    r"|(?<=\S)\s?⁽[¹²³⁰⁴-⁹]{1,3}⁾|^\s?[¹²³⁰⁴-⁹]{1,3}(?=\s)"
)
"""A footnote's number, on a word or a stop. On a single letter or a unit it is a power."""
_FUNCTIONS: Final = words("sin cos tan log exp mol ton day kWh")
_SUP: Final = re.compile(r"(?i)<sup>\s?\[?(\d{1,3})\]?\s?</sup>")
_SUPERSCRIPT: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def without_citations(text: str) -> str:
    """`text` without the marks of citations and footnotes; values in brackets stay: "[0]", "the list [1, 2]"."""
    if not _MARKS.search(text):
        return text
    text = _SUP.sub(lambda m: m[1].translate(_SUPERSCRIPT), text)
    text = _NOUN.sub(_noun, _CITED.sub("", text))
    text = _EMPTY.sub("", _NUMBERED.sub(_numbered, text))
    return _RAISED.sub(_raised, text)


_MARKS: Final = re.compile("[\\[【\ue200⁰¹²³⁴-⁹<^⁽]|citeturn")


def _noun(match: re.Match[str]) -> str:
    return match[0].replace("[", "source ").replace("]", "")


def _numbered(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - 16) : match.start()]
    several = "," in match[0] and _VALUES.search(before)
    return match[0] if several or _VALUE.search(before) else ""


def _raised(match: re.Match[str]) -> str:
    return match[0] if match.string[match.start() - 3 : match.start()] in _FUNCTIONS else ""
