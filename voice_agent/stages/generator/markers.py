"""Marks in a model's text that are no words: of thoughts, and the special tokens of chat templates."""

import re
from enum import Enum, auto
from typing import Final


class Mark(Enum):
    """The effect of a marker on the text after it."""

    THOUGHT = auto()
    """A thought begins."""
    ANSWER = auto()
    """The thought is over."""
    ASIDE = auto()
    """Something else that is not for the user begins: a call of a function that the endpoint left in the text."""
    ASIDE_OVER = auto()
    HEADER = auto()
    """A message begins, with who speaks; up to a new line, or `BODY`."""
    CHANNEL = auto()
    """The same in gpt-oss's format (harmony): the header says whether it is a thought."""
    BODY = auto()
    """The header is over."""
    MESSAGE_OVER = auto()
    """The message is over; in harmony another may follow."""
    SPEAKER = auto()
    """A message begins, with no more of a header."""
    REPLY_OVER = auto()
    """The text after it is not the reply."""
    NOTHING = auto()
    """To be left out."""


_NAMES: Final = (
    *(
        "think",
        "thinking",
        "thought",
        "thoughts",
        "reasoning",
        "reason",
        "reflection",
        "analysis",
        "scratchpad",
    ),
    "seed:think",  # Seed-OSS
    "antthinking",  # prompts of Claude's
    "inner_monologue",
)
_SHELLS: Final = ("answer", "final_answer", "response")
"""What the answer stands within."""
_TAGS: Final = (*_NAMES, *_SHELLS, "function")
_FIXED: Final[dict[str, Mark]] = {
    "[think]": Mark.THOUGHT,  # Mistral's Magistral
    "[/think]": Mark.ANSWER,
    "◁think▷": Mark.THOUGHT,  # Kimi
    "◁/think▷": Mark.ANSWER,
    "<|channel>thought": Mark.THOUGHT,  # Gemma 4
    "<channel|>": Mark.ANSWER,
    "<unused94>": Mark.THOUGHT,  # MedGemma
    "<unused95>": Mark.ANSWER,
    "<tool_call>": Mark.ASIDE,  # Hermes, Qwen
    "</tool_call>": Mark.ASIDE_OVER,
    "<|tool_call>": Mark.ASIDE,
    "<tool_call|>": Mark.ASIDE_OVER,
    "[tool_calls]": Mark.ASIDE,  # Mistral; nothing but the call follows
    "</s>": Mark.REPLY_OVER,
    "<s>": Mark.NOTHING,
    "<eos>": Mark.REPLY_OVER,
    "<bos>": Mark.NOTHING,
    "<end_of_turn>": Mark.REPLY_OVER,  # Gemma 2 and 3
    "<start_of_turn>": Mark.HEADER,
    "<turn|>": Mark.REPLY_OVER,  # Gemma 4
    "<|turn>": Mark.HEADER,
    "[inst]": Mark.SPEAKER,
    "[/inst]": Mark.SPEAKER,
}

_SPECIAL: Final[tuple[tuple[str, Mark], ...]] = (
    (r"(begin_of_|start_of_|start_)?(thought|think|thinking|reasoning)", Mark.THOUGHT),
    (r"/(think|thinking|thought)|(end_of_|end_)(thought|think|thinking|reasoning)", Mark.ANSWER),
    (r"(start_action|python_tag|tool_calls?(_(section_)?begin)?)", Mark.ASIDE),
    (r"(end_action|/tool_call|tool_calls_(section_)?end)", Mark.ASIDE_OVER),
    (r"channel", Mark.CHANNEL),
    (r"message|end_header_id|im_sep", Mark.BODY),
    (r"end", Mark.MESSAGE_OVER),
    (r"im_start|start|start_header_id", Mark.HEADER),
    (r"user|assistant|system|tool|observation|(start_of_turn|user|chatbot|system)_token", Mark.SPEAKER),
    (
        r"im_end|eot(_id)?|eom_id|eos|end_?of_?(text|turn|sentence|utterance|message)(_token)?|return|call",
        Mark.REPLY_OVER,
    ),
)
"""Names between `<|` and `|>`, as templates have them; any other is left out."""

_DELIMITED: Final = r"<[|｜](?:/?[\w:▁-][\w:▁ -]{0,39})[|｜]>"
_OPEN, _CLOSE = r"(?:<|&lt;)\s{0,4}(?P<slash>/?)\s{0,4}", r"(?:>|&gt;)"
_VALUE: Final = r"""(?:"[^"<>]{0,40}"|'[^'<>]{0,40}'|[\w.:-]{1,40})"""
_ATTRIBUTES: Final = rf"(?:\s{{1,4}}[\w:-]{{1,20}}\s?=\s?{_VALUE}){{0,3}}\s{{0,4}}"
_TAG: Final = (
    rf"{_OPEN}(?P<name>{'|'.join(_TAGS)})(?:(?<=function)=[\w.:-]{{1,64}})?{_ATTRIBUTES}(?P<empty>/?){_CLOSE}"
)
MARKER: Final = re.compile("|".join([_DELIMITED, _TAG, *map(re.escape, _FIXED)]), re.IGNORECASE)
_ONE_TAG: Final = re.compile(_TAG, re.IGNORECASE)
_UNFINISHED: Final = re.compile(r"<[|｜](?:/?(?:[\w:▁-][\w:▁ -]{0,39})?)[|｜]?")
_UNFINISHED_TAG: Final = re.compile(
    rf"{_OPEN}(?P<name>[\w:]*)(?P<rest>=[\w.:-]{{0,64}})?"
    rf"(?P<more>{_ATTRIBUTES}(?:\s[\w:-]{{0,20}}(?:\s?=\s?(?:\"[^\"<>]{{0,40}}|'[^'<>]{{0,40}}|[\w.:-]{{0,40}}))?)?"
    r"/?(?:&(?:g(?:t)?)?)?)",
)
_LONGEST: Final = 256
_OPENERS: Final = ("<", "[", "◁", "&")


def mark_of(marker: str) -> Mark:
    """The effect of `marker`, a match of `MARKER`."""
    marker = marker.lower()
    if fixed := _FIXED.get(marker):
        return fixed
    if tag := _ONE_TAG.fullmatch(marker):
        return _of_tag(tag)
    name = marker[2:-2].replace("▁", "_").replace(" ", "_")
    return next((mark for names, mark in _SPECIAL if re.fullmatch(names, name)), Mark.NOTHING)


def is_mentionable(marker: str) -> bool:
    """Whether people write `marker` too: of those within `<|` and `|>` each is a token of its own to a model, and
    what the answer stands within, or holds nothing, is no loss.
    """
    if tag := _ONE_TAG.fullmatch(marker.lower()):
        return _of_tag(tag) is not Mark.NOTHING
    return not re.fullmatch(_DELIMITED, marker)


def unfinished(text: str) -> int:
    """How many characters at the end of `text` may be the beginning of a marker."""
    text = text[-_LONGEST:].lower()
    begins = {text.rfind(opener) for opener in _OPENERS}
    begins.add(text.rfind("&", 0, max(0, text.rfind("&"))))  # "&lt;" and "&gt;" both have one
    return max((len(text) - begin for begin in begins if begin >= 0 and _may_go_on(text[begin:])), default=0)


def _of_tag(tag: re.Match[str]) -> Mark:
    if tag["name"] in _SHELLS or tag["empty"]:
        return Mark.NOTHING
    if tag["name"] == "function":
        return Mark.ASIDE_OVER if tag["slash"] else Mark.ASIDE
    return Mark.ANSWER if tag["slash"] else Mark.THOUGHT


def _may_go_on(tail: str) -> bool:
    if "&lt;".startswith(tail) or _UNFINISHED.fullmatch(tail):
        return True
    if any(marker.startswith(tail) for marker in _FIXED):
        return True
    tag = _UNFINISHED_TAG.fullmatch(tail)
    if not tag:
        return False
    if tag["rest"] or tag["more"]:
        return tag["name"] in _TAGS
    return any(name.startswith(tag["name"]) for name in _TAGS)
