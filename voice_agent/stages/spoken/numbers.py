"""Numbers in words: cardinals, ordinals, decimals, years, fractions, codes; and those left in a text."""

import re
from functools import lru_cache
from typing import Final

from num2words import num2words

from voice_agent.stages.english import words
from voice_agent.stages.spoken.rules import Rule

NUMBER: Final = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
"""An integer, with or without commas between thousands, or a decimal."""
LONGEST: Final = 15
"""Digits above which a number is a code, read digit by digit: quadrillions are not said in conversation."""
MANY_DIGITS: Final = 24
"""Digits from which a voice pauses within them: they are said in groups of four."""
SCALES: Final = {
    "k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million", "mm": "million",
    "b": "billion", "B": "billion", "bn": "billion", "t": "trillion", "T": "trillion", "tn": "trillion",
}  # fmt: skip
DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PARTS: Final = {
    2: "half",
    3: "third",
    4: "quarter",
    5: "fifth",
    6: "sixth",
    7: "seventh",
    8: "eighth",
    9: "ninth",
}


@lru_cache(4096)
def _words(value: int, kind: str) -> str:
    return str(num2words(value, to=kind)).replace(",", "")


def digits(text: str) -> str:
    """Each digit of `text` as a word, anything else left out: "555-0199" -> "five five five zero ...".

    Many of them with a pause after every fourth.
    """
    said = [DIGITS[int(c)] for c in text if c.isdecimal()]
    if len(said) < MANY_DIGITS:
        return " ".join(said)
    return ", ".join(" ".join(said[i : i + 4]) for i in range(0, len(said), 4))


def codes(text: str) -> str:
    """The same, with a pause between groups: "555-0199" -> "five five five, zero one nine nine"."""
    return ", ".join(digits(group) for group in re.findall(r"\d+", text))


def cardinal(text: str) -> str:
    """A whole number: "1,234" -> "one thousand two hundred and thirty-four"; "007" digit by digit."""
    plain = text.replace(",", "")
    if len(plain) > LONGEST or (len(plain) > 1 and plain[0] == "0"):
        return digits(plain)
    return _words(int(plain), "cardinal")


def number(text: str) -> str:
    """A whole or decimal number: "3.14" -> "three point one four"."""
    whole, _, fraction = text.partition(".")
    if not fraction:
        return cardinal(whole)
    return f"{cardinal(whole or '0')} point {digits(fraction)}"


def ordinal(text: str) -> str:
    """ "21" -> "twenty-first"."""
    plain = text.replace(",", "")
    return digits(plain) if len(plain) > LONGEST else _words(int(plain), "ordinal")


def year(text: str) -> str:
    """ "1999" -> "nineteen ninety-nine", "2005" -> "two thousand and five"."""
    return _words(int(text), "year")


def plural(word: str) -> str:
    """ "ninety" -> "nineties", "six" -> "sixes"."""
    if word.endswith("y"):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("x", "s", "ch")) else "s")


def fraction(over: str, under: str) -> str:
    """3/4 -> "three quarters", 8/10 -> "eight out of ten", 22/7 -> "twenty-two over seven"."""
    top, bottom = int(over), int(under)
    if 0 < top < bottom and bottom in PARTS:
        part = PARTS[bottom] if top == 1 else plural(PARTS[bottom])
        return f"{_words(top, 'cardinal')} {part}"
    join = "out of" if top <= bottom and bottom in (5, 10, 20, 100) else "over"
    return f"{cardinal(over)} {join} {cardinal(under)}"


# A four-digit number is a year after these words, whatever follows ("In 1999 people ...") ...
_YEAR_AFTER: Final = words(
    "in since year years circa during until till early late mid spring summer autumn fall winter january "
    "february march april may june july august september october november december class edition"
)
# ... and elsewhere, unless what follows looks like what is counted ("1999 people", "2000 steps").
_NOT_COUNTED: Final = words("is was has does this its as us plus versus perhaps always")
_COUNTED: Final = words("people men women children more other")
_LETTERS: Final = re.compile(r"[A-Za-z]+")


def _year_or_count(match: re.Match[str]) -> str:
    text, start, end = match.string, match.start(), match.end()
    before = _LETTERS.findall(text, max(0, start - 12), start)
    if before and before[-1].lower() in _YEAR_AFTER:
        return year(match[0])
    after = re.compile(r"\s+([a-z]+)").match(text, end)
    word = after[1] if after else ""
    counted = word in _COUNTED or (word.endswith("s") and word not in _NOT_COUNTED)
    return year(match[0]) if match[0] >= "1700" and not counted else cardinal(match[0])


def mixed(whole: str, over: str, under: str) -> str:
    """1 1/2 -> "one and a half"."""
    part = fraction(over, under)
    if part.startswith("one "):
        part = ("an" if part[4] == "e" else "a") + part[3:]
    return f"{cardinal(whole)} and {part}"


def _decade(match: re.Match[str]) -> str:
    century, tens, short = match.groups()
    if short:
        return plural(cardinal(short))
    return plural(year(century + tens)) if tens == "00" else f"{cardinal(century)} {plural(cardinal(tens))}"


def _version(match: re.Match[str]) -> str:
    parts = match[1].split(".")
    dot = "dot" if len(parts) == 4 else "point"  # four parts: an address on the internet
    return f" {dot} ".join(cardinal(part) for part in parts)


_YEAR: Final = r"(?:1[1-9]|20)\d\d"
RANGES: Final = (
    # "9/11" and "24/7" are names.
    Rule(r"\b24/7\b", "twenty-four seven"),
    Rule(r"\b9/11\b", "nine eleven"),
    Rule(r"\b50/50\b", "fifty-fifty"),
    Rule(r"\bv\.?(?=\d)", "version ", needs="v"),
    Rule(r"(?<![\d.])(\d+(?:\.\d+){2,})(?!\d)", _version, needs="."),
    Rule(
        rf"(?<![\w,.-])({_YEAR})\s?[-–]\s?({_YEAR}|\d\d)(?![\w%-]|[.,]\d|\s?[a-z])",
        lambda m: f"{year(m[1])} to {year(m[2]) if len(m[2]) == 4 else cardinal(m[2])}",
    ),
    # Decades, before the s could be seconds.
    Rule(r"(?<![\w,.])(?:(1[1-9]|20)(\d0)|'(\d0))'?s\b", _decade, needs="s"),
    Rule(
        r"\b(their|his|her|my|your|our|the|early|mid|late)[\s-](\d0)'?s\b",
        lambda m: f"{m[1]} {plural(cardinal(m[2]))}",
        needs="s",
    ),
    Rule(r"(?<=[\d%])\s?[–-]\s?(?=\d)|(?<=\d)-(?=-\d)", " to "),
    Rule(r"(?<![\w)\].])-\s?(?=\.?\d)", "minus "),
)
"""First of all, before a hyphen could be taken for a minus."""
RULES: Final = (
    Rule(r"(?<=[A-Za-z])-(?=\d)|(?<=\d)-(?=[A-Za-z])", " ", needs="-"),
    # Fractions and ordinals.
    Rule(r"\b(\d+)\s(\d)/([2-9])\b(?!/)", lambda m: mixed(m[1], m[2], m[3]), needs="/"),
    Rule(r"(?<![\d/.])(\d{1,3})/(\d{1,3})(?![\d/]|\.\d)", lambda m: fraction(m[1], m[2]), needs="/"),
    Rule(r"\b(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)\b", lambda m: ordinal(m[1])),
    Rule(rf"(?<![\w,.$#]){_YEAR}(?![\w%]|[,.]\d)", _year_or_count),
    # What is left.
    Rule(rf"({NUMBER})([kKMT]|[mb]n|B(?=\s[a-z]))\b", lambda m: f"{number(m[1])} {SCALES[m[2]]}"),
    Rule(r"(?<=[^\W\d_])\.(?=\d)", "dot", needs="."),  # "version.2.png"
    Rule(r"(?<!\d)\.\d+", lambda m: number(m[0]), needs="."),
    Rule(NUMBER, lambda m: number(m[0])),
)
"""Every number that is left, once dates, times and quantities are words."""
