"""Markdown, HTML and LaTeX taken out of a text, line by line, with the marks of citations and stage directions.

Not a parser of documents: what arrives is a piece of one, often with one half of a pair of marks ("**Note: ",
"the rest.**"), on which a real one (markdown-it-py was tried) leaves every mark in place.
"""

import html
import re
from collections.abc import Iterator
from typing import Final

from voice_agent.stages.fences import Fence, opened
from voice_agent.stages.spoken.citations import without_citations
from voice_agent.stages.spoken.directions import without_directions
from voice_agent.stages.spoken.plain import spaced, without_strings
from voice_agent.stages.spoken.tags import named, without_tags

LONGEST: Final = 480
"""Characters of a line that are looked at at once. A longer one is taken in parts, cut at white space where there is
any: some rules take time that grows with the square of this. A chunk is shorter."""
CODE: Final = "Code omitted."
_RULE: Final = re.compile(r"[\s|:*_=-]*")
"""A horizontal rule, the line under a heading or under a table's head."""
_QUOTE: Final = re.compile(r"^\s*(?:>\s?)+")
_HEADING: Final = re.compile(r"\s*#{1,6}\s+")
_BULLET: Final = re.compile(r"\s*(?:[-+•‣◦▪●]|\*(?!\s[^*\n]{3,60}\s\*(?:\s|$)))\s+(?:\[[ xX]\]\s*)?")
_ITALIC: Final = re.compile(r"</?(?:i|em)>")
_DEFINED: Final = re.compile(r"\s*\[[^\[\]\n]{1,60}\]:\s+<?\w{2,10}://")
"""Where a link's address is given apart from it: "[1]: http://..."."""
_ITEM: Final = re.compile(r"\s*(?:(\d{1,3})\.|\(?(\d{1,2})\))\s+")

_BEFORE_TAGS: Final = [
    (re.compile(pattern, re.S), to)
    for pattern, to in (
        (r"<!--.*?(?:-->|$)", ""),
        (r"<\|[^<>|\n]{0,40}\|>", ""),  # a model's own marks
        (r"(?<![\w:]):[a-z][a-z\d_+-]{1,30}:(?![\w:])", ""),  # an emoji by name
        (r"<(?=[^\s<>]+[@.][^\s<>])((?:https?://|mailto:)?[^\s<>]+)>", r"\1"),
        (r"<sup>\s?(st|nd|rd|th)\s?</sup>|</?su[bp]>(?=\d)|(?<=\d)</su[bp]>", r"\1"),
        (r"`</?([a-zA-Z][\w-]*)[^`<>]*>`", r"\1"),
    )
]
_INLINE: Final = [
    (re.compile(pattern, re.S), to)
    for pattern, to in (
        *[
            (
                r"!?\[([^\[\]]*)\](?:\([^()\s]*(?:\([^()\s]*\)[^()\s]*)?(?:\s[\"'][^()]*)?\)|\[[^\[\]]*\])",
                r"\1",
            )
        ]
        * 2,
        (r"!?\[([^\[\]]*)\]\((?:[a-z]{3,6}:|[/#.])?[^()\s]*\s*$", r"\1"),  # cut within the address
        (r"`+", ""),
        # LaTeX, as models write it.
        (r"\$\$|\\[()\[\]]", ""),
        (r"\$(?=\S)(?=[^$]*[\\^_=+*<>]|[a-zA-Z]{1,3}\$)([^$]+)(?<=\S)\$(?!\d)", r"\1"),
        (r"\$(?=[a-zA-Z\\{])", ""),
        (
            r"\\(?:begin|end)\{[^{}]*\}|\\(?:left|right|displaystyle|[bB]igg?[lr]?|quad|qquad|,|;|!)(?![a-z])",
            " ",
        ),
        (r"\\(?:text|mathrm|mathbf|mathit|mathbb|operatorname)\{([^{}]*)\}", r" \1 "),
        (r"\^\{([^{}]*)\}", r"^(\1)"),
        (r"\\sqrt\{([^{}]*)\}", r" √\1 "),
        *[(r"\\[dtc]?frac\{([^{}]*)\}\{([^{}]*)\}", r" \1 over \2 ")] * 3,
        (r"\\boxed\{([^{}]*)\}", r" \1 "),
        (r"\\[lc]?dots\b", "…"),
        (r"\\(?:cdot|times)\b", " × "),
        (r"\\div\b", " ÷ "),
        (r"\\pm\b", " ± "),
        (r"\\leq?\b", " ≤ "),
        (r"\\geq?\b", " ≥ "),
        (r"\\neq?\b", " ≠ "),
        (r"\\approx\b", " ≈ "),
        (r"\\(?:to|rightarrow)\b", " → "),
        (r"\\infty\b", " ∞ "),
        (r"(?<=[\dkcm/ ][mst])\^2\b", "²"),
        (r"(?<=[\dkcm/ ][mst])\^3\b", "³"),
        (r"\\([^\w\s])", r"\1"),
        (r"\\+", " "),
        # Emphasis, paired or not; a star between operands is a product.
        (r"(?<=\d)\*\*(?=\d)", "^"),
        (r"\*{2,}|~~", ""),
        (r"(?<=[\w)])\s\*\s(?=[\w(])|(?<=[\d)])\*(?=[\d(])", " × "),
        (r"\*", ""),
        (r"(?<![^\W_])_+|_+(?![^\W_])", ""),
        (r"_+", " "),
        # Faces made of punctuation.
        (r"(?<!\S)(?:[:;=8][-^']?[)(DPpOo|/\\3*]+|<3+|\^_*\^|[xX]D+)(?!\S)", ""),
    )
]


_TAG: Final = re.compile(r"</([a-zA-Z][\w-]{0,20})>|<([a-zA-Z][\w-]{0,20})(?:\s[a-z-]+=[^<>]*)?/?>")
"""Written in entities or as code, it is a name to be said."""


def _inline(text: str) -> str:
    if text.isascii() and not _MARKS.search(text):
        return text
    for pattern, to in _BEFORE_TAGS:
        text = pattern.sub(to, text)
    text = without_tags(text)
    for pattern, to in _INLINE:
        text = pattern.sub(to, text)
    text = html.unescape(text)
    return named(_TAG.sub(r" \1\2 ", text)) if "<" in text else text


_MARKS: Final = re.compile(r"[^\w\s.,;!?'\"-]|_|[:;=]|[xX]D")


def _stopped(text: str) -> str:
    """With a stop at its end, so that a heading or a list's item does not run into what follows."""
    text = text.strip()
    for char in reversed(text):
        if char in ".!?:;,…":
            return text
        if char.isalnum() or char == "_":
            break
    return f"{text}." if text else text


def _parts(line: str) -> Iterator[str]:
    """A line in parts of at most `LONGEST` characters."""
    start = 0
    while len(line) - start > LONGEST:
        end = line.rfind(" ", start + 1, start + LONGEST) + 1 or start + LONGEST
        yield line[start:end]
        start = end
    yield line[start:]


def prose(text: str) -> Iterator[str]:
    """The lines of `text` that can be said, free of markup; a code block becomes `CODE`. Spaces are plain ones."""
    fence: Fence | None = None
    lines = text.split("\n")
    for index, whole in enumerate(lines):
        line = whole
        if fence:
            closed = fence.closed_by(line + "\n")
            if not closed:
                continue
            fence, line = None, line[closed:]
        elif fence := opened(line):
            line = line[: fence.start]
        if not line.strip(" \t>"):
            if fence:
                yield CODE
            continue
        *parts, last = _parts(line)
        for part in parts:
            yield from _line(part, block=False)
        yield from _line(last, block=fence is not None or index < len(lines) - 1)
        if fence:
            yield CODE


def _line(line: str, *, block: bool) -> Iterator[str]:
    """A line; `block` where nothing runs on from it into the next."""
    if (len(line) > 2 and _RULE.fullmatch(line)) or _DEFINED.match(line):
        return
    line = _QUOTE.sub("", line, count=1)
    if heading := _HEADING.match(line):
        line, block = line[heading.end() :].rstrip("# "), True
    elif bullet := _BULLET.match(line):
        line, block = line[bullet.end() :], True
    if item := _ITEM.match(line):
        line, block = f"{item[1] or item[2]}. {line[item.end() :]}", True
    if line.lstrip().startswith("|"):
        cells = line.strip().strip("|").split("|")
        line, block = ", ".join(cell.strip() for cell in cells if cell.strip()), True
    line = spaced(without_strings(line))
    line = _ITALIC.sub("*", without_citations(line)) if "<" in line else without_citations(line)
    line = _inline(without_directions(line))
    yield _stopped(line) if block else line.strip()
