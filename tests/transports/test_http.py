"""Plain HTTP, and clients that do not get on with it."""

import asyncio

import pytest

from tests.transports.serving import HANDSHAKE, RawClient, running
from voice_agent.transports import http

REQUEST = b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_WITHIN_S", 0.3)
    monkeypatch.setattr(http, "TAKE_WITHIN_S", 0.3)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET",
        b"GET / HTTP/1.1\r\nHost: here\r\n",
        HANDSHAKE.format(path="/ws").encode()[:-2],
        b"GET /openapi.json HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\nhalf",
        REQUEST + b"GET / HTTP/1.1\r\n",
    ],
    ids=["nothing", "a word", "headers", "half a handshake", "half a body", "half a second request"],
)
async def test_a_request_that_does_not_come_is_not_waited_for(impatient: None, sent: bytes) -> None:
    async with running() as server:
        client = await RawClient.connect(server.port, sent)
        await client.until_closed()
        await server.until_nothing_is_left()


@pytest.mark.parametrize("trickle", [b"X-Endless: 1\r\n", b"x"], ids=["headers", "one header"])
async def test_endless_headers_are_not_waited_for(impatient: None, trickle: bytes) -> None:
    async with running() as server:
        client = await RawClient.connect(server.port, b"GET / HTTP/1.1\r\nHost: here\r\n")

        async def go_on() -> None:
            while True:
                client.writer.write(trickle)
                await client.writer.drain()
                await asyncio.sleep(0.01)

        going_on = asyncio.create_task(go_on())
        await client.until_closed()
        going_on.cancel()
        await asyncio.gather(going_on, return_exceptions=True)
        await server.until_nothing_is_left()


async def test_an_answer_that_is_not_read_is_not_kept(impatient: None) -> None:
    async with running() as server:
        client = await RawClient.connect(
            server.port, b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n", receive_buffer=4096
        )
        await client.reader.readexactly(1000)
        await server.until_nothing_is_left()


async def test_who_asks_again_and_again_is_served() -> None:
    async with running() as server:
        client = await RawClient.connect(server.port)
        for _ in range(8):
            client.writer.write(REQUEST)
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
            await client.reader.readexactly(len('{"detail":"Not Found"}'))
        client.writer.close()


async def test_more_connections_than_there_is_room_for_take_the_place_of_those_that_ask_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http.Protocol, "max_connections", 4)
    async with running() as server:
        talking = await RawClient.shake_hands(server.port, "native")
        idle = [await RawClient.connect(server.port) for _ in range(8)]
        asking = await RawClient.connect(server.port, REQUEST)
        assert (await asking.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
        assert len(server.server.server_state.connections) <= 4
        for client in idle[:5]:
            await client.until_closed()
        talking.send({"type": "start"})
        assert b"ready" in await talking.reader.readuntil(b"ready")
        for client in (talking, asking, *idle):
            client.writer.close()
        await server.until_nothing_is_left()
