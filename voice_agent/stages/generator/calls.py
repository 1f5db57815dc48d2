"""Function calls, as endpoints stream them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from voice_agent.stages.generator.characters import Characters, clean
from voice_agent.stages.generator.deltas import ToolCallDelta


@dataclass
class _Call:
    index: int
    place: object
    """The index that the endpoint gave it, if any."""
    id: str | None = None
    name: str = ""
    waiting: str = ""
    """Arguments that came before the name."""
    characters: Characters = field(default_factory=Characters)


class Calls:
    """Puts pieces of calls in order: which call, its id and name once, its arguments as text.

    Endpoints leave out the index, give all calls the same one, repeat id and name in every piece, or send the
    arguments as an object.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self.made = False
        """Whether the model called anything."""

    def feed(self, piece: Mapping[str, Any]) -> list[ToolCallDelta]:
        """The deltas for one entry of `tool_calls`, or of the older `function_call`."""
        function = piece.get("function")
        function = function if isinstance(function, dict) else piece
        name, given_id = _text(function.get("name")).strip(), _text(piece.get("id"))
        call = self._call(piece.get("index"), given_id, name)
        arguments = call.characters.feed(_arguments(function.get("arguments")))
        if call.name:
            return [ToolCallDelta(call.index, None, None, arguments)] if arguments else []
        call.waiting += arguments
        if not name:
            return []  # without its name nobody can call it
        call.name, arguments, call.waiting = name, call.waiting, ""
        self.made = True
        # Where the endpoint gave no id one is made up, for the history, where the answer names the call.
        return [ToolCallDelta(call.index, call.id or f"call_{uuid4().hex[:16]}", name, arguments)]

    def end(self) -> list[ToolCallDelta]:
        """The pieces that were held back, once nothing follows."""
        ends = ((call, call.characters.end()) for call in self._calls if call.name)
        return [ToolCallDelta(call.index, None, None, rest) for call, rest in ends if rest]

    def _call(self, place: object, given_id: str, name: str) -> _Call:
        """The call that a piece belongs to: the one at its place, unless it looks like the first of another."""
        at_place = [call for call in self._calls if place is None or call.place == place]
        call = at_place[-1] if at_place else None
        if call and given_id and not call.id and not call.name:
            call.id = given_id
        other_id = call is not None and given_id and call.id and given_id != call.id
        if place is None and call and call.name and name and not given_id:
            other_id = True  # two whole calls, without index and id
        if call is None or (other_id and name):
            call = _Call(len(self._calls), place, given_id or None)
            self._calls.append(call)
        return call


def _text(value: object) -> str:
    return clean(value) if isinstance(value, str) else ""


def _arguments(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
