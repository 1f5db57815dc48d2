"""The openai client against a server that does as the test says: requests, time, and leaving."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse

from tests.stages.generator.serving import (
    DONE,
    HELLO,
    PROMPTLY_S,
    Handler,
    Hanging,
    asking,
    event,
    finish,
    refuses,
    reply,
    says,
    serving,
    thinks_for_ever,
)
from voice_agent.errors import StageError
from voice_agent.stages.generator.deltas import Finish, TextDelta
from voice_agent.stages.generator.openai_api import FAREWELL_S
from voice_agent.stages.generator.request import Message, Request, Tool, ToolCall

# Requests


async def test_gives_the_deltas_as_they_come_and_asks_for_what_the_settings_say() -> None:
    async with serving(says("Good ", "morning", ".")) as endpoint:
        options = {"temperature": 0.1, "max_tokens": 7, "extra_body": {"top_k": 3}}
        async with asking(endpoint, api_key="secret", **options) as generator:
            answer = await reply(generator.stream(HELLO))
    assert answer.deltas == [*map(TextDelta, ["Good ", "morning", "."]), Finish("stop")]
    assert endpoint.asked == [
        {
            "model": "parrot",
            "messages": [{"role": m.role, "content": m.content} for m in HELLO.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.1,
            "max_tokens": 7,
            "top_k": 3,
        }
    ]
    assert endpoint.keys == ["Bearer secret"]


async def test_tools_and_their_calls_are_on_the_wire_as_openai_has_them() -> None:
    schema = {"type": "object", "properties": {"in": {"type": "string"}}}
    asked = Request(
        messages=(
            Message("user", "Does it rain?"),
            Message("assistant", "", tool_calls=(ToolCall("c1", "weather", '{"in": "Rome"}'),)),
            Message("tool", "No.", tool_call_id="c1"),
        ),
        tools=(Tool("weather", "Tells it.", schema),),
        tool_choice="none",
        max_tokens=5,
    )
    async with serving(says("No.")) as endpoint, asking(endpoint) as generator:
        await reply(generator.stream(asked))
    sent = endpoint.asked[0]
    assert sent["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"in": "Rome"}'},
                }
            ],
        },
        {"role": "tool", "content": "No.", "tool_call_id": "c1"},
    ]
    function = {"name": "weather", "description": "Tells it.", "parameters": schema}
    assert sent["tools"] == [{"type": "function", "function": function}]
    assert (sent["tool_choice"], sent["max_tokens"]) == ("none", 5)


async def test_half_a_character_in_the_history_fails_no_request() -> None:
    asked = Request((Message("user", "Hi \ud83d\x00 there \ud83d\udc4d"),))
    async with serving(says("Hi.")) as endpoint, asking(endpoint) as generator:
        assert (await reply(generator.stream(asked))).text == "Hi."
    assert endpoint.asked[0]["messages"][0]["content"] == "Hi \ufffd there 👍"


async def test_one_connection_serves_turn_after_turn() -> None:
    async with serving(says("Yes.")) as endpoint, asking(endpoint) as generator:
        await generator.start()
        await reply(generator.stream(HELLO))
        await reply(generator.stream(HELLO))
    assert len(endpoint.connections) == 3
    assert len(set(endpoint.connections)) == 1


# The end


async def test_a_reply_is_over_with_its_reason_though_the_connection_stays_open() -> None:
    held = Hanging(("All is done. ", "The last sentence.", finish()))
    async with serving(held) as endpoint, asking(endpoint, token_timeout_s=60.0) as generator:
        answer = await reply(generator.stream(HELLO))
        await asyncio.wait_for(held.left.wait(), PROMPTLY_S)
    assert (answer.text, answer.end) == ("All is done. The last sentence.", Finish("stop"))


async def test_a_reply_goes_on_after_an_end_that_was_told_before_anything_was_said() -> None:
    go_on = asyncio.Event()

    async def handler(_: HttpRequest) -> Response:
        async def body() -> AsyncIterator[str]:
            yield finish(role="assistant", content="")
            await go_on.wait()
            yield event(content="Hello.") + finish() + DONE

        return StreamingResponse(body(), media_type="text/event-stream")

    async with serving(handler) as endpoint, asking(endpoint) as generator:
        asyncio.get_running_loop().call_later(3 * FAREWELL_S, go_on.set)
        assert (await reply(generator.stream(HELLO))).text == "Hello."


async def test_a_reply_is_over_with_a_special_token_though_the_model_runs_on() -> None:
    held = Hanging(("Hello.", "<|im_end|>", "\nuser: What"))
    async with serving(held) as endpoint, asking(endpoint, token_timeout_s=60.0) as generator:
        answer = await reply(generator.stream(HELLO))
    assert (answer.text, answer.end) == ("Hello.", Finish("stop"))


async def test_an_endpoint_that_heeds_no_limit_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_agent.stages.generator.reply.MAX_CHARACTERS", 100)
    endless = Hanging(("Again. ",) * 20)
    async with serving(endless) as endpoint, asking(endpoint, token_timeout_s=60.0) as generator:
        answer = await reply(generator.stream(HELLO))
    assert answer.end == Finish("length")


# Time


async def test_a_first_token_that_does_not_come_is_asked_for_again_and_the_stream_closed() -> None:
    silent = Hanging()
    served = serving(silent, says("Fine."))
    async with served as endpoint, asking(endpoint, first_token_timeout_s=0.5) as generator:
        assert (await reply(generator.stream(HELLO))).texts == ["Fine."]
        await asyncio.wait_for(silent.left.wait(), PROMPTLY_S)


SILENT: dict[str, tuple[Handler, dict[str, float], str, int]] = {
    # What comes, the settings, the setting that is named, and how often it is asked at most.
    "no token": (Hanging(), {"first_token_timeout_s": 0.1}, "nothing for 0.1 s .*FIRST_TOKEN_TIMEOUT_S", 3),
    "a turn": (Hanging(), {"turn_timeout_s": 0.1}, "nothing for 0.1 s .*TURN_TIMEOUT_S", 1),
    "attempts": (
        Hanging(),
        {"turn_timeout_s": 1.0, "first_token_timeout_s": 0.3, "retries": 99},
        "TIMEOUT_S",
        4,
    ),
    "refusals": (refuses(503), {"turn_timeout_s": 0.3, "retries": 99}, "no", 3),
    "thoughts": (
        thinks_for_ever(0.01),
        {"turn_timeout_s": 1.5},
        "only thoughts for 1.5 s .*TURN_TIMEOUT_S.*EXTRA_BODY",
        1,
    ),
    "a thought": (
        Hanging(({"reasoning": "Hm"},)),
        {"token_timeout_s": 0.1},
        "nothing for 0.1 s .*_TOKEN_TIMEOUT_S",
        3,
    ),
    "white space": (Hanging(("  ", "\n")), {"first_token_timeout_s": 0.1}, "FIRST_TOKEN_TIMEOUT_S", 3),
    "signs that are none": (
        Hanging((": ping\n\n", {"content": ""})),
        {"first_token_timeout_s": 0.1},
        "FIRST_TOKEN",
        3,
    ),
}


@pytest.mark.parametrize("row", SILENT)
async def test_every_wait_has_a_bound_and_the_error_names_it(row: str) -> None:
    handler, settings, message, times = SILENT[row]
    async with serving(handler) as endpoint, asking(endpoint, **settings) as generator:
        with pytest.raises(StageError, match=message):
            await reply(generator.stream(HELLO))
    assert 1 <= len(endpoint.asked) <= times


async def test_an_answer_that_thought_first_is_given() -> None:
    thinks = says(*[{"reasoning_content": "Hm. "}] * 20, "Hello.")
    async with serving(thinks) as endpoint, asking(endpoint) as generator:
        answer = await reply(generator.stream(HELLO))
    assert (answer.text, answer.thought) == ("Hello.", "Hm. " * 20)


# Leaving


@pytest.mark.parametrize(
    "said", [(), ("One", "two"), ({"reasoning": "Hm"},)], ids=["before", "amid", "thinking"]
)
async def test_cancelling_closes_the_stream(said: tuple[Any, ...]) -> None:
    talking = Hanging(said)
    async with serving(talking) as endpoint, asking(endpoint) as generator:
        task = asyncio.create_task(reply(generator.stream(HELLO)))
        await asyncio.wait_for(talking.waiting.wait(), PROMPTLY_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(talking.left.wait(), PROMPTLY_S)
    assert len(endpoint.asked) == 1


async def test_leaving_the_iteration_closes_the_stream() -> None:
    talking = Hanging(("One", "two"))
    async with serving(talking) as endpoint, asking(endpoint) as generator:
        async with asyncio.timeout(PROMPTLY_S), aclosing(generator.stream(HELLO)) as deltas:
            assert await anext(deltas) == TextDelta("One")
        await asyncio.wait_for(talking.left.wait(), PROMPTLY_S)


async def test_a_generator_that_is_closed_says_so() -> None:
    async with serving(says("Hi.")) as endpoint, asking(endpoint) as generator:
        await generator.close()
        await generator.close()
        with pytest.raises(StageError, match="closed already"):
            await reply(generator.stream(HELLO))


async def test_text_is_given_before_more_comes() -> None:
    talking = Hanging(("Hello", event(content=" there <")))
    async with (
        serving(talking) as endpoint,
        asking(endpoint) as generator,
        asyncio.timeout(PROMPTLY_S),
        aclosing(generator.stream(HELLO)) as deltas,
    ):
        assert [await anext(deltas) for _ in range(2)] == [TextDelta("Hello"), TextDelta(" there ")]
