"""Coming up: which model, which options it takes, how long it may load."""

import asyncio
import socket
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from tests.stages.generator.serving import (
    HELLO,
    PROMPTLY_S,
    Handler,
    Hanging,
    answers,
    asking,
    data,
    refuses,
    reply,
    says,
    serving,
)
from voice_agent.config import LlmSettings
from voice_agent.errors import SettingsError, StageError
from voice_agent.stages.generator.offered import offered
from voice_agent.stages.generator.openai_api import SYSTEM_PROMPT, OpenAIGenerator
from voice_agent.stages.generator.request import Message
from voice_agent.stages.generator.request import Request as Asked

# Models


async def test_without_a_model_the_first_that_is_offered_is_taken() -> None:
    async with serving(says("Hi.")) as endpoint, asking(endpoint, model=None) as generator:
        await generator.start()
        assert generator.model == "first-model"
    assert [asked["model"] for asked in endpoint.asked] == ["first-model"]


LISTS: dict[str, tuple[Any, list[str]]] = {
    "OpenAI's": ({"data": [{"id": "a"}, {"id": "b"}]}, ["a", "b"]),
    "a list": ([{"id": "a"}, "b"], ["a", "b"]),
    "other names": ({"models": [{"name": "a"}, {"model": "b"}]}, ["a", "b"]),
    "nothing": ({"data": []}, []),
    "odd": ({"data": [None, 5, {}, {"id": None}, {"id": ""}]}, []),
    "data null": ({"data": None}, []),
    "text": ("<html>", []),
    "by type": ({"data": [{"id": "a", "type": "embeddings"}, {"id": "b", "type": "llm"}]}, ["b", "a"]),
    "by what it can": (
        {
            "data": [
                {"id": "a", "capabilities": {"completion_chat": False, "fim": True}},
                {"id": "b", "capabilities": {"completion_chat": True}},
            ]
        },
        ["b", "a"],
    ),
    "by a list of that": (
        {"data": [{"id": "a", "capabilities": ["embed"]}, {"id": "b", "capabilities": ["chat"]}]},
        ["b", "a"],
    ),
}
LISTS |= {
    name: ({"data": [{"id": name}, {"id": "llama3.2:3b"}]}, ["llama3.2:3b", name])
    for name in (
        *("text-embedding-3-small", "nomic-embed-text:latest", "BAAI/bge-m3", "intfloat/e5-large", "all-minilm"),
        *("whisper-1", "gpt-4o-transcribe", "tts-1-hd", "omni-moderation-latest", "dall-e-3", "bge-reranker-v2"),
        *("gpt-realtime", "llama-guard3", "stable-diffusion-xl", "jina-reranker", "Systran/faster-whisper-small"),
    )
}  # fmt: skip


@pytest.mark.parametrize("row", LISTS)
def test_models_that_chat_are_tried_first(row: str) -> None:
    page, names = LISTS[row]
    assert offered(page) == names


async def test_a_model_that_does_not_chat_gives_way_to_the_next() -> None:
    async def chat(request: Request) -> Response:
        model = (await request.json())["model"]
        handler = says("Hi.") if model == "talker" else refuses(400, f'"{model}" does not support chat')
        return await handler(request)

    async with serving(chat) as endpoint, asking(endpoint, model=None) as generator:
        endpoint.models = {"data": [{"id": "text-embed"}, {"id": "mystery"}, {"id": "talker"}]}
        await generator.start()
        assert generator.model == "talker"
        assert (await reply(generator.stream(HELLO))).text == "Hi."
    assert [asked["model"] for asked in endpoint.asked] == ["mystery", "mystery", "talker", "talker"]
    assert "stream_options" in endpoint.asked[-1]  # another model's refusal is not held against this one


@pytest.mark.parametrize("models", [{"data": []}, {"data": None}, 404, 405, 500, "nothing"])
async def test_without_a_list_of_models_the_setting_is_named(models: Any) -> None:
    async with serving(says("Hi.")) as endpoint, asking(endpoint, model=None) as generator:
        endpoint.models = models
        with pytest.raises(StageError, match=r"Set VOICE_AGENT_LLM__MODEL.*VOICE_AGENT_LLM__BASE_URL"):
            await generator.start()
        endpoint.models = {"data": [{"id": "late"}]}
        await generator.start()  # it may come up later
        assert generator.model == "late"


async def test_where_no_model_chats_the_setting_is_named_with_what_there_is() -> None:
    async with serving(refuses(400, "no chat")) as endpoint, asking(endpoint, model=None) as generator:
        endpoint.models = {"data": [{"id": "text-embed"}, {"id": "whisper"}]}
        with pytest.raises(StageError, match=r"text-embed, whisper.*no chat.*Set VOICE_AGENT_LLM__MODEL"):
            await generator.start()


# Options


OPTIONS: dict[str, tuple[Handler, str, str | None]] = {
    # the refusal, what is left out for it, and what comes in its place
    "temperature": (refuses(400, "only 1", param="temperature"), "temperature", None),
    "temperature, param null": (
        refuses(400, "Unsupported value: 'temperature' does not support 0.7 with this model.", param=None),
        "temperature",
        None,
    ),
    "temperature, param None": (
        refuses(400, "This model does not support temperature", param="None"),
        "temperature",
        None,
    ),
    "temperature, no param": (refuses(400, "temperature: not supported"), "temperature", None),
    "limit": (
        refuses(400, "use max_completion_tokens", param="max_tokens"),
        "max_tokens",
        "max_completion_tokens",
    ),
    "limit, no param": (
        refuses(400, "Unsupported parameter: use 'max_completion_tokens' instead"),
        "max_tokens",
        "max_completion_tokens",
    ),
    "stream_options": (refuses(400, "unknown field stream_options"), "stream_options", None),
    "stream_options, pydantic": (
        answers(
            b'{"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], '
            b'"msg": "Extra inputs are not permitted", "input": {"temperature": 0.7}}]}',
            status=422,
            kind="application/json",
        ),
        "stream_options",
        None,
    ),
    "nothing named": (refuses(400, "Bad Request"), "stream_options", None),
}


@pytest.mark.parametrize("row", OPTIONS)
async def test_options_that_a_model_refuses_are_left_out_from_then_on(row: str) -> None:
    refusal, refused, instead = OPTIONS[row]
    async with serving(refusal, says("Hi.")) as endpoint, asking(endpoint) as generator:
        await generator.start()
        await reply(generator.stream(HELLO))
    assert len(endpoint.asked) == 3
    for asked in endpoint.asked[1:]:
        assert endpoint.asked[0].keys() - asked.keys() == {refused}
        assert asked.keys() - endpoint.asked[0].keys() == ({instead} if instead else set())


NO_SYSTEM = [
    refuses(400, "System role not supported"),  # vLLM, with Gemma's template
    refuses(500, "Jinja Exception: System role not supported"),  # llama.cpp
    refuses(422, "Template error: invalid operation: System role not supported (in <string>:1)"),  # TGI
    refuses(400, "Conversation roles must alternate user/assistant/user/assistant/..."),
    refuses(400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
    refuses(
        400,
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        param="messages[0].role",
    ),
    answers(data({"error": {"message": "Only user and assistant roles are supported!"}})),
]


@pytest.mark.parametrize("refusal", NO_SYSTEM)
@pytest.mark.parametrize("starts", [True, False])
async def test_a_model_without_a_system_role_is_told_by_the_user(refusal: Handler, starts: bool) -> None:
    request = Asked(
        (
            Message("system", "Be brief."),
            Message("user", "Hi."),
            Message("assistant", "Hello."),
            Message("system", "It rains."),
            Message("user", "So?"),
        )
    )
    async with serving(refusal, says("Hi.")) as endpoint, asking(endpoint, retries=0) as generator:
        if starts:
            await generator.start()
        assert (await reply(generator.stream(request))).text == "Hi."
        await reply(generator.stream(request))
    assert [asked["messages"][0]["role"] for asked in endpoint.asked] == ["system"] + ["user"] * (2 + starts)
    assert endpoint.asked[-1]["messages"] == [
        {"role": "user", "content": "Be brief.\n\nHi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "It rains.\n\nSo?"},
    ]
    assert {"temperature", "stream_options", "max_tokens"} <= endpoint.asked[-1].keys()


async def test_one_after_the_other() -> None:
    no_limit = refuses(400, "use max_completion_tokens", param="max_tokens")
    no_temperature = refuses(400, "only 1", param="temperature")
    async with serving(no_limit, no_temperature, says("Hi.")) as endpoint, asking(endpoint) as generator:
        await generator.start()
    assert endpoint.asked[-1].keys() == {
        *("model", "messages", "stream", "stream_options", "max_completion_tokens")
    }


async def test_an_option_that_is_refused_in_a_turn_costs_no_reply() -> None:
    refusal = refuses(400, "temperature is not supported while thinking")
    async with serving(refusal, says("Hi.")) as endpoint, asking(endpoint, retries=0) as generator:
        assert (await reply(generator.stream(HELLO))).text == "Hi."


async def test_an_endpoint_that_refuses_everything_is_not_asked_for_ever() -> None:
    refusal = refuses(400, "temperature, max_tokens, max_completion_tokens, stream_options: no")
    async with serving(refusal) as endpoint, asking(endpoint) as generator:
        with pytest.raises(StageError, match="stream_options: no"):
            await generator.start()
    assert len(endpoint.asked) == 5


# Time


async def test_a_model_that_loads_slowly_is_waited_for_by_one_request() -> None:
    loaded = asyncio.Event()

    async def loads(request: Request) -> Response:
        await loaded.wait()
        return await says("Hi.")(request)

    settings = {"first_token_timeout_s": 0.01, "token_timeout_s": 60.0, "turn_timeout_s": 0.01}
    async with serving(loads) as endpoint, asking(endpoint, **settings) as generator:
        starting = asyncio.create_task(generator.start())
        while not endpoint.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        done, _ = await asyncio.wait({starting}, timeout=0.2)
        assert not done
        loaded.set()
        async with asyncio.timeout(PROMPTLY_S):
            await starting
    assert len(endpoint.asked) == 1


async def test_start_has_the_model_read_the_instructions_that_are_used_by_default() -> None:
    async with serving(says("Hi.")) as endpoint, asking(endpoint) as generator:
        await generator.start()
        assert generator.instructions == SYSTEM_PROMPT
    assert endpoint.asked[0]["messages"][0] == {"role": "system", "content": SYSTEM_PROMPT}


# Failing


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (refuses(401, "bad key"), "VOICE_AGENT_LLM__API_KEY or OPENAI_API_KEY"),
        (refuses(404, "no such model"), "VOICE_AGENT_LLM__MODEL"),
        (refuses(400, "odd", param="messages"), "odd"),
        (
            answers(b"<h1>Welcome</h1>", kind="text/html"),
            r"no OpenAI-compatible API.*VOICE_AGENT_LLM__BASE_URL",
        ),
    ],
    ids=["key", "model", "request", "page"],
)
async def test_start_fails_with_the_setting_that_is_wrong(handler: Handler, message: str) -> None:
    async with serving(handler) as endpoint, asking(endpoint) as generator:
        with pytest.raises(StageError, match=message):
            await generator.start()


@pytest.mark.parametrize("model", ["parrot", None])
async def test_a_model_that_never_answers_is_given_up_with_the_setting_that_says_when(
    model: str | None,
) -> None:
    async with (
        serving(Hanging()) as endpoint,
        asking(endpoint, model=model, warm_up_timeout_s=0.5) as generator,
    ):
        with pytest.raises(StageError, match=r"nothing for 0\.5 s \(VOICE_AGENT_LLM__WARM_UP_TIMEOUT_S\)"):
            await generator.start()


async def test_start_fails_where_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    for model in ("parrot", None):
        generator = OpenAIGenerator(LlmSettings(base_url=f"http://127.0.0.1:{port}/v1", model=model))
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
