"""Dates and times of day in words, and telephone numbers, which are as full of digits and dashes."""

import re
from typing import Final

from voice_agent.stages.english import STARTERS
from voice_agent.stages.spoken.numbers import cardinal, codes, digits, ordinal, year
from voice_agent.stages.spoken.rules import Rule

MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_SHORT: Final = {month[:3]: month for month in MONTHS} | {"Sept": "September"}
_MONTH: Final = rf"\b({'|'.join(MONTHS)}|{'|'.join(sorted(_SHORT, key=len, reverse=True))})\b\.?"
_DAY: Final = r"(0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?\b(?![,.:]?\d|%)"
_YEAR: Final = r"([12]\d{3})\b(?![,.]?\d)"
_AM_PM: Final = r"([AaPp])(?:\.[Mm]\.|\.?[Mm]\b)"


_FOLLOWING: Final = re.compile(r"\s+['\"“(]*([A-Z][a-z]*)")


def _month(name: str) -> str:
    return _SHORT.get(name, name)


def _date(year_text: str | None, month: int, day: str) -> str:
    end = f", {year(_full_year(year_text))}" if year_text else ""
    return f"{MONTHS[month - 1]} {ordinal(day)}{end}"


def _full_year(text: str) -> str:
    # Two digits: the POSIX pivot (strptime's %y).
    return text if len(text) == 4 else ("19" if text >= "69" else "20") + text


def _numeric(match: re.Match[str]) -> str:
    """03/05/2024 as in the United States, unless the month would not be one."""
    first, second, end = match[1], match[3], match[4]
    month, day = (first, second) if int(first) <= 12 and match[2] == "/" else (second, first)
    if int(month) > 12:
        month, day = day, month
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return codes(match[0])
    return _date(end, int(month), day)


def _month_day(match: re.Match[str]) -> str:
    month, day, last, end = match.groups()
    days = ordinal(day) + (f" to {ordinal(last)}" if last else "")
    return f"{_month(month)} {days}{f', {year(end)}' if end else ''}"


def _day_month(match: re.Match[str]) -> str:
    the, day, month, end = match.groups()
    return f"{the or 'the '}{ordinal(day)} of {_month(month)}{f', {year(end)}' if end else ''}"


def sentence_end(match: re.Match[str]) -> str:
    """The stop of an abbreviation that is the last of its sentence, or nothing."""
    if not match[0].endswith("."):
        return ""
    rest = match.string[match.end() :]
    following = _FOLLOWING.match(rest)
    if following:
        return "." if following[1].lower() in STARTERS else ""
    return "" if any(map(str.isalnum, rest)) else "."


def _spelled(match: re.Match[str]) -> str:
    """Each sign by itself, with a pause between groups."""
    return ", ".join(" ".join(digits(c) if c.isdecimal() else c for c in group) for group in match[0].split())


def _half(letter: str) -> str:
    return f"{letter.upper()} M"


def _time(match: re.Match[str]) -> str:
    hour, minute, second, half = match.groups()
    words = cardinal(str(int(hour)))
    if minute != "00":
        words += f" {'oh ' if minute[0] == '0' else ''}{cardinal(str(int(minute)))}"
    elif not half and not second:
        words += " o'clock" if 1 <= int(hour) <= 12 else " hundred"
    if second:
        words += f" and {cardinal(str(int(second)))} seconds"
    return f"{words} {_half(half)}{sentence_end(match)}" if half else words


PHONES: Final = (
    Rule(r"\b[A-Z]{2}\d\d(?: [A-Z\d]{4}){2,7}(?: [A-Z\d]{1,3})?\b", _spelled),  # an account (IBAN)
    Rule(r"\+\d[\d ().-]{6,}\d", lambda m: f"plus {codes(m[0])}", needs="+"),
    Rule(r"(?<![\d-])(?:1[-. ])?\(?\d{3}\)?[-. ]{1,2}\d{3}[-. ]\d{4}(?![\d-])", lambda m: codes(m[0])),
    # As in Europe, where they begin with a nought: "020 7946 0958", "(030) 1234 567".
    Rule(
        r"(?<![\d.,:/-])\(?\b0\d{1,4}\)?(?: \d{2,8}){1,4}(?![\d:/]|[.,-]\d)", lambda m: codes(m[0]), needs="0"
    ),
    Rule(
        r"(?i)\b(code|pin|number|call|dial|zip|id|password|otp)( (?:is )?)(\d{3}(?: \d{2,4})+)\b(?![,.:/-]\d)",
        lambda m: f"{m[1]}{m[2]}{codes(m[3])}",
    ),
    Rule(r"(?<=555-)\d{4}\b|\b555(?=-\d{4}\b)", lambda m: digits(m[0]), needs="5"),
    Rule(
        r"(?i)(?<=\bcall )\d{3}\b(?!-|\s[a-z]+s\b)|(?<=\bdial )\d{3}\b(?!-)",
        lambda m: digits(m[0]),
        needs="lL",
    ),
    Rule(r"(?i)(?<=\bcall )\d{3}-\d{4}\b|(?<=\bdial )\d{3}-\d{4}\b", lambda m: codes(m[0]), needs="lL"),
)

DATES: Final = (
    # Postal codes, flights and the like: "CA 94043", "BA117".
    Rule(
        r"\b([A-Z]\s?[A-Z])\.?\s(\d{5})(?:-(\d{4}))?\b(?![,.]\d)",
        lambda m: f"{m[1]} {codes(m[2] + (f'-{m[3]}' if m[3] else ''))}",
    ),
    Rule(r"\b([A-Z]{1,3})(\d{3,4}(?:-\d+)*)\b(?![,.]\d)", lambda m: f"{m[1]} {codes(m[2])}"),
    Rule(
        r"\b(?=\d*[A-Z])(?=[A-Z]*\d)[A-Z\d]{8,}\b",
        _spelled,
    ),
    Rule(
        r"\b(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(?:T(?=\d\d:\d\d)|(?![\d-]))",
        lambda m: _date(m[1], int(m[2]), m[3]) + ("," if m[0].endswith("T") else ""),
        needs="-",
    ),
    Rule(r"(?<![\d/.])(\d{1,2})([/.])(\d{1,2})\2(\d{4})(?![\d/]|\.\d)", _numeric),
    Rule(r"(?<![\d/])(\d{1,2})(/)(\d{1,2})/(\d\d)(?![\d/])", _numeric, needs="/"),
    # A nought in front makes it a date: "11/03" is no fraction.
    Rule(
        r"(?<![\d/.])(?=0|\d\d?/0)(0?[1-9]|1[0-2])/(0?[1-9]|[12]\d|3[01])(?![\d/]|\.\d)",
        lambda m: _date(None, int(m[1]), m[2]),
        needs="/",
    ),
    Rule(rf"(\b[Tt]he\s)?{_DAY}\s(?:of\s)?{_MONTH}(?:,?\s{_YEAR})?", _day_month),
    Rule(rf"{_MONTH}\s{_DAY}(?:\s?[–-]\s?{_DAY})?(?:,?\s{_YEAR})?", _month_day),
    Rule(rf"{_MONTH},?\s{_YEAR}", lambda m: f"{_month(m[1])} {year(m[2])}"),
    # Groups of digits: identity cards, accounts, card numbers.
    Rule(r"\b\d+(?:-\d+){2,}\b|\b\d{4}(?: \d{4}){2,}\b", lambda m: codes(m[0])),
)

TIMES: Final = (
    Rule(
        rf"(?<=\d)(\s?{_AM_PM})?\s?[–-]\s?(?=\d\d?(?::\d\d)?\s?[AaPp]\.?[Mm]\b)",
        lambda m: f"{_half(m[2]) if m[1] else ''} to",
    ),
    Rule(r"(?<=:\d\d)\s?[–-]\s?(?=\d\d?:\d\d)", "to", needs=":"),
    Rule(
        rf"(?<![\d:.])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?:Z\b)?(?:\s?{_AM_PM})?(?![\d:])",
        _time,
        needs=":",
    ),
    Rule(
        rf"(?<![\d.:,])(1[0-2]|0?[1-9])\s?{_AM_PM}",
        lambda m: f"{cardinal(str(int(m[1])))} {_half(m[2])}{sentence_end(m)}",
    ),
    Rule(r"\b(\d+):(\d+)\b", lambda m: f"{cardinal(m[1])} to {cardinal(m[2])}", needs=":"),
)
