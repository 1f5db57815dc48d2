"""The scripts that text is written in: which of them a voice can speak, and which are written without spaces."""

import re
import unicodedata
from functools import lru_cache
from typing import Final

from voice_agent.stages.english import words

LATIN: Final = "LATIN"
_OF_LANGUAGE: Final = {
    language: frozenset(scripts.split())
    for languages, scripts in (
        ("zh yue", "CJK BOPOMOFO"),
        ("ja", "CJK HIRAGANA KATAKANA"),
        ("ko", "HANGUL CJK"),
        ("be bg kk ky mk mn ru sr tg tt uk", "CYRILLIC"),
        ("ar fa ps sd ug ur", "ARABIC"),
        ("hi mr ne sa", "DEVANAGARI"),
        ("bn as", "BENGALI"),
        ("he yi", "HEBREW"),
        ("el", "GREEK"),
        ("am ti", "ETHIOPIC"),
        ("gu", "GUJARATI"),
        ("hy", "ARMENIAN"),
        ("ka", "GEORGIAN"),
        ("km", "KHMER"),
        ("kn", "KANNADA"),
        ("lo", "LAO"),
        ("ml", "MALAYALAM"),
        ("my", "MYANMAR"),
        ("or", "ORIYA"),
        ("pa", "GURMUKHI"),
        ("si", "SINHALA"),
        ("ta", "TAMIL"),
        ("te", "TELUGU"),
        ("th", "THAI"),
    )
    for language in languages.split()
}
"""By two-letter code, the scripts besides the Latin one that a voice of this language reads: the first words of
their letters' Unicode names. What is not here is written in Latin letters."""
_WITHOUT_SPACES: Final = words("CJK HIRAGANA KATAKANA BOPOMOFO THAI LAO KHMER MYANMAR")

_SAME: Final = {"FEMININE": LATIN, "MASCULINE": LATIN, "IDEOGRAPHIC": "CJK", "MODIFIER": "", "MICRO": ""}
"""Letters whose names do not begin with their script."""


@lru_cache(65_536)
def script(char: str) -> str:
    """The script of a letter, such as "LATIN", "CJK", "CYRILLIC"; empty for what is no letter or of no script."""
    if char.isascii():
        return LATIN if char.isalpha() else ""
    if not char.isalpha():
        return ""
    first = (
        unicodedata.name(char, "").split("-")[0].removeprefix("HALFWIDTH ").removeprefix("FULLWIDTH ").split()
    )
    return _SAME.get(first[0], first[0]) if first else ""


def is_wide(char: str) -> bool:
    """Whether `char` is of a script without spaces, in which a character is about a syllable."""
    return char > "\u0e00" and script(char) in _WITHOUT_SPACES


def readable(said: str, written: str, language: str | None) -> tuple[str, str]:
    """`said` without the words that a voice of `language` can't read, and the script of the first of these.

    Nothing is left of it if half of the letters of what was `written` are of other scripts: it would be no sentence.

    Args:
        said: words and punctuation.
        written: the text that it was made of.
        language: a code such as "en" or "zh-cn"; None if it is not known, and nothing is left out.
    """
    if language is None or said.isascii():
        return said, ""
    own = _OF_LANGUAGE.get(re.split("[-_]", language.lower())[0], frozenset()) | {LATIN, ""}
    foreign = next((found for found in map(script, said) if found not in own), "")
    if not foreign:
        return said, ""
    scripts = [found for found in map(script, written) if found]
    if 2 * sum(found not in own for found in scripts) >= len(scripts):
        return "", foreign
    kept = " ".join(word for word in said.split() if all(script(char) in own for char in word))
    kept = kept.lstrip(" .,;:!?'-")
    return (kept if any(map(str.isalpha, kept)) else ""), foreign
