"""How calls of functions come in a model's stream, row by row, over real HTTP."""

from typing import Any

import pytest

from tests.stages.generator.serving import (
    DONE,
    Endpoint,
    Piece,
    finish,
    read,
)
from voice_agent.stages.generator.deltas import Finish

pytestmark = pytest.mark.asyncio(loop_scope="module")


def call(**fields: Any) -> dict[str, Any]:
    return {"tool_calls": [fields]}


ROME = '{"in": "Rome"}'
RAIN = {"name": "weather", "arguments": ROME}
CALLS: dict[str, tuple[list[Piece], list[tuple[str | None, str, str]]]] = {
    "in pieces": (
        [
            call(index=0, id="c1", type="function", function={"name": "weather", "arguments": ""}),
            call(index=0, function={"arguments": '{"in": '}),
            call(index=0, function={"arguments": '"Rome"}'}),
        ],
        [("c1", "weather", '{"in": "Rome"}')],
    ),
    "whole": ([call(index=0, id="c1", function=RAIN)], [("c1", "weather", ROME)]),
    "no id": ([call(index=0, function=RAIN)], [(None, "weather", ROME)]),
    "no index": ([call(id="c1", function=RAIN)], [("c1", "weather", ROME)]),
    "no index, in pieces": (
        [call(id="c1", function={"name": "weather"}), call(function={"arguments": "{}"})],
        [("c1", "weather", "{}")],
    ),
    "two without index": (
        [{"tool_calls": [{"id": "c1", "function": RAIN}, {"id": "c2", "function": RAIN}]}],
        [("c1", "weather", ROME), ("c2", "weather", ROME)],
    ),
    "two without index and id": (
        [{"tool_calls": [{"function": RAIN}, {"function": RAIN}]}],
        [(None, "weather", ROME), (None, "weather", ROME)],
    ),
    "two with the same index": (
        [call(index=0, id="c1", function=RAIN), call(index=0, id="c2", function=RAIN)],
        [("c1", "weather", ROME), ("c2", "weather", ROME)],
    ),
    "two by turns": (
        [
            call(index=0, id="c1", function={"name": "a"}),
            call(index=1, id="c2", function={"name": "b"}),
            call(index=0, function={"arguments": "1"}),
            call(index=1, function={"arguments": "2"}),
        ],
        [("c1", "a", "1"), ("c2", "b", "2")],
    ),
    "id and name in each piece": (
        [call(index=0, id="c1", function={"name": "a", "arguments": piece}) for piece in ("{", "}")],
        [("c1", "a", "{}")],
    ),
    "arguments null": ([call(index=0, id="c1", function={"name": "a", "arguments": None})], [("c1", "a", "")]),
    "arguments as object": (
        [call(index=0, id="c1", function={"name": "a", "arguments": {"in": "Köln"}})],
        [("c1", "a", '{"in": "Köln"}')],
    ),
    "arguments before the name": (
        [call(index=0, id="c1", function={"arguments": "{"}), call(index=0, function={"name": "a", "arguments": "}"})],
        [("c1", "a", "{}")],
    ),
    "half a character in each": (
        [
            call(index=0, id="c1", function={"name": "a", "arguments": "\ud83d"}),
            call(index=0, function={"arguments": "\udc4d"}),
        ],
        [("c1", "a", "👍")],
    ),
    "no name": ([call(index=0, id="c1", function={"arguments": "{}"})], []),
    "of nothing": ([{"tool_calls": [None, 5, {}]}, {"tool_calls": None}, {"tool_calls": {}}], []),
    "not in a list": ([{"tool_calls": {"id": "c1", "function": RAIN}}], [("c1", "weather", ROME)]),
    "the older way": (
        [{"function_call": {"name": "a", "arguments": "{"}}, {"function_call": {"arguments": "}"}}],
        [(None, "a", "{}")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", CALLS)
@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
async def test_calls_arrive(endpoint: Endpoint, row: str, reason: str) -> None:
    pieces, calls = CALLS[row]
    answer = await read(endpoint, *pieces, finish(reason), DONE)
    ids = [given for given, _, _ in answer.calls]
    assert all(ids) and len(set(ids)) == len(ids)
    assert [
        (wanted and given, name, rest)
        for (given, name, rest), (wanted, _, _) in zip(answer.calls, calls, strict=True)
    ] == calls
    assert answer.end == Finish("tool_calls" if calls or reason == "tool_calls" else "stop")
