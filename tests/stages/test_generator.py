"""The openai client against a server that does as the test says, over real HTTP."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from voice_agent.config import LlmSettings, ModelsSettings
from voice_agent.engines import build_generator
from voice_agent.errors import SettingsError, StageError
from voice_agent.stages.generator.llamacpp import LlamaCppGenerator
from voice_agent.stages.generator.openai_api import OPENAI_MODEL, SYSTEM_PROMPT, OpenAIGenerator
from voice_agent.stages.generator.request import Message
from voice_agent.stages.generator.request import Request as Asked
from voice_agent.stages.generator.thoughts import ThoughtFilter

HELLO = Asked((Message("system", "Be brief."), Message("user", "Hello!")))
PROMPTLY_S = 5.0
"""Bound on what takes milliseconds, so that a test fails and does not hang."""

Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class Endpoint:
    """An OpenAI-compatible API. Each request for a reply takes the next handler; the last one stays."""

    handlers: list[Handler]
    url: str = ""
    models: list[str] = field(default_factory=lambda: ["first-model", "second-model"])
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    connections: list[object] = field(default_factory=list)
    """Address of the client, for each request."""

    async def reply(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("authorization"))
        self.connections.append(request.client)
        return await (self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0])(request)

    async def list(self, request: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
        )


@asynccontextmanager
async def serving(*handlers: Handler) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(list(handlers))
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", endpoint.reply, methods=["POST"]),
            Route("/v1/models", endpoint.list),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        endpoint.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        task = asyncio.create_task(server.serve([listening]))
        yield endpoint
        server.should_exit = server.force_exit = True
        await task


def event(**delta: Any) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta, 'finish_reason': None}]})}\n\n"


def encoded(pieces: Iterable[str]) -> Iterator[str]:
    """The beginning of a stream; what begins with `data:` goes out as it is."""
    yield event(role="assistant", content="")
    for piece in pieces:
        yield piece if piece.startswith("data:") else event(content=piece)


def says(*pieces: str) -> Handler:
    """A handler that streams `pieces`."""

    async def handler(_: Request) -> Response:
        async def body() -> AsyncIterator[str]:
            for line in encoded(pieces):
                yield line
            yield "data: [DONE]\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    return handler


def breaks_off(*pieces: str) -> Handler:
    """A handler whose connection is cut after `pieces`."""

    async def handler(_: Request) -> Response:
        async def body() -> AsyncIterator[str]:
            for line in encoded(pieces):
                yield line
            raise ConnectionAbortedError

        return StreamingResponse(body(), media_type="text/event-stream")

    return handler


@dataclass
class Hanging:
    """A handler that says its pieces and then nothing, until the client leaves."""

    pieces: tuple[str, ...] = ()
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, _: Request) -> Response:
        async def body() -> AsyncIterator[str]:
            try:
                for line in encoded(self.pieces):
                    yield line
                self.waiting.set()
                await asyncio.Event().wait()
            finally:
                self.left.set()

        return StreamingResponse(body(), media_type="text/event-stream")


def refuses(status: int, message: str = "no", headers: dict[str, str] | None = None, **error: Any) -> Handler:
    async def handler(_: Request) -> Response:
        return JSONResponse({"error": {"message": message, **error}}, status, headers)

    return handler


@asynccontextmanager
async def asking(endpoint: Endpoint, **settings: Any) -> AsyncIterator[OpenAIGenerator]:
    generator = OpenAIGenerator(LlmSettings(**{"base_url": endpoint.url, "model": "parrot", **settings}))
    yield generator
    await generator.close()


async def reply(generator: OpenAIGenerator) -> list[str]:
    async with asyncio.timeout(PROMPTLY_S):
        return [text async for text in generator.stream(HELLO)]


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


# Replies


async def test_gives_the_deltas_as_they_come_and_asks_for_what_the_settings_say() -> None:
    async with serving(says("Good ", "morning", ".")) as endpoint:
        options = {"temperature": 0.1, "max_tokens": 7, "extra_body": {"top_k": 3}}
        async with asking(endpoint, api_key="secret", **options) as generator:
            assert await reply(generator) == ["Good ", "morning", "."]
    assert endpoint.asked == [
        {
            "model": "parrot",
            "messages": [{"role": m.role, "content": m.content} for m in HELLO],
            "stream": True,
            "temperature": 0.1,
            "max_tokens": 7,
            "top_k": 3,
        }
    ]
    assert endpoint.keys == ["Bearer secret"]


async def test_pieces_without_text_are_skipped() -> None:
    odd = [
        event(content=None),
        event(),
        'data: {"choices": []}\n\n',
        'data: {"choices": null}\n\n',
        'data: {"choices": [{}]}\n\n',
        'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
        'data: {"usage": {"total_tokens": 3}}\n\n',
        "data: 5\n\n",
    ]
    async with serving(says("One", *odd, " two")) as endpoint, asking(endpoint) as generator:
        assert await reply(generator) == ["One", " two"]


async def test_thoughts_are_not_spoken() -> None:
    thoughts = [
        event(reasoning_content="Hm. "),
        event(reasoning="So. "),
        "<thi",
        "nk>They greet",
        " me</thin",
        "k>",
    ]
    async with serving(says(*thoughts, "\n\n", "Hello", " <b")) as endpoint, asking(endpoint) as generator:
        assert "".join(await reply(generator)) == "Hello <b"


async def test_a_thought_is_a_sign_of_life() -> None:
    waits = {"first_token_timeout_s": 60.0, "token_timeout_s": 0.05}
    thinks = Hanging((event(reasoning_content="Let me see"),))
    async with serving(thinks) as endpoint, asking(endpoint, **waits) as generator:
        with pytest.raises(StageError, match=r"nothing for 0\.05 s \(VOICE_AGENT_LLM__TOKEN_TIMEOUT_S\)"):
            await reply(generator)
    assert len(endpoint.asked) == 1


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "th", "a b", " ", "k>"]), max_size=8), st.data())
def test_thoughts_are_cut_out_wherever_the_pieces_end(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    whole = ThoughtFilter()
    expected = whole.feed(text) + whole.rest()
    assert "<think>" not in expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    cut = ThoughtFilter()
    assert "".join(map(cut.feed, pieces)) + cut.rest() == expected


def test_text_that_is_no_thought_is_held_back_no_longer_than_it_could_become_one() -> None:
    cut = ThoughtFilter()
    assert [cut.feed(piece) for piece in ("a <", "b> <thi", "s is> c")] == ["a ", "<b> ", "<this is> c"]


async def test_one_connection_serves_turn_after_turn() -> None:
    async with serving(says("Yes.")) as endpoint, asking(endpoint) as generator:
        await generator.start()
        await reply(generator)
        await reply(generator)
    assert len(endpoint.connections) == 3
    assert len(set(endpoint.connections)) == 1


# Failing, and trying again


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_tries_again_after_a_passing_failure(status: int) -> None:
    async with serving(refuses(status), says("Fine.")) as endpoint, asking(endpoint) as generator:
        assert await reply(generator) == ["Fine."]
    assert len(endpoint.asked) == 2


async def test_tries_again_after_a_connection_that_breaks_off_before_the_first_token() -> None:
    async with serving(breaks_off(), says("Fine.")) as endpoint, asking(endpoint) as generator:
        assert await reply(generator) == ["Fine."]


async def test_gives_up_after_the_attempts_that_are_due() -> None:
    async with serving(refuses(500, "out of memory")) as endpoint, asking(endpoint, retries=1) as generator:
        with pytest.raises(StageError, match="out of memory") as failure:
            await reply(generator)
    assert failure.value.stage == "generator"
    assert len(endpoint.asked) == 2


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (refuses(400, "bad temperature"), "bad temperature"),
        (refuses(401, "bad key"), "VOICE_AGENT_LLM__API_KEY or OPENAI_API_KEY"),
        (refuses(403, "not yours"), "VOICE_AGENT_LLM__API_KEY or OPENAI_API_KEY"),
        (refuses(404, "no such model"), "'parrot'.*VOICE_AGENT_LLM__MODEL.*VOICE_AGENT_LLM__BASE_URL"),
        (refuses(429, "pay first", code="insufficient_quota"), "no more requests.*pay first"),
        (refuses(429, "slow down", headers={"Retry-After": "30"}), "no more requests.*slow down"),
        (refuses(400, "too long", code="context_length_exceeded"), "longer than parrot can read"),
        (refuses(400, "too long", type="exceed_context_size_error"), "longer than parrot can read"),
        (refuses(400, "maximum context length is 8"), "longer than parrot can read"),
    ],
)
async def test_does_not_try_again_where_that_would_not_help(handler: Handler, message: str) -> None:
    async with serving(handler) as endpoint, asking(endpoint) as generator:
        with pytest.raises(StageError, match=message):
            await reply(generator)
    assert len(endpoint.asked) == 1


async def test_a_pause_that_the_endpoint_asks_for_is_kept_if_short() -> None:
    busy = refuses(429, headers={"Retry-After": "0.3"})
    clock = asyncio.get_running_loop().time
    async with serving(busy, says("Fine.")) as endpoint, asking(endpoint) as generator:
        began = clock()
        assert await reply(generator) == ["Fine."]
        assert clock() - began >= 0.3


async def test_a_first_token_that_does_not_come_is_asked_for_again_and_the_stream_closed() -> None:
    silent = Hanging()
    answers = serving(silent, says("Fine."))
    async with answers as endpoint, asking(endpoint, first_token_timeout_s=0.5) as generator:
        assert await reply(generator) == ["Fine."]
        await asyncio.wait_for(silent.left.wait(), PROMPTLY_S)


async def test_no_first_token_at_all_is_an_error_that_names_the_time_out() -> None:
    settings = {"first_token_timeout_s": 0.05, "retries": 1}
    async with serving(Hanging()) as endpoint, asking(endpoint, **settings) as generator:
        with pytest.raises(StageError, match=r"0\.05 s \(VOICE_AGENT_LLM__FIRST_TOKEN_TIMEOUT_S\)"):
            await reply(generator)
    assert len(endpoint.asked) == 2


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (Hanging(("One",)), "TOKEN_TIMEOUT_S"),
        (breaks_off("One"), "broke off in the middle"),
        (says("One", "data: {nonsense\n\n"), "no OpenAI-compatible API"),
        (says("One", 'data: {"error": {"message": "the GPU fell off"}}\n\n'), "the GPU fell off"),
    ],
    ids=["time-out", "cut", "malformed", "error"],
)
async def test_after_the_first_token_a_failure_ends_the_reply(handler: Handler, message: str) -> None:
    heard = []
    async with serving(handler) as endpoint, asking(endpoint, token_timeout_s=0.2) as generator:
        with pytest.raises(StageError, match=message):
            async with asyncio.timeout(PROMPTLY_S):
                async for text in generator.stream(HELLO):
                    heard.append(text)
    assert heard == ["One"]
    assert len(endpoint.asked) == 1


# Leaving


async def test_cancelling_before_the_first_token_closes_the_stream() -> None:
    silent = Hanging()
    async with serving(silent) as endpoint, asking(endpoint) as generator:
        task = asyncio.create_task(reply(generator))
        await asyncio.wait_for(silent.waiting.wait(), PROMPTLY_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(silent.left.wait(), PROMPTLY_S)
    assert len(endpoint.asked) == 1


async def test_cancelling_in_mid_reply_closes_the_stream() -> None:
    talking = Hanging(("One", "two"))
    async with serving(talking) as endpoint, asking(endpoint) as generator:
        task = asyncio.create_task(reply(generator))
        await asyncio.wait_for(talking.waiting.wait(), PROMPTLY_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(talking.left.wait(), PROMPTLY_S)


async def test_leaving_the_iteration_closes_the_stream() -> None:
    talking = Hanging(("One", "two"))
    async with serving(talking) as endpoint, asking(endpoint) as generator:
        async with asyncio.timeout(PROMPTLY_S), aclosing(generator.stream(HELLO)) as texts:
            assert await anext(texts) == "One"
        await asyncio.wait_for(talking.left.wait(), PROMPTLY_S)


async def test_a_slow_listener_is_not_a_slow_model() -> None:
    async with serving(says("One", "two")) as endpoint, asking(endpoint, token_timeout_s=0.05) as generator:
        heard = []
        async for text in generator.stream(HELLO):
            heard.append(text)
            await asyncio.sleep(0.1)  # the listener; nothing is waited for
    assert heard == ["One", "two"]


# Start


async def test_without_a_model_the_first_that_is_offered_is_taken() -> None:
    async with serving(says("Hi.")) as endpoint, asking(endpoint, model=None) as generator:
        await generator.start()
        assert generator.model == "first-model"
    assert [asked["model"] for asked in endpoint.asked] == ["first-model"]


async def test_start_has_the_model_read_the_instructions_that_are_used_by_default() -> None:
    async with serving(says("Hi.")) as endpoint, asking(endpoint) as generator:
        await generator.start()
        assert generator.instructions == SYSTEM_PROMPT
    assert endpoint.asked[0]["messages"][0] == {"role": "system", "content": SYSTEM_PROMPT}


async def test_options_that_a_model_refuses_are_left_out_from_then_on() -> None:
    no_limit = refuses(400, "use max_completion_tokens", param="max_tokens")
    no_temperature = refuses(400, "only 1", param="temperature")
    async with serving(no_limit, no_temperature, says("Hi.")) as endpoint, asking(endpoint) as generator:
        await generator.start()
        await reply(generator)
    assert len(endpoint.asked) == 4
    assert endpoint.asked[-1].keys() == {"model", "messages", "stream", "max_completion_tokens"}


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (refuses(401, "bad key"), "VOICE_AGENT_LLM__API_KEY or OPENAI_API_KEY"),
        (refuses(404, "no such model"), "VOICE_AGENT_LLM__MODEL"),
        (refuses(400, "odd", param="messages"), "odd"),
        (Hanging(), "VOICE_AGENT_LLM__FIRST_TOKEN_TIMEOUT_S"),
    ],
    ids=["key", "model", "request", "time-out"],
)
async def test_start_fails_with_the_setting_that_is_wrong(handler: Handler, message: str) -> None:
    async with serving(handler) as endpoint, asking(endpoint, first_token_timeout_s=0.2) as generator:
        with pytest.raises(StageError, match=message):
            await generator.start()


async def test_start_says_that_a_web_page_is_no_api() -> None:
    async def page(_: Request) -> Response:
        return HTMLResponse("<h1>Welcome</h1>")

    async with serving(page) as endpoint, asking(endpoint) as generator:
        with pytest.raises(StageError, match=r"no OpenAI-compatible API.*VOICE_AGENT_LLM__BASE_URL"):
            await generator.start()


async def test_start_fails_where_no_model_is_offered() -> None:
    async with serving(says("Hi.")) as endpoint, asking(endpoint, model=None) as generator:
        endpoint.models.clear()
        with pytest.raises(StageError, match="VOICE_AGENT_LLM__MODEL"):
            await generator.start()


async def test_start_fails_where_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    generator = OpenAIGenerator(LlmSettings(base_url=f"http://127.0.0.1:{port}/v1", model="parrot"))
    with pytest.raises(StageError, match=rf"can't reach .*:{port}/v1.*VOICE_AGENT_LLM__BASE_URL"):
        await generator.start()
    await generator.close()


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "nonsense", "http://[", "ftp://host/v1"])
async def test_a_base_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises((StageError, SettingsError), match=r"(?i)base_url"):
        generator = OpenAIGenerator(LlmSettings(base_url=url, model="parrot"))
        try:
            await generator.start()
        finally:
            await generator.close()


# Which engine


def built(**settings: Any) -> LlamaCppGenerator | OpenAIGenerator:
    generator = build_generator(LlmSettings(**settings), ModelsSettings())
    assert isinstance(generator, LlamaCppGenerator | OpenAIGenerator)
    return generator


def test_with_nothing_configured_the_model_is_embedded() -> None:
    assert isinstance(built(), LlamaCppGenerator)
    assert built(model="qwen2.5-coder-0.5b-instruct").model == "qwen2.5-coder-0.5b-instruct"


@pytest.mark.parametrize("settings", [{"base_url": "http://host/v1"}, {"api_key": "secret"}])
def test_a_base_url_or_a_key_chooses_the_api(settings: dict[str, str]) -> None:
    assert isinstance(built(**settings), OpenAIGenerator)
    assert isinstance(built(engine="llamacpp", **settings), LlamaCppGenerator)


def test_the_variables_of_the_openai_client_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    generator = built()
    assert isinstance(generator, OpenAIGenerator)
    assert (generator.url, generator.key) == ("https://api.openai.com/v1", "from-environment")
    assert generator.model == OPENAI_MODEL
    monkeypatch.setenv("OPENAI_BASE_URL", "http://host/v1")
    generator = built(api_key="from-settings")
    assert isinstance(generator, OpenAIGenerator)
    assert (generator.url, generator.key) == ("http://host/v1", "from-settings")


def test_variables_that_are_empty_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert isinstance(built(base_url="", api_key=""), LlamaCppGenerator)


def test_the_api_without_an_endpoint_is_refused() -> None:
    with pytest.raises(SettingsError, match="VOICE_AGENT_LLM__BASE_URL, or OPENAI_API_KEY"):
        built(engine="openai")


async def test_an_embedded_model_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"VOICE_AGENT_LLM__MODEL=gpt.*smollm2-135m-instruct"):
        await built(model="gpt").start()
    with pytest.raises(StageError, match=r"VOICE_AGENT_LLM__MODEL=.*none\.gguf: no such file"):
        await built(model=str(tmp_path / "none.gguf")).start()


async def test_an_embedded_model_that_is_not_started_says_so() -> None:
    with pytest.raises(StageError, match="not started"):
        await anext(built().stream(HELLO))
