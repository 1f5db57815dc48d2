"""Names of languages."""

import re


def base_language(tag: str) -> str:
    """The code that the engines know a language by, of any usual way to write it.

    "en" of "en-US", "EN_us" and "en_US.UTF-8"; "zh" of "zh-Hant-TW": the first subtag of BCP 47 (RFC 5646), which
    names the language, in lower case.
    """
    return re.split(r"[-_.@]", tag.strip(), maxsplit=1)[0].lower()
