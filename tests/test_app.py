"""The app as browsers see it, without its engines."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.scripted import Script
from voice_agent import service
from voice_agent.agent import Agent
from voice_agent.config import Settings, SttSettings

ELSEWHERE = {"Origin": "https://elsewhere.example"}


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Agent:
    agent = Agent(Settings(stt=SttSettings(language="de")), Script().engines())
    agent.ready = True
    monkeypatch.setattr(service.app.state, "agent", agent, raising=False)
    return agent


@pytest.fixture
def client(agent: Agent) -> Iterator[TestClient]:
    yield TestClient(service.app)  # not entered: that would load the engines


def test_the_options_name_what_may_be_chosen_and_what_is_so_if_nothing_is(client: TestClient) -> None:
    assert client.get("/options").json() == {
        "voices": ["one", "two"],
        "voice": "one",
        "languages": ["de", "en"],
        "language": "de",
    }


def test_a_language_that_is_detected_has_no_default(client: TestClient, agent: Agent) -> None:
    agent.settings = Settings(stt=SttSettings(language=None))
    assert client.get("/options").json()["language"] is None


def test_there_are_no_options_before_the_engines_are_loaded(client: TestClient, agent: Agent) -> None:
    agent.ready = False
    answer = client.get("/options")
    assert answer.status_code == 503
    assert "still loading" in answer.json()["detail"]
    agent._failures["PiperSynthesizer"] = "tts.voice: there is no 'nobody'"
    assert "there is no 'nobody'" in client.get("/options").json()["detail"]


@pytest.mark.parametrize("path", ["/", "/index.html", "/options"])
def test_a_page_from_elsewhere_may_read_it(client: TestClient, path: str) -> None:
    assert client.get(path, headers=ELSEWHERE).headers["Access-Control-Allow-Origin"] == "*"


def test_a_page_from_elsewhere_is_told_so_even_if_the_server_is_not_ready(
    client: TestClient, agent: Agent
) -> None:
    agent.ready = False
    answer = client.get("/options", headers=ELSEWHERE)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (503, "*")


def test_a_file_is_asked_for_again_each_time_and_sent_only_if_it_has_changed(client: TestClient) -> None:
    first = client.get("/index.html")
    assert first.headers["Cache-Control"] == "no-cache"
    again = client.get("/index.html", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "no-cache")


async def test_it_is_not_ready_while_the_threads_of_an_engine_hang(agent: Agent) -> None:
    bento: Any = service.VoiceAgent
    assert await bento.inner().__is_ready__()
    agent.engines.synthesizer.healthy = False  # type: ignore[attr-defined]
    assert not await bento.inner().__is_ready__()
