"""Requests to a language model."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from voice_agent.stages.generator.characters import clean
from voice_agent.urgency import Need


@dataclass(frozen=True)
class ToolCall:
    """A function that the model wants called."""

    id: str
    name: str
    arguments: str
    """JSON, as the model wrote it."""


@dataclass(frozen=True)
class Message:
    """One entry of the conversation as the model reads it."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    """Of an assistant's message."""
    tool_call_id: str | None = None
    """Of a tool's message: the call that it answers."""


@dataclass(frozen=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments."""


@dataclass(frozen=True)
class Request:
    """One question to the model."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "none", "required"] = "auto"
    max_tokens: int | None = None
    """Longest reply; by default the settings'."""
    need: Need | None = field(default=None, compare=False)
    """How urgent it is, which may change while it waits; by default it is due. No part of the question."""


def body(request: Request) -> dict[str, Any]:
    """`request` in OpenAI's format, but for its limit."""
    said: dict[str, Any] = {"messages": [_message(message) for message in request.messages]}
    if request.tools:
        said["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(tool.parameters),
                },
            }
            for tool in request.tools
        ]
        said["tool_choice"] = request.tool_choice
    return said


def without_system_role(request: Request) -> Request:
    """`request` for a model that knows only user and assistant, in turns, and the user first: instructions stand in
    front of what the user said next.
    """
    messages: list[Message] = []
    for message in request.messages:
        if message.role == "system":
            message = replace(message, role="user")
        before = messages[-1] if messages else None
        if before and before.role == message.role == "user":
            messages[-1] = replace(before, content=f"{before.content}\n\n{message.content}")
        else:
            messages.append(message)
    return replace(request, messages=tuple(messages))


def _message(message: Message) -> dict[str, Any]:
    # Half a character in what a client typed would fail this request and, in the history, all after it.
    content = clean(message.content)
    wire: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        wire["content"] = content or None
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": clean(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    return wire
