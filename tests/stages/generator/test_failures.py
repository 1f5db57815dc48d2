"""What an endpoint does wrong: whether it is asked again, and what a person is told."""

import asyncio
import json

import pytest

from tests.stages.generator.serving import (
    DONE,
    HELLO,
    PROMPTLY_S,
    Answer,
    Handler,
    Hanging,
    answers,
    asking,
    breaks_off,
    data,
    finish,
    refuses,
    reply,
    says,
    serving,
)
from voice_agent.errors import ContextTooLong, StageError


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_tries_again_after_a_passing_failure(status: int) -> None:
    async with serving(refuses(status), says("Fine.")) as endpoint, asking(endpoint) as generator:
        assert (await reply(generator.stream(HELLO))).texts == ["Fine."]
    assert len(endpoint.asked) == 2


PASSING: dict[str, Handler] = {
    "cut": breaks_off(),
    "cut after a role": breaks_off({"role": "assistant"}),
    "cut after a thought": breaks_off({"reasoning_content": "Hm"}, "<think>Let me"),
    "ended before it began": answers({"role": "assistant"}),
    "ended in mid-thought": answers({"reasoning_content": "Hm"}),
    "nothing": answers(),
    "503 within": answers(data({"error": {"code": 503, "message": "busy"}})),
    "503 as text": answers(data({"error": {"code": "503", "message": "busy"}})),
    "503 beside it": answers(data({"error": "busy", "code": 503})),
    "429 within": answers(data({"error": {"code": 429, "message": "slow down"}})),
    "error in words": answers(data({"error": "busy"})),
    "error that is true": answers(data({"error": True, "message": "busy"})),
    "error of a list": answers(data({"errors": [{"message": "busy"}]})),
    "detail": answers(data({"detail": "busy"})),
    "object": answers(data({"object": "error", "message": "busy", "code": 503})),
    "Anthropic's": answers(data({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})),
    "message and code": answers(data({"message": "busy", "code": 503})),
    "message and status": answers(data({"msg": "busy", "status": 503})),
    "event": answers('event: error\ndata: {"message": "busy"}\n\n'),
    "event in words": answers("event: error\ndata: busy\n\n"),
    "event of an error": answers(f"event: error\n{data({'error': {'message': 'busy'}})}"),
    "of a choice": answers(data({"choices": [{"index": 0, "error": {"code": 502, "message": "busy"}}]})),
    "a reason": answers(finish("error")),
    "a reason in capitals": answers(finish("ABORT")),
    "after a thought": answers({"reasoning": "Hm"}, data({"error": {"code": 503, "message": "busy"}})),
    "plain JSON": answers(b'{"error": {"message": "busy"}}', kind="application/json"),
    "page": answers(b"<html>Bad gateway</html>", kind="text/html"),
    "plain text": answers(b"upstream error", kind="text/plain"),
    "half an event": answers(b'data: {"choices": [{"del'),
    "nonsense": answers("data: {nonsense\n\n"),
    "too deep": answers(b"data: " + b"[" * 100_000 + b"\n\n"),
}


@pytest.mark.parametrize("row", PASSING)
async def test_tries_again_after_a_failure_within_the_stream_before_the_first_text(row: str) -> None:
    async with serving(PASSING[row], says("Fine.")) as endpoint, asking(endpoint) as generator:
        assert (await reply(generator.stream(HELLO))).texts == ["Fine."]
    assert len(endpoint.asked) == 2


async def test_gives_up_after_the_attempts_that_are_due() -> None:
    async with serving(refuses(500, "out of memory")) as endpoint, asking(endpoint, retries=1) as generator:
        with pytest.raises(StageError, match="out of memory") as failure:
            await reply(generator.stream(HELLO))
    assert failure.value.stage == "generator"
    assert len(endpoint.asked) == 2


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (refuses(400, "bad words", param="messages"), "bad words"),
        (refuses(401, "bad key"), "VOICE_AGENT_LLM__API_KEY or OPENAI_API_KEY"),
        (refuses(403, "not yours"), "VOICE_AGENT_LLM__API_KEY or OPENAI_API_KEY"),
        (refuses(404, "no such model"), "'parrot'.*VOICE_AGENT_LLM__MODEL.*VOICE_AGENT_LLM__BASE_URL"),
        (refuses(429, "pay first", code="insufficient_quota"), "no more requests.*pay first"),
        (refuses(429, "slow down", headers={"Retry-After": "30"}), "no more requests.*slow down"),
        (answers(data({"error": {"code": 401, "message": "bad key"}})), "VOICE_AGENT_LLM__API_KEY"),
        (answers(data({"error": {"type": "invalid_request_error", "message": "odd"}})), "odd"),
        (answers(b"<h1>No</h1>", status=402, kind="text/html"), "402"),
    ],
)
async def test_does_not_try_again_where_that_would_not_help(handler: Handler, message: str) -> None:
    async with serving(handler) as endpoint, asking(endpoint) as generator:
        with pytest.raises(StageError, match=message):
            await reply(generator.stream(HELLO))
    assert len(endpoint.asked) == 1


async def test_what_an_endpoint_says_forges_no_line_of_the_log() -> None:
    refusal = refuses(400, "no\n2026-01-01 ERROR all is lost\x1b[2J" + "!" * 100_000, param="messages")
    async with serving(refusal) as endpoint, asking(endpoint) as generator:
        with pytest.raises(StageError) as failure:
            await reply(generator.stream(HELLO))
    said = str(failure.value)
    assert "no 2026-01-01 ERROR all is lost[2J!" in said
    assert len(said) < 1000


LONG = [
    "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
    "the request exceeds the available context size (2048 tokens), try increasing it",
    "The decoder prompt (length 9) is longer than the maximum model length of 8",
    "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    "prompt is too long: 210000 tokens > 200000 maximum",
    "The input token count (9) exceeds the maximum number of tokens allowed (8)",
    "Prompt contains 9 tokens, too large for model with 8 maximum context length",
    "`inputs` tokens + `max_new_tokens` must be <= 4096",
    "Please reduce the length of the messages or completion.",
    "Input is too long for requested model.",
    "This model's maximum prompt length is 8 but the request contains 9 tokens.",
]


@pytest.mark.parametrize(
    "handler",
    [
        refuses(400, "no", code="context_length_exceeded"),
        refuses(400, "no", type="exceed_context_size_error"),
        refuses(413, "no"),
        answers(data({"error": {"message": LONG[0]}})),
        *(refuses(400, message) for message in LONG),
        refuses(422, LONG[0]),
        refuses(500, LONG[1]),
        answers(json.dumps({"detail": LONG[0]}).encode(), status=400, kind="application/json"),
        refuses(
            429, "Request too large for m: the input or output tokens must be reduced to run successfully"
        ),
    ],
)
async def test_a_conversation_that_is_too_long_is_told_from_other_failures(handler: Handler) -> None:
    async with serving(handler) as endpoint, asking(endpoint) as generator:
        with pytest.raises(ContextTooLong, match="longer than parrot can read"):
            await reply(generator.stream(HELLO))
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [(429, "Too many tokens, please wait"), (400, "bad request"), (500, "too long ago")],
)
async def test_other_failures_are_not_taken_for_that(status: int, message: str) -> None:
    async with serving(refuses(status, message)) as endpoint, asking(endpoint, retries=0) as generator:
        with pytest.raises(StageError) as failure:
            await reply(generator.stream(HELLO))
    assert not isinstance(failure.value, ContextTooLong)


async def test_a_pause_that_the_endpoint_asks_for_is_kept_if_short() -> None:
    busy = refuses(429, headers={"Retry-After": "0.3"})
    clock = asyncio.get_running_loop().time
    async with serving(busy, says("Fine.")) as endpoint, asking(endpoint) as generator:
        began = clock()
        assert (await reply(generator.stream(HELLO))).texts == ["Fine."]
        assert clock() - began >= 0.3


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (Hanging(("One",)), r"nothing for 0\.2 s \(VOICE_AGENT_LLM__TOKEN_TIMEOUT_S\)"),
        (breaks_off("One"), "broke off in the middle"),
        (answers("One", "data: {nonsense\n\n"), "no OpenAI-compatible API"),
        (answers("One", data({"error": {"message": "the GPU fell off"}})), "the GPU fell off"),
        (answers("One", finish("error"), DONE), "gave the reply up"),
    ],
    ids=["time-out", "cut", "malformed", "error", "given up"],
)
async def test_after_the_first_text_a_failure_ends_the_reply(handler: Handler, message: str) -> None:
    answer = Answer()
    async with serving(handler) as endpoint, asking(endpoint, token_timeout_s=0.2) as generator:
        with pytest.raises(StageError, match=message):
            async with asyncio.timeout(PROMPTLY_S):
                async for delta in generator.stream(HELLO):
                    answer.take(delta)
    assert answer.texts == ["One"]
    assert len(endpoint.asked) == 1


async def test_after_a_call_of_a_function_there_is_no_second_attempt() -> None:
    calls = {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "a", "arguments": "{"}}]}
    async with serving(breaks_off(calls)) as endpoint, asking(endpoint) as generator:
        with pytest.raises(StageError, match="broke off"):
            await reply(generator.stream(HELLO))
    assert len(endpoint.asked) == 1
