"""Which engine the settings choose, where it is, and which way leads there."""

import asyncio
import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from tests.stages.generator.serving import HELLO, answers, asking, data, refuses, reply, says, serving
from voice_agent.config import LlmSettings, ModelsSettings, Settings
from voice_agent.doctor import examine
from voice_agent.engines import build_generator
from voice_agent.errors import SettingsError, StageError
from voice_agent.loopback import is_loopback
from voice_agent.stages.generator.llamacpp import LlamaCppGenerator
from voice_agent.stages.generator.openai_api import OPENAI_MODEL, OpenAIGenerator


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
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment\n")
    generator = built()
    assert isinstance(generator, OpenAIGenerator)
    assert generator.endpoint.url == "https://api.openai.com/v1"
    assert generator.endpoint.key == "from-environment"
    assert generator.model == OPENAI_MODEL
    monkeypatch.setenv("OPENAI_BASE_URL", "http://host/v1")
    generator = built(api_key="from-settings")
    assert isinstance(generator, OpenAIGenerator)
    assert (generator.endpoint.url, generator.endpoint.key) == ("http://host/v1", "from-settings")


def test_variables_that_are_empty_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("OPENAI_BASE_URL", " ")
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


# Where conversations go


DESTINATIONS = [
    ({}, {}, "conversations stay on this machine (embedded llama.cpp, qwen2.5-coder-0.5b-instruct)"),
    ({"OPENAI_API_KEY": "k"}, {}, "conversations go to api.openai.com (from OPENAI_API_KEY)"),
    ({}, {"api_key": "k"}, "conversations go to api.openai.com (from llm.api_key)"),
    ({"OPENAI_BASE_URL": "https://host:8/v1"}, {}, "conversations go to host:8 (from OPENAI_BASE_URL)"),
    (
        {"OPENAI_API_KEY": "k"},
        {"base_url": "http://localhost:11434/v1"},
        "conversations go to localhost:11434, on this machine (from llm.base_url)",
    ),
    ({}, {"base_url": "http://me:secret@host/v1"}, "conversations go to host (from llm.base_url)"),
]


@pytest.mark.parametrize(("variables", "settings", "said"), DESTINATIONS)
def test_it_says_where_conversations_go(
    variables: dict[str, str], settings: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert built(**settings).destination == said
    shown = [finding.found for finding in examine(Settings(llm=LlmSettings(**settings)))]
    assert any(said in found for found in shown)
    assert not any("secret" in found for found in shown)


def test_the_doctor_names_what_is_missing_and_goes_on() -> None:
    findings = list(examine(Settings(llm=LlmSettings(engine="openai"))))
    assert [finding.what for finding in findings if "VOICE_AGENT_LLM__BASE_URL" in finding.found] == [
        "engines"
    ]
    assert findings[-1].what == "port"


async def test_the_log_says_it_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(says("Hi.")) as endpoint, asking(endpoint) as generator:
        await generator.start()
        assert generator.destination in caplog.messages


async def test_a_password_in_the_url_is_not_told() -> None:
    generator = built(base_url="http://me:secret@127.0.0.1:1/v1", model="m")
    with pytest.raises(StageError, match=r"http://127\.0\.0\.1:1/v1") as failure:
        await generator.start()
    assert "secret" not in str(failure.value)
    await generator.close()


# Proxies


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:80/v1", True),
        ("http://127.8.9.1", True),
        ("http://127.1", True),
        ("http://localhost/v1", True),
        ("http://LOCALHOST.:1", True),
        ("http://llm.localhost", True),
        ("http://[::1]:80/v1", True),
        ("http://[::ffff:127.0.0.1]", True),
        ("http://0.0.0.0:80", True),
        ("http://me:pw@localhost", True),
        ("http://10.0.0.1", False),
        ("http://128.0.0.1", False),
        ("http://localhost.example", False),
        ("http://example/127.0.0.1", False),
        ("http://127.0.0.1.example", False),
        ("http://127", False),
        ("nonsense", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_which_urls_are_on_this_machine(url: str, here: bool) -> None:
    assert is_loopback(url) is here


PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense"])
async def test_no_proxy_leads_to_this_machine(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with serving(says("Hi.")) as endpoint:
        for url in (endpoint.url, endpoint.url.replace("127.0.0.1", "localhost")):
            async with asking(endpoint, base_url=url, model=None) as generator:
                await generator.start()
                assert (await reply(generator.stream(HELLO))).text == "Hi."
            settings = Settings(llm=LlmSettings(base_url=url))
            found = await asyncio.to_thread(list, examine(settings))
            assert any(finding.found == f"{url} answers" for finding in found)


async def test_other_hosts_are_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        generator = built(base_url="http://llm.invalid/v1", model="m")
        with pytest.raises(StageError, match=r"can't reach"):
            await generator.start()
        await generator.close()
    assert asked[0].startswith(b"POST http://llm.invalid/v1/chat/completions")


@pytest.mark.parametrize("proxy", ["socks4://127.0.0.1:9", "nonsense://"])
def test_a_proxy_that_can_not_be_used_is_named(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(SettingsError, match=r"ALL_PROXY.*NO_PROXY"):
        built(base_url="http://llm.invalid/v1")


@pytest.mark.parametrize("by", ["llm.base_url", "OPENAI_BASE_URL"])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        *((f"http://127.0.0.1:{port}/v1", "port") for port in ("99999", "65536", "-1", "0")),
        *((url, "no host") for url in ("http://", "http:///v1", "http://:4100/v1", "https://./v1")),
        *(
            (url, "white space|no URL")
            for url in ("http://a b/v1", "http://a/v 1", "http://a\tb/v1", "http://a\nb")
        ),
        *((url, "http://") for url in ("localhost:11434", "127.0.0.1:8000/v1", "ftp://host/v1")),
        ("http://me:secret@host:99999/v1", "port"),
    ],
)
def test_a_base_url_that_cannot_work_is_named(
    monkeypatch: pytest.MonkeyPatch, by: str, url: str, said: str
) -> None:
    if by == "OPENAI_BASE_URL":
        monkeypatch.setenv(by, url)
    with pytest.raises(SettingsError, match=rf"^{by}: .*({said})") as caught:
        built(**({"base_url": url} if by == "llm.base_url" else {}))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("by", ["llm.api_key", "OPENAI_API_KEY"])
@pytest.mark.parametrize(
    "key", ["sk-secret\nx", "sk-secret\rx", "sk-secret\x00", "sk-secret\x7f", "sk-secrét"]
)
def test_a_key_that_no_header_can_carry_is_named_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, by: str, key: str
) -> None:
    if by == "OPENAI_API_KEY":
        monkeypatch.setattr("os.environ", {by: key})
    with pytest.raises(SettingsError, match=rf"^{by}: ") as caught:
        built(**({"api_key": key} if by == "llm.api_key" else {}))
    assert "sec" not in str(caught.value)


async def test_no_error_repeats_the_key(caplog: pytest.LogCaptureFixture) -> None:
    key = "sk-a-secret"
    refusals = {
        "status": refuses(401, f"Incorrect API key provided: {key}"),
        "passing": refuses(503, f"no room for {key}"),
        "no JSON": answers(f"data: {key}\n\n"),
        "in the stream": answers("Hi", data({"error": {"message": f"{key} is used up"}})),
    }
    for handler in refusals.values():
        async with serving(handler) as endpoint, asking(endpoint, api_key=key, retries=1) as generator:
            with pytest.raises(StageError) as caught:
                await reply(generator.stream(HELLO))
            assert key not in "".join(traceback.format_exception(caught.value))
            with pytest.raises(StageError) as caught:
                await generator.start()
            assert key not in "".join(traceback.format_exception(caught.value))
    assert key not in caplog.text


@pytest.mark.parametrize(
    "to", ["http://127.0.0.1:99999/x", "http://:80/x", "http://[/", "gopher://x", "http://a b"]
)
async def test_a_redirection_to_nowhere_is_a_failure_like_another(to: str) -> None:
    async def handler(_: Request) -> Response:
        return Response(status_code=307, headers={"location": to})

    async with serving(handler) as endpoint, asking(endpoint, retries=0) as generator:
        with pytest.raises(StageError, match=r"can't reach .*BASE_URL"):
            await generator.start()
        with pytest.raises(StageError, match="BASE_URL"):
            await reply(generator.stream(HELLO))
