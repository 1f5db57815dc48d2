"""Addresses, abbreviations, Roman numerals and symbols in words."""

import re
import unicodedata
from typing import Final

from voice_agent.stages.spoken.dates import sentence_end
from voice_agent.stages.spoken.numbers import DIGITS, cardinal, ordinal
from voice_agent.stages.spoken.rules import Rule

LONG_PATH: Final = 16
"""Characters of a web address's path above which only the host is said: more can't be followed by ear."""
_DOMAINS: Final = "com|org|net|io|ai|dev|app|edu|gov|info|co|uk|de|fr|eu|us|ca|me|tv"


def _spell(name: str) -> str:
    """An extension that can't be pronounced, letter by letter: "html" -> "H T M L", but "com", "py"."""
    if name.isalpha() and len(name) <= 4 and not re.search(r"[aeiouy]", name, re.I):
        return " ".join(name.upper())
    return name


def _dotted(text: str) -> str:
    """ "docs.python.org/3" -> "docs dot python dot org slash 3"."""
    first, *rest = re.split(r"\.(?=\w)", text)
    words = " dot ".join([first, *(" ".join(map(_spell, re.split(r"\b", part))) for part in rest)])
    for symbol, word in (("/", "slash"), ("-", "dash"), ("_", "underscore")):
        words = words.replace(symbol, f" {word} ")
    return words


def _web(match: re.Match[str]) -> str:
    host, path = match[1], (match[2] or "").rstrip("/")
    path = path.split("?")[0].split("#")[0]
    return _dotted(host + (path if len(path) <= LONG_PATH else ""))


def _email(match: re.Match[str]) -> str:
    return f"{_dotted(match[1])} at {_dotted(match[2])}"


def _hexadecimal(match: re.Match[str]) -> str:
    """An address in groups, as of a network card: letter by letter, digit by digit."""
    groups = [group for group in match[0].split(":") if group]
    if "::" not in match[0] and len(groups) < 5:
        return match[0]
    return ", ".join(
        " ".join(DIGITS[int(c)] if c.isdecimal() else c.upper() for c in group) for group in groups
    )


_BASES: Final = {"x": "hex", "b": "binary", "o": "octal"}


def _based(match: re.Match[str]) -> str:
    """A number as code has it, sign by sign: "0x1F" -> "hex one F", "#FF00AA" -> "F F zero ..."."""
    base = f"{_BASES[match[1].lower()]} " if match[1] else ""
    return base + " ".join(DIGITS[int(c)] if c.isdecimal() else c.upper() for c in match[2] or match[3])


ADDRESSES: Final = (
    Rule(
        r"\b0([xXbBoO])((?<=[xX])[\da-fA-F]{1,16}|(?<=[bB])[01]{1,16}|(?<=[oO])[0-7]{1,16})\b()",
        _based,
        needs="0",
    ),
    Rule(r"()()#(?=[a-fA-F]{0,5}\d)((?=.*[a-fA-F])[\da-fA-F]{6})\b", _based, needs="#"),
    Rule(
        r"(?<![\w:])(?=[0-9a-fA-F:]{0,40}\d)[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?![\w:])",
        _hexadecimal,
        needs=":",
    ),
    Rule(r"\b([\w.+-]{1,64})@([\w-]+(?:\.[\w-]+)+)", _email, needs="@"),
    Rule(
        r"\b(?:https?://|ftp://)(?:www\.)?([\w-]+(?:\.[\w-]+)*(?::\d+)?)(/[^\s,;\"'<>)\]]*[\w/])?",
        _web,
        needs=":",
    ),
    Rule(
        rf"(?<![\w.@/])(?:www\.)?((?:[A-Za-z0-9-]+\.)+(?:{_DOMAINS}))\b(?!\.\w)(/[^\s,;\"'<>)\]]*[\w/])?",
        _web,
        needs=".",
    ),
    # Files and other names with a dot inside: "app.py", "Node.js", "np.array". Not "e.g.", "U.S."
    Rule(
        r"(?<![\w.])(?![A-Za-z]\.[A-Za-z]\b|Ph\.D)[A-Za-z_][\w-]*(?:\.[A-Za-z_]\w*)+",
        lambda m: _dotted(m[0]),
        needs=".",
    ),
    Rule(r"(?<![\w.])\.(?=[a-z]+\b)", "dot", needs="."),
)

_WITH_STOP: Final = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Ms", "Prof": "Professor", "Rev": "Reverend",
    "Hon": "Honorable", "Gen": "General", "Sen": "Senator", "Rep": "Representative", "Gov": "Governor",
    "Capt": "Captain", "Cmdr": "Commander", "Col": "Colonel", "Lt": "Lieutenant", "Sgt": "Sergeant",
    "Maj": "Major", "Adm": "Admiral", "Pres": "President", "Mt": "Mount", "Jr": "Junior", "Sr": "Senior",
    "Inc": "Incorporated", "Ltd": "Limited", "Co": "Company", "Corp": "Corporation", "Bros": "Brothers",
    "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Ln": "Lane", "Hwy": "Highway", "Apt": "Apartment",
    "Dept": "Department", "etc": "et cetera", "vs": "versus", "approx": "approximately",
    "esp": "especially", "incl": "including", "Fig": "Figure", "fig": "figure", "Vol": "Volume",
    "vol": "volume", "Ch": "Chapter", "pp": "pages", "al": "al", "cf": "compare", "Jan": "January",
    "Feb": "February", "Aug": "August", "Sept": "September", "Oct": "October", "Nov": "November",
    "Dec": "December",
}  # fmt: skip
_NO_STOP: Final = {"Mr": "Mister", "Mrs": "Missus", "Prof": "Professor", "Dr": "Doctor", "vs": "versus",
                   "etc": "et cetera", "eg": "for example", "ie": "that is"}  # fmt: skip


_DAY_NAMES: Final = {name[:3]: name for name in (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")}  # fmt: skip
_DAYS: Final = "Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun"


def _doctor(match: re.Match[str]) -> str:
    """ "Dr. Smith", but "12 Main Dr."."""
    street = match[1] and not re.match(r"\s+[A-Z]", match.string[match.end() :])
    return f"{match[1] or ''}{'Drive' + sentence_end(match) if street else 'Doctor'}"


def _saint(match: re.Match[str]) -> str:
    """ "St. Louis", but "Main St."."""
    if match[1]:
        return f"{match[1]}Street{sentence_end(match)}"
    return "Saint" if re.match(r"\s+[A-Z]", match.string[match.end() :]) else f"Street{sentence_end(match)}"


def _initials(match: re.Match[str]) -> str:
    return " ".join(match[0].replace(".", "").upper()) + sentence_end(match)


ABBREVIATIONS: Final = (
    Rule(r"\b[Ee]\.\s?g\.", "for example", needs="."),
    Rule(r"\b[Ii]\.\s?e\.", "that is", needs="."),
    Rule(r"\bPh\.?D\b\.?", lambda m: f"P H D{sentence_end(m)}", needs="P"),
    Rule(r"\bP\.S\.", "P S", needs="P"),
    Rule(r"\b((?:[A-Z][a-z]+|\d+(?:st|nd|rd|th)) )?Dr\.", _doctor, needs="."),
    Rule(r"\b((?:[A-Z][a-z]+|\d+(?:st|nd|rd|th)) )?St\.", _saint, needs="."),
    Rule(r"(?:\b[Nn]os?\.\s?|[#№]\s?)(?=\d)", "number", needs=".#№"),
    Rule(r"\bp\.\s?(?=\d)", "page", needs="."),
    Rule(r"\bc\.\s?(?=\d{3})", "circa", needs="."),
    Rule(r"\bOp\.\s?(?=\d)", "Opus", needs="."),
    Rule(
        rf"\b({_DAYS})\.?\s?[-–]\s?({_DAYS})\b\.?",
        lambda m: f"{_DAY_NAMES[m[1][:3]]} to {_DAY_NAMES[m[2][:3]]}",
        needs="-–",
    ),
    Rule(rf"\b({_DAYS})\.(?!\w)", lambda m: _DAY_NAMES[m[1][:3]] + sentence_end(m), needs="."),
    Rule(
        rf"\b({'|'.join(_WITH_STOP)})\.(?![^\W\d])",
        lambda m: _WITH_STOP[m[1]] + sentence_end(m),
        needs=".",
    ),
    Rule(r"\b(Mrs?|Dr|Prof)(?=\s[A-Z])", lambda m: _NO_STOP[m[1]], needs="MDP"),
    Rule(r"\b(vs|etc|eg|ie)\b", lambda m: _NO_STOP[m[1]], needs="vegi"),
    Rule(r"\b(?:[A-Za-z]\.){2,}|\b(?:[A-Z]\.){1,}[A-Z]\b", _initials, needs="."),
    Rule(r"\b[A-Z]\.(?=\s[A-Z])", lambda m: m[0][0], needs="."),
    Rule(r"\bw/o\b", "without", needs="/"),
    Rule(r"\bw/(?=\s?\w)", "with", needs="/"),
    Rule(r"\b([Aa]nd)/or\b", "and or", needs="/"),
    Rule(r"(?i)\b(he|him|his|she|her)/(she|her|hers|he|him|his)\b", lambda m: f"{m[1]} or {m[2]}", needs="/"),
)

_ROMAN: Final = r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_VALUES: Final = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_COUNTED: Final = (
    "War|Chapter|Part|Phase|Type|Level|Section|Act|Volume|Book|Bowl|Class|Stage|Title|Article|Appendix|Figure|"
    "Schedule|Episode|Round|Tier|Division|Group|Mark|Table"
)
_REIGNED: Final = (
    "Henry|Louis|Elizabeth|George|Charles|Edward|James|William|Philip|Paul|Pius|Benedict|Napoleon|Catherine|Peter|"
    "Richard|Nicholas|Alexander|Frederick|Leo|Gregory|Innocent|Urban|Clement|Francis|Ramses|Ptolemy|Ivan|Alfonso|"
    "Christian|Gustav|Harald|Haakon|Ferdinand|Leopold|Wilhelm|Otto|Mary|John|Robert|David|Cosimo"
)


def _roman(numeral: str) -> str:
    values = [_VALUES[c] for c in numeral]
    return str(sum(-v if v < max(values[i:]) else v for i, v in enumerate(values)))


ROMAN: Final = (
    Rule(
        rf"\b({_COUNTED})\s(?!I\s+[a-z])(?=[IVXLCDM])({_ROMAN})\b(?!')",
        lambda m: f"{m[1]} {cardinal(_roman(m[2]))}",
        needs="IVXLCDM",
    ),
    Rule(
        rf"\b({_REIGNED})\s(?=[IVX][IVX]|V|X)({_ROMAN})\b(?!')",
        lambda m: f"{m[1]} the {ordinal(_roman(m[2]))}",
        needs="IVX",
    ),
    Rule(r"(?<=\bElizabeth )I\b(?=[.,;:!?)]|\s(?:of|was|ruled|reigned)\b|$)", "the first", needs="E"),
)


_GREEK: Final = "".join(map(chr, (*range(0x391, 0x3AA), *range(0x3B1, 0x3CA))))


def _greek(match: re.Match[str]) -> str:
    return unicodedata.name(match[0]).split()[3].lower()


_OPERAND: Final = r"[\w)°%²³]"


def _minus(match: re.Match[str]) -> str:
    """A spaced hyphen is a minus in a sum, else a dash."""
    return "minus" if "=" in match.string else match[0]


MATHS: Final = (
    Rule(r"−", "minus", needs="−"),
    Rule(rf"(?<={_OPERAND})\s-\s(?=[\w(])", _minus, needs="="),
    Rule(r"<=>|<->|⇔|↔|⟷", "to and from", needs=">⇔↔⟷"),
    Rule(r"(?<![-=])[-=]+>|[→⇒⟶➔➜►▶]", "to", needs=">→⇒⟶➔➜►▶"),
    Rule(r"!==?|≠|/=", "does not equal", needs="=≠"),
    Rule(r"<=|≤|⩽", "is at most", needs="=≤⩽"),
    Rule(r">=|≥|⩾", "is at least", needs="=≥⩾"),
    Rule(r"\+/?-|±", "plus or minus", needs="+±"),
    Rule(r"~=|[≈≅≃]|~(?=[\s$€£]?\d)", "about", needs="~≈≅≃"),
    Rule(r"(?<!\w)<\s?(?=[$€£]?\d)", "less than", needs="<"),
    Rule(r"(?<!\w)>\s?(?=[$€£]?\d)", "more than", needs=">"),
    Rule(r"(?<=[\w)])\s?<\s?(?=[\w(])", "is less than", needs="<"),
    Rule(r"(?<=[A-Za-z])\s>\s(?=[A-Z])", ",", needs=">"),  # "Settings > Network"
    Rule(r"(?<=[\w)])\s?>\s?(?=[\w(])", "is greater than", needs=">"),
    Rule(r"(?<=\d)(?=[xyzabn](?:\s?[\^²³+=*/·<>)]|\s-))", ""),  # "2x + 3"
    Rule(r"(?<=\d)\s?[×x]\s?(?=10\^)", "times", needs="^"),
    Rule(r"(?<=\w)\s?·\s?(?=\w)", "times", needs="·"),
    Rule(r"\^[({]([^(){}]*)[)}]", lambda m: f"to the power of {m[1].replace('-', ' minus ')}", needs="^"),
    Rule(r"(?<=[)²³])/(?=\w)", "over", needs="/"),
    Rule(
        r"\^(-?\w+)",
        lambda m: {"2": "squared", "3": "cubed"}.get(m[1], f"to the power of {m[1]}"),
        needs="^",
    ),
    Rule(r"(?<=[\d)])\s/\s(?=[\d(])|(?<=\b[a-z])\s/\s(?=[a-z]\b)", "divided by", needs="/"),
    Rule(r"\s/\s", ",", needs="/"),
    Rule(r"(?<=[\w)])\s[×*]\s(?=[\w(])|(?<=\d)[×*](?=[\d(].*=)|(?<=[a-z)])×(?=[a-z(])", "times", needs="×*"),
)


_NAMES: Final = {
    "&": "and", "+": "plus", "=": "equals", "@": "at", "%": "percent", "÷": "divided by", "×": "times",
    "°": "degrees", "§": "section", "©": "copyright", "∞": "infinity", "√": "the square root of",
    "∑": "the sum of", "∫": "the integral of", "∂": "partial", "∈": "in", "∴": "therefore", "µ": "micro",
    "$": "dollars", "€": "euros", "£": "pounds", "¥": "yen", "₹": "rupees", "₿": "bitcoin", "¢": "cents",
}  # fmt: skip
SYMBOLS: Final = (
    Rule(r"\bC#", "C sharp", needs="#"),
    Rule(r"\bF#", "F sharp", needs="#"),
    Rule(r"#(?=[A-Za-z])", "hashtag", needs="#"),
    Rule(r"(?<!\S)--?(?=[A-Za-z])", "dash", needs="-"),
    Rule(r"(?<=\d)\s?%|(?<=\s)%", "percent", needs="%"),
    Rule(r"(?<=\w)/(?=\w)", "slash", needs="/"),
    Rule(r"²", "squared", needs="²"),
    Rule(r"³", "cubed", needs="³"),
    Rule(r"(?<![\u0370-\u03ff])[\u0391-\u03a9\u03b1-\u03c9](?![\u0370-\u03ff])", _greek, needs=_GREEK),
    *(Rule(re.escape(symbol), word, needs=symbol) for symbol, word in _NAMES.items()),
)
