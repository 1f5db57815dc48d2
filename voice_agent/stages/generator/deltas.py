"""The answer of a language model, piece by piece, whatever its endpoint's format on the wire."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next words of the reply, for the user. Never empty; no lone surrogates."""

    text: str


@dataclass(frozen=True, slots=True)
class ThoughtDelta:
    """A reasoning model thinks: a sign of life, not for the user. Never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Retract:
    """All text of the reply so far was a thought: what of it was not heard yet is not to be, nor remembered.

    It comes where a model closes a thought that nothing had opened (its chat template did). Once that is known
    of an endpoint its thoughts are told from the start, so this is rare: at most once in a reply, the first.
    """


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """The next piece of a function call."""

    index: int
    """Which of the reply's calls, from 0."""
    id: str | None
    """In the call's first piece, always."""
    name: str | None
    """In the call's first piece, always."""
    arguments: str
    """The next part of its JSON."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The cost of the request, as the endpoint counts."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The reply is over: always the last piece, and there is always one."""

    reason: FinishReason
    """As the endpoint says; `tool_calls` wherever there are calls and it says that it was done."""
    usage: Usage | None = None
    """Where the endpoint told it at once."""


Delta: TypeAlias = TextDelta | ThoughtDelta | Retract | ToolCallDelta | Finish
