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
)
_FIXED: Final[dict[str, Mark]] = {
    **{f"<{name}>": Mark.THOUGHT for name in _NAMES},
    **{f"</{name}>": Mark.ANSWER for name in _NAMES},
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
    **{
        f"<{slash}{name}>": Mark.NOTHING
        for name in ("answer", "final_answer", "response")
        for slash in ("", "/")
    },
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
MARKER: Final = re.compile("|".join([_DELIMITED, *map(re.escape, _FIXED)]), re.IGNORECASE)
_UNFINISHED: Final = re.compile(r"<[|｜](?:/?(?:[\w:▁-][\w:▁ -]{0,39})?)[|｜]?")
_LONGEST: Final = 48
_OPENERS: Final = re.compile(r"[<\[◁]")


def mark_of(marker: str) -> Mark:
    """The effect of `marker`, a match of `MARKER`."""
    marker = marker.lower()
    if fixed := _FIXED.get(marker):
        return fixed
    name = marker[2:-2].replace("▁", "_").replace(" ", "_")
    return next((mark for names, mark in _SPECIAL if re.fullmatch(names, name)), Mark.NOTHING)


def unfinished(text: str) -> int:
    """How many characters at the end of `text` may be the beginning of a marker."""
    begin = max(0, len(text) - _LONGEST)
    for opener in _OPENERS.finditer(text, begin):
        tail = text[opener.start() :].lower()
        if _UNFINISHED.fullmatch(tail) or any(marker.startswith(tail) for marker in _FIXED):
            return len(tail)
    return 0
