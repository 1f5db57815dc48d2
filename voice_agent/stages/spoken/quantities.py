"""Money, measures and percentages in words."""

import re
from collections.abc import Iterable
from typing import Final

from voice_agent.stages.spoken.numbers import NUMBER, SCALES, cardinal, fraction, mixed, number
from voice_agent.stages.spoken.rules import Rule
from voice_agent.stages.spoken.units import PER, TOUCHING, UNITS

CURRENCIES: Final = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "", ""),
    "₽": ("rouble", "roubles", "kopeck", "kopecks"),
    "¢": ("cent", "cents", "", ""),
    "₿": ("bitcoin", "bitcoins", "", ""),
}
NATIONS: Final = {"US": "U S ", "C": "Canadian ", "CA": "Canadian ", "A": "Australian ", "AU": "Australian ",
                  "NZ": "New Zealand ", "HK": "Hong Kong ", "S": "Singapore "}  # fmt: skip


def _alternatives(symbols: Iterable[str]) -> str:
    return "|".join(re.escape(s) for s in sorted(symbols, key=len, reverse=True))


_APART: Final = _alternatives(UNITS.keys() - TOUCHING)
_TOUCH: Final = _alternatives(TOUCHING)
_SIGN: Final = "[" + "".join(CURRENCIES) + "]"
_SCALE: Final = r"(?:\s?(thousand|million|billion|trillion)\b|\s?([kKmMbBtT]|[mbt]n|mm)\b(?!/))?"


def _amount(text: str, scale: str | None, sign: str, nation: str = "") -> str:
    one, many, cent, cents = CURRENCIES[sign]
    plain = text.replace(",", "")
    whole, _, rest = plain.partition(".")
    if scale or not cent or (rest and len(rest) != 2):
        value = number(text) + (f" {scale}" if scale else "")
        return f"{value} {nation}{one if value == 'one' else many}"
    large = f"{cardinal(whole)} {nation}{one if whole == '1' else many}"
    if not int(rest or 0):
        return large
    small = f"{cardinal(str(int(rest)))} {cent if int(rest) == 1 else cents}"
    return f"{large} and {small}" if int(whole) else small


def _money(match: re.Match[str]) -> str:
    minus, nation, sign, low, high, word, letter = match.groups()
    scale = word or (SCALES.get(letter) if letter else None)
    words = "minus " if minus else ""
    if not high:
        return words + _amount(low, scale, sign, NATIONS.get(nation or "", ""))
    return f"{words}{number(low)} to {_amount(high, scale, sign, NATIONS.get(nation or '', ''))}"


def _measure(match: re.Match[str]) -> str:
    value, per = match[1], match[4]
    one, many = UNITS[match[2] or match[3]]
    words = f"{number(value)} {one if value == '1' or '-' in match[0] else many}"  # "a 5-km run"
    if per:
        words += f" per {PER[per]}"
    return words


def _count(text: str, name: str) -> str:
    return f"{cardinal(text)} {name}{'' if text == '1' else 's'}"


def _part(match: re.Match[str]) -> str:
    """1/2 tsp, 1 1/2 cm, 120/80 mmHg."""
    whole, top, bottom, symbol = match.groups()
    several = whole or int(top) > int(bottom)
    return f"{mixed(whole, top, bottom) if whole else fraction(top, bottom)} {UNITS[symbol][bool(several)]}"


def _feet(match: re.Match[str]) -> str:
    feet = f"{cardinal(match[1])} {'foot' if match[1] == '1' else 'feet'}"
    return f"{feet} {number(match[2])}" if match[2] else feet


_ADJECTIVE: Final = re.compile(
    r"\s(?!(?:each|tall|long|wide|high|deep|thick|by|and|or|of|in|on|to|from)\b)[a-z]"
)
"""A 15" screen, but 15" wide."""


def _inches(match: re.Match[str]) -> str:
    if match[2] == '"' and match.string.count('"', 0, match.start()) % 2:
        return match[0]  # the end of a quotation
    one = match[1] == "1" or _ADJECTIVE.match(match.string, match.end())
    return f"{number(match[1])} {'inch' if one else 'inches'}"


_BY_CODE: Final = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹"}
_CODE: Final = "|".join(_BY_CODE)

MONEY: Final = (
    Rule(
        rf"\b({_CODE})\s?({NUMBER}){_SCALE}",
        lambda m: _amount(m[2], m[3] or (SCALES.get(m[4]) if m[4] else None), _BY_CODE[m[1]]),
        needs="UEGJI",
    ),
    Rule(
        rf"((?<!\w)-)?(?:\b(US|CA?|AU?|NZ|HK|S))?({_SIGN})\s?({NUMBER})"
        rf"(?:\s?[–-]\s?\3?({NUMBER}))?{_SCALE}",
        _money,
        needs="".join(CURRENCIES),
    ),
)
MEASURES: Final = (
    Rule(
        rf"({NUMBER}){_SCALE}\s?({_CODE})\b",
        lambda m: _amount(m[1], m[2] or (SCALES.get(m[3]) if m[3] else None), _BY_CODE[m[4]]),
        needs="UEGJI",
    ),
    Rule(
        rf"({NUMBER}){_SCALE}\s?({_SIGN})(?!\d)",
        lambda m: _amount(m[1], m[2] or (SCALES.get(m[3]) if m[3] else None), m[4]),
        needs="".join(CURRENCIES),
    ),
    Rule(
        r"(?<=[a-z]) ?/ ?(?=(?:second|minute|hour|day|week|month|year|person|user|night|unit|item)\b)",
        "per",
        needs="/",
    ),
    Rule(
        r"(?<=[a-z]) ?/ ?(mo|yr|hr|wk|kg|lb|h)\b",
        lambda m: f"per {PER[m[1]]}",
        needs="/",
    ),
    Rule(r"\b(\d+)\s?['′’]\s?(\d{1,2}(?:\.\d)?)\s?(?:\"|''|″|”)", _feet, needs="'′’"),
    Rule(r"\b(\d+)(?:′|'(?![\w']))()", _feet, needs="'′"),
    Rule(rf"(?<![\w.])({NUMBER})(\"|″)", _inches, needs='"″'),
    Rule(
        r"\b(\d+)\s?h(?:rs?)?\s?(\d+)\s?m(?:in)?\b",
        lambda m: f"{_count(m[1], 'hour')} {_count(m[2], 'minute')}",
        needs="h",
    ),
    Rule(rf"({NUMBER})\s?in\.(?=\s[a-z]|[,;)]|\s*$)", lambda m: f"{number(m[1])} inches", needs="."),
    Rule(rf"(?<![\w.])({NUMBER})(?:x|\sx\s|×)(?={NUMBER})", lambda m: f"{number(m[1])} by", needs="x×"),
    Rule(rf"({NUMBER})x\b", lambda m: f"{number(m[1])} times", needs="x"),
    Rule(
        rf"(?<![\w.,/])(?:(\d+)\s)?(\d{{1,3}})/(\d{{1,3}})\s?({_APART})(?![\w°²³])",
        _part,
        needs="/",
    ),
    Rule(
        rf"(?<![\w.,])({NUMBER})(?:[\s-]?({_APART})|({_TOUCH}))(?:/({_alternatives(PER)}))?"
        r"(?![\w°²³])(?:\.(?=\s+[a-z\d]|[,;)]))?",
        _measure,
    ),
)
