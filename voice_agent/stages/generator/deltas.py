"""What a language model answers, piece by piece, whatever the endpoint makes of it on the wire."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next words of the reply, for the user. Never empty; no lone surrogates."""

    text: str


@dataclass(frozen=True, slots=True)
class ThoughtDelta:
    """A reasoning model thinks: a sign of life, not for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """The next piece of a function call."""

    index: int
    """Which of the reply's calls."""
    id: str | None
    """In the call's first piece."""
    name: str | None
    """In the call's first piece."""
    arguments: str
    """The next part of its JSON."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the request cost, as the endpoint counts."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The reply is over: always the last piece, and there is always one."""

    reason: FinishReason
    usage: Usage | None = None


Delta: TypeAlias = TextDelta | ThoughtDelta | ToolCallDelta | Finish
