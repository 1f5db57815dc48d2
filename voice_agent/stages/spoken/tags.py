"""Tags of HTML and its kin taken out of a text. What else stands between < and > is words: "a<b and x > y"."""

import re
from typing import Final

from voice_agent.stages.english import words

_HTML: Final = words(
    "a abbr address area article aside audio b base bdi bdo big blockquote body br button canvas caption center "
    "cite code col colgroup data datalist dd del details dfn dialog div dl dt em embed fieldset figcaption "
    "figure font footer form frame h1 h2 h3 h4 h5 h6 head header hr html i iframe img input ins kbd label "
    "legend li link main map mark menu meta meter nav nobr noscript object ol optgroup option output p param "
    "picture pre progress q rp rt ruby s samp script section select small source span strike strong style sub "
    "summary sup svg table tbody td template textarea tfoot th thead time title tr track tt u ul var video wbr"
)
_SPEECH: Final = words("audio break emphasis lang mark phoneme prosody say-as speak voice")
"""Of SSML, which models write for a voice that would read it."""
_MODELS: Final = words(
    "answer assistant final output reasoning ref reflection response scratchpad system think thinking thought "
    "tool_call tool_response user"
)
"""Tags that models put around the parts of a reply."""
_KNOWN: Final = "|".join(sorted(_HTML | _SPEECH | _MODELS, key=len, reverse=True))
_ATTRIBUTE: Final = r"\s[a-zA-Z][\w:-]{0,30}\s?=\s?(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]+)"
TAG: Final = re.compile(rf"<(?:/[a-zA-Z][\w:-]{{0,30}}|(?i:{_KNOWN})(?:{_ATTRIBUTE}){{0,12}})\s?/?>")
NAME: Final = re.compile(
    # Of a variable or a type: "Hello <your name here>", "List<String>".
    r"(?<![^\W_])<([^\W\d][^<>=]{0,60})(?<!\s)>|(?<=\w)<([^\W\d]\w{0,30}(?:,\s?\w{1,30}){0,4})>(?!\w)"
)


def without_tags(text: str) -> str:
    """`text` without known tags, any closing ones, and those that are closed; of a name in such marks the name."""
    if "<" not in text or ">" not in text:
        return text
    for closed in {found[1] for found in _CLOSING.finditer(text)}:
        text = re.sub(rf"<{closed}(?:{_ATTRIBUTE}){{0,12}}\s?>", " ", text)
    return named(TAG.sub(" ", text))


_CLOSING: Final = re.compile(r"</([a-zA-Z][\w-]{0,30})\s?>")


def named(text: str) -> str:
    """`text` with the names of things in < and > as words."""
    return NAME.sub(lambda m: f" {m[1] or m[2]} ", text)
