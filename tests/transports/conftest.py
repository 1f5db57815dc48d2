"""For every test of a wire, scripted engines behind it; and the native one."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession

from tests.scripted import Script
from tests.transports.wire import receive
from voice_agent.agent import Agent
from voice_agent.config import ServerSettings, Settings
from voice_agent.transports import native, pace


@pytest.fixture(autouse=True)
def unpaced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audio is heard as fast as a test sends it, where the test is not about that."""
    if "paced" not in request.keywords:
        monkeypatch.setattr(pace, "AHEAD_S", 3600.0)


@pytest.fixture
def script() -> Script:
    script = Script()
    script.generator.delay_s = script.synthesizer.delay_s = script.transcriber.delay_s = 0.0
    return script


@pytest.fixture
def agent(script: Script) -> Agent:
    """It has room for two."""
    agent = Agent(Settings(server=ServerSettings(max_sessions=2)), script.engines())
    agent.ready = True
    return agent


@pytest.fixture
def client(agent: Agent) -> Iterator[TestClient]:
    app = FastAPI()

    @app.websocket("/ws")
    async def _ws(socket: WebSocket) -> None:
        await native.serve(socket, agent)

    with TestClient(app) as client:
        yield client


@pytest.fixture
def wire(client: TestClient) -> Iterator[WebSocketTestSession]:
    """A connection whose session has begun."""
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start"})
        assert receive(socket)["type"] == "ready"
        yield socket
