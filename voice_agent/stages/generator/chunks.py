"""One chunk of a reply, as endpoints send it, to what it says: the one place where their shapes are read.

Chunks are JSON of any shape: nothing here trusts a type. What is not understood says nothing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from voice_agent.stages.generator.deltas import FinishReason, Usage
from voice_agent.stages.generator.failures import EndpointError, error_in

_REASONS: Final[Mapping[FinishReason, frozenset[str]]] = {
    "length": frozenset(
        {"length", "max_tokens", "max_output_tokens", "max_completion_tokens", "model_length", "token_limit"}
        | {"model_context_window_exceeded"}
    ),
    "tool_calls": frozenset({"tool_calls", "tool_call", "tool_use", "function_call", "function_calls"}),
    "content_filter": frozenset(
        {"content_filter", "content_filtered", "safety", "refusal", "recitation", "blocklist", "sensitive"}
        | {"prohibited_content", "spii", "guardrail_intervened", "language", "image_safety"}
    ),
}
"""Endpoints' names for it, in small letters; any other is an ordinary end."""
_FAILED: Final = frozenset(
    {"error", "abort", "aborted", "cancel", "cancelled", "canceled", "failed", "timeout", "network_error"}
    | {"insufficient_system_resource", "engine_overloaded", "overloaded", "malformed_function_call"}
    | {"internal_error", "other_error", "model_error", "unexpected_tool_call"}
)
_NOT_YET: Final = frozenset({"", "null", "none"})

_THOUGHT_FIELDS: Final = (
    *("reasoning_content", "reasoning", "reasoning_text", "reasoning_details"),
    *("thinking", "thinking_blocks", "thought", "thoughts"),
)
_THOUGHT_TYPE: Final = re.compile("think|reason|thought|summary|analysis", re.IGNORECASE)
_TEXT_TYPE: Final = re.compile("text|refusal|^$", re.IGNORECASE)
_TEXT_KEYS: Final = ("text", "output_text", "refusal", "content", "value")
_THOUGHT_KEYS: Final = ("thinking", "reasoning", "text", "summary", "content", "value")
_DEPTH: Final = 4
"""Parts within parts are read this deep; Mistral's thoughts go to 2."""


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """The contents of a chunk, in the order in which they count."""

    thought: str = ""
    text: str = ""
    whole: bool = False
    """The text is that of a `message`: the whole reply so far, which endpoints also send beside the pieces."""
    calls: tuple[Mapping[str, Any], ...] = ()
    """Pieces of function calls, as they are."""
    finish: FinishReason | None = None
    usage: Usage | None = None


def read_chunk(raw: object) -> StreamChunk:
    """The contents of `raw`, a JSON document of the stream.

    Raises:
        EndpointError: it is an error, or the reply ended by one.
    """
    if not isinstance(raw, dict):
        return StreamChunk()
    if error := error_in(raw):
        raise error
    usage = _usage(raw.get("usage"))
    choice = _choice(raw.get("choices"))
    if choice is None:
        return StreamChunk(usage=usage)
    if error := error_in({"error": choice.get("error")}):
        raise error
    said, whole = _said(choice)
    thought, text = _content(said)
    return StreamChunk(
        thought=thought,
        text=text,
        whole=whole,
        calls=tuple(_calls(said)),
        finish=_finish(choice.get("finish_reason")),
        usage=usage,
    )


def _choice(choices: object) -> Mapping[str, Any] | None:
    """The first of the replies; others were not asked for."""
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and str(choice.get("index") or 0) == "0":
            return choice
    return None


def _said(choice: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The part of a choice that says something, and whether it is a whole message."""
    delta, message = choice.get("delta"), choice.get("message")
    if isinstance(delta, dict):
        return delta, False
    if isinstance(message, dict):
        return message, True
    return {"content": delta if delta is not None else choice.get("text")}, False


def _content(said: Mapping[str, Any]) -> tuple[str, str]:
    """Thought and text of a delta or a message."""
    parts = list(_parts(said.get("content"), _says_thought(said)))
    thought = "".join(text for is_thought, text in parts if is_thought)
    text = "".join(text for is_thought, text in parts if not is_thought)
    if not text and isinstance(said.get("refusal"), str):
        text = said["refusal"]
    for field in _THOUGHT_FIELDS:
        # Endpoints give the same thought under two names; one of them is enough.
        thought = thought or "".join(text for _, text in _parts(said.get(field), thinking=True))
    return thought, text


def _says_thought(said: Mapping[str, Any]) -> bool:
    """Gemini marks thoughts by a flag beside them."""
    extra = said.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    return any(isinstance(place, dict) and place.get("thought") is True for place in (said, google))


def _parts(content: object, thinking: bool, depth: int = _DEPTH) -> Iterator[tuple[bool, str]]:
    """Pieces of a content, each with whether it is a thought: text, a number, a part, or a list of those."""
    match content:
        case bool() | None:
            return
        case str() | int() | float():
            yield thinking, str(content)
        case list() if depth:
            for part in content:
                yield from _parts(part, thinking, depth - 1)
        case dict() if depth:
            kind = content.get("type")
            kind = kind if isinstance(kind, str) else ""
            thinking = thinking or bool(_THOUGHT_TYPE.search(kind)) or content.get("thought") is True
            keys = _THOUGHT_KEYS if thinking else _TEXT_KEYS
            if thinking or _TEXT_TYPE.search(kind):
                inner = next((content[key] for key in keys if content.get(key) is not None), None)
                yield from _parts(inner, thinking, depth - 1)


def _calls(said: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    calls = said.get("tool_calls")
    for call in calls if isinstance(calls, list) else [calls]:
        if isinstance(call, dict):
            yield call
    if isinstance(older := said.get("function_call"), dict):
        yield older


def _finish(reason: object) -> FinishReason | None:
    """Why the reply is over, None while it is not.

    Raises:
        EndpointError: the endpoint gave it up.
    """
    if not isinstance(reason, str):
        return "stop" if reason else None
    word = reason.strip().lower()
    if word in _NOT_YET:
        return None
    if word in _FAILED:
        raise EndpointError(f"it gave the reply up (finish_reason {word!r})")
    return next((ours for ours, theirs in _REASONS.items() if word in theirs), "stop")


def _usage(usage: object) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if isinstance(prompt, int) and isinstance(completion, int):
        return Usage(prompt, completion)
    return None
