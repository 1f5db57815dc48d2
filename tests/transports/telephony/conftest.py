"""A phone, a line, and who answers."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.transports.telephony.phone import PATH, WITHIN_S, Desk, Line, Phone, app_for
from voice_agent.agent import Agent


@pytest.fixture
def client(agent: Agent) -> Iterator[TestClient]:
    with TestClient(app_for(agent)) as client:
        yield client


@pytest.fixture
def phone(client: TestClient) -> Iterator[Phone]:
    """A call that has not begun, to scripted engines."""
    with client.websocket_connect(PATH) as socket:
        yield Phone(client, socket)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def line(desk: Desk) -> Iterator[Line]:
    """A call that has begun, to a stand-in."""
    with TestClient(app_for(desk)) as client, client.websocket_connect(PATH) as socket:
        Phone(client, socket).begin()
        yield Line(client, socket, desk.calls.get(timeout=WITHIN_S))
