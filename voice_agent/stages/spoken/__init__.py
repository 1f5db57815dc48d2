"""The words that a voice should say for a text that was written to be read.

What can't be seen goes first, then markup, marks of citations and stage directions; then addresses, dates, times,
money, measures, sums and numbers become words, each rule finding only what those before it left; at last every sign
that a voice can't say is dropped, whatever the rules missed.

It takes time in proportion to the length of the text, since no rule sees more than `markup.LONGEST` characters at once.
"""

import re
import unicodedata
from typing import Final

from voice_agent.stages.spoken import dates, numbers, quantities, symbols
from voice_agent.stages.spoken.markup import prose
from voice_agent.stages.spoken.plain import visible
from voice_agent.stages.spoken.rules import apply

_RULES: Final = (
    *symbols.ADDRESSES,
    *symbols.ABBREVIATIONS,
    *symbols.ROMAN,
    *dates.PHONES,
    *dates.DATES,
    *dates.TIMES,
    *quantities.MONEY,
    *symbols.MATHS,  # before ranges: "5 - 3 = 2"
    *numbers.RANGES,
    *quantities.MEASURES,
    *numbers.RULES,
    *symbols.SYMBOLS,
)

_ENDLESS: Final = re.compile(r"(?<![\d.])(?:\d{1,15}\.)?\d{40,}")
"""Digits that are no number any more; the rules would look at them again and again."""
_TYPOGRAPHY: Final = str.maketrans(
    {"’": "'", "‘": "'", "ʼ": "'", "ʻ": "'", "‐": "-", "‑": "-", "‒": "–", "μ": "µ"}
    | {"。": ".", "、": ",", "⁄": "/"}
    | dict.fromkeys("\u200b\u2060\ufeff\xad™®", "")
)
_KEPT: Final = frozenset("²³ºµ″…№")
"""Signs that rules look for, and that compatibility normalization would make plain digits and letters."""
_VULGAR: Final = re.compile(r"([¼-¾⅐-⅞])")
_RAISED: Final = re.compile(r"[⁻⁺]?[²³⁰¹⁴-⁹]+")

_DASH: Final = re.compile(r"\s[–—-]+(?=\s|$)|(?<![\w–—-])[–—-]+\s|[–—]|--+|[()\[\]{}|]")
_CALL: Final = re.compile(r"(?<=\w)\(([^()]*)\)")
_EMOJI_STOP: Final = re.compile(r"(?<=\w)\s*[\u2600-\u27bf\U0001f000-\U0001faff\ufe0f\u200d]+\s+(?=[A-Z])")
"""Emoji in place of a stop: "I'm Aria 👋 How can I help?"."""
_UNSAID: Final = re.compile(r"[^\w\s.,;:!?'-]|_")
_EDGE: Final = re.compile(r"(?<!\w)['-]+|['-]+(?!\w)")
_STOPS: Final = re.compile(r"\s*([.,;:!?](?:\s*[.,;:!?])*)")
_TOUCHING: Final = re.compile(r"(?:(?<=[!?;,:])|(?<=\.\.\.))(?=[^\W_])")
_MARKS: Final = re.compile(
    "((?:[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{2}))"
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]+"
)
"""More accents on a letter than any language has."""
_LEADING: Final = re.compile(r"^[\s.,;:!?'-]+")


def spoken(text: str) -> str:
    """The words that a voice should say for `text`, in English: words and punctuation; no markup, emoji, signs, digits.

    Text in another script is left as it is, digits and symbols apart. Empty if there is nothing to say.
    """
    return " ".join(filter(None, map(_line, prose(visible(text)))))


def _line(text: str) -> str:
    text = visible(text)  # what HTML's entities stood for
    text = _ENDLESS.sub(lambda m: f" {numbers.number(m[0])} ", text)
    if not text.isascii():
        text = _plain_characters(text)
    return _clean(apply(_RULES, text))


def _plain_characters(text: str) -> str:
    """The same text in fewer characters: "½" as 1/2, "⁵" as ^5, full-width forms and quotes as plain ones."""
    text = _VULGAR.sub(lambda m: " " + unicodedata.normalize("NFKC", m[1]), text)
    text = _RAISED.sub(_raised, text)
    text = "".join(c if c in _KEPT or c.isascii() else unicodedata.normalize("NFKC", c) for c in text)
    text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    return _MARKS.sub(r"\1", unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY))


def _raised(match: re.Match[str]) -> str:
    """ "⁵" as ^5; a lone ² or ³ is left to the rules for units."""
    if match[0] in ("²", "³"):
        return match[0]
    return "^" + unicodedata.normalize("NFKC", match[0]).replace("−", "-")


def _mark(match: re.Match[str]) -> str:
    """A mark on a letter; a space for one on nothing, and for the selectors that make emoji of other signs."""
    char, before = match[0], match.string[match.start() - 1 : match.start()]
    on_letter = unicodedata.category(char) in ("Mn", "Mc") and not "\ufe00" <= char <= "\ufe0f"
    return char if on_letter and before and unicodedata.category(before)[0] in "LM" else " "


def _strongest(match: re.Match[str]) -> str:
    """One mark for several that meet."""
    stops = "".join(match[1].split())
    if "?" in stops or "!" in stops:
        return "?" if "?" in stops else "!"
    if stops.startswith(".,"):
        return ","  # an abbreviation's stop
    return "..." if "..." in stops else min(stops, key=".:;,".index)


def _clean(text: str) -> str:
    """Nothing but words and punctuation, tidily."""
    text = text.replace("…", "...")
    text = _EMOJI_STOP.sub(". ", text)
    text = _CALL.sub(lambda m: "s" if m[1] == "s" else f" {m[1]} ", text)
    text = _DASH.sub(", ", text.rstrip(")]}| "))
    text = _UNSAID.sub(_mark, text)
    text = "".join(c for c in text if not c.isnumeric() or c.isalpha()) if not text.isascii() else text
    text = " ".join(_EDGE.sub(" ", text).split())
    text = _TOUCHING.sub(" ", _STOPS.sub(_strongest, text))
    text = _LEADING.sub("", " ".join(text.split()))
    return text if any(map(str.isalpha, text)) else ""
