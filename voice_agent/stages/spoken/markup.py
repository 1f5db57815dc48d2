"""Markdown, HTML and LaTeX taken out of a text, line by line.

Not a parser of documents: what arrives is a piece of one, often with one half of a pair of marks ("**Note: ",
"the rest.**"), on which a real one (markdown-it-py was tried) leaves every mark in place.
"""

import html
import re
from collections.abc import Iterator
from typing import Final

CODE: Final = "Code omitted."
_FENCE: Final = re.compile(r"\s*(```|~~~)(?!.*```)")
_RULE: Final = re.compile(r"[\s|:*_=-]*")
"""A horizontal rule, the line under a heading or under a table's head."""
_QUOTE: Final = re.compile(r"^\s*(?:>\s?)+")
_HEADING: Final = re.compile(r"\s*#{1,6}\s+")
_BULLET: Final = re.compile(r"\s*[-*+•‣◦▪●]\s+(?:\[[ xX]\]\s*)?")
_ITEM: Final = re.compile(r"\s*(?:(\d{1,3})\.|\(?(\d{1,2})\))\s+")
_ENDED: Final = re.compile(r".*[.!?:;,…]\W*", re.S)

_INLINE: Final = [
    (re.compile(pattern, re.S), to)
    for pattern, to in (
        (r"<!--.*?(?:-->|$)", ""),
        (r"<((?:https?://|mailto:)?[^\s<>]+[@.][^\s<>]+)>", r"\1"),
        (r"`</?([a-zA-Z][\w-]*)[^`<>]*>`", r"\1"),
        (r"</?[a-zA-Z][^<>]*>", " "),
        (r"!?\[\^[^\]]*\]|(?<=[^\s\]])\[\d+\](?!\()", ""),
        (r"!?\[([^\]]*)\](?:\([^)\s]*(?:\s+[\"'][^)]*)?\)|\[[^\]]*\])", r"\1"),
        (r"`+", ""),
        # LaTeX, as models write it.
        (r"\$\$|\\[()\[\]]", ""),
        (r"\$(?=\S)([^$]*[\\^_=+*<>][^$]*|[a-zA-Z]{1,3})(?<=\S)\$(?!\d)", r"\1"),
        (r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}", r" \1 over \2 "),
        (r"\\sqrt\{([^{}]*)\}", r" √\1 "),
        (r"\\(?:text|mathrm|mathbf|mathit|boxed)\{([^{}]*)\}", r" \1 "),
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


def _inline(text: str) -> str:
    if text.isascii() and not _MARKS.search(text):
        return text
    for pattern, to in _INLINE:
        text = pattern.sub(to, text)
    return html.unescape(text)


_MARKS: Final = re.compile(r"[^\w\s.,;!?'\"-]|_|[:;=]|[xX]D")


def _stopped(text: str) -> str:
    """With a stop at its end, so that a heading or a list's item does not run into what follows."""
    text = text.strip()
    return text if not text or _ENDED.fullmatch(text) else f"{text}."


def prose(text: str) -> Iterator[str]:
    """The lines of `text` that can be said, free of markup; a code block becomes `CODE`."""
    fence = ""
    lines = text.split("\n")
    for index, line in enumerate(lines):
        mark = _FENCE.match(line)
        if fence:
            fence = "" if mark and mark[1] == fence else fence
            continue
        if mark:
            fence = mark[1]
            yield CODE
            continue
        if len(line) > 2 and _RULE.fullmatch(line):
            continue
        line = _QUOTE.sub("", line, count=1)
        block = index < len(lines) - 1
        if heading := _HEADING.match(line):
            line, block = line[heading.end() :].rstrip("# "), True
        elif bullet := _BULLET.match(line):
            line, block = line[bullet.end() :], True
        if item := _ITEM.match(line):
            line, block = f"{item[1] or item[2]}. {line[item.end() :]}", True
        if line.lstrip().startswith("|"):
            line, block = (
                ", ".join(cell.strip() for cell in line.strip().strip("|").split("|") if cell.strip()),
                True,
            )
        line = _inline(line)
        yield _stopped(line) if block else line.strip()
