"""uvicorn's WebSocket with a real client at its other end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from socket import create_server

import pytest
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect

from voice_agent.transports import websocket
from voice_agent.transports.closing import receive, receive_all
from voice_agent.transports.websocket import READ_BYTES, Protocol

Served = Callable[[WebSocket], Awaitable[None]]


@asynccontextmanager
async def connected(serve: Served) -> AsyncIterator[ClientConnection]:
    """A client whose socket is in the hands of `serve`."""
    app = FastAPI()

    @app.websocket("/")
    async def _serve(socket: WebSocket) -> None:
        await socket.accept()
        await serve(socket)

    listening = create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, ws=Protocol, log_config=None))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    port = listening.getsockname()[1]
    try:
        async with connect(f"ws://127.0.0.1:{port}/", max_size=None) as client:
            yield client
    finally:
        server.should_exit = True
        await running


@pytest.fixture(autouse=True)
def rest_s(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(websocket, "REST_S", 0.05)
    return 0.05


async def test_what_comes_during_a_rest_is_taken_at_once_and_in_order() -> None:
    sent: list[str | bytes] = [b"\1\2" * 160, "text", b"\3\4" * 160, b""] * 3
    ready, all_sent, taken = asyncio.Event(), asyncio.Event(), asyncio.Queue[list[str | bytes]]()

    async def serve(socket: WebSocket) -> None:
        taken.put_nowait(await receive_all(socket, unhurried=False))
        ready.set()
        await all_sent.wait()
        taken.put_nowait(await receive_all(socket, unhurried=True))

    async with connected(serve) as client:
        await client.send("first")
        await ready.wait()
        for message in sent:
            await client.send(message)
        all_sent.set()
        assert await taken.get() == ["first"]
        assert await taken.get() == sent


async def test_a_rest_lasts_as_long_as_it_should_and_without_it_there_is_none(rest_s: float) -> None:
    waited: list[float] = []

    async def serve(socket: WebSocket) -> None:
        clock = asyncio.get_running_loop().time
        for unhurried in (True, False):
            begun = clock()
            await receive_all(socket, unhurried=unhurried)
            waited.append(clock() - begun)
            await socket.send_text("more")

    async with connected(serve) as client:
        for _ in range(2):
            await client.send("one")
            await client.recv()
    assert waited[0] >= rest_s - websocket.GRID_S
    assert waited[1] < waited[0]


async def test_a_client_that_sends_nothing_is_waited_for_and_not_polled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rests, rested = 0, asyncio.Event()
    rest = Protocol._rest

    async def counted(self: Protocol) -> None:
        nonlocal rests
        rests += 1
        await rest(self)
        rested.set()

    monkeypatch.setattr(Protocol, "_rest", counted)

    async def serve(socket: WebSocket) -> None:
        [message] = await receive_all(socket, unhurried=True)
        await socket.send_text(f"{message!r} after {rests}")

    async with connected(serve) as client:
        await rested.wait()
        await client.send("something")
        assert await client.recv() == "'something' after 1"


async def test_messages_may_be_taken_either_way_in_turn() -> None:
    async def serve(socket: WebSocket) -> None:
        while True:
            await socket.send_text(str(await receive(socket)))
            await socket.send_text(str(await receive_all(socket, unhurried=True)))
            await socket.send_text(str(await receive_all(socket, unhurried=False)))

    async with connected(serve) as client:
        for number in range(9):
            await client.send(str(number))
            assert str(number) in await client.recv()


@pytest.mark.parametrize("unhurried", [True, False])
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_what_was_sent_before_the_client_went_is_taken_before_it_is_told(
    how: str, unhurried: bool
) -> None:
    gone, ready, taken = asyncio.Event(), asyncio.Event(), asyncio.Queue[object]()

    async def serve(socket: WebSocket) -> None:
        await receive(socket)
        ready.set()
        await gone.wait()
        try:
            while True:
                for message in await receive_all(socket, unhurried=unhurried):
                    taken.put_nowait(message)
        except WebSocketDisconnect:
            taken.put_nowait("gone")

    async with connected(serve) as client:
        await client.send("first")
        await ready.wait()
        await client.send("last")
        if how == "close":
            closing = asyncio.create_task(client.close())
            await asyncio.sleep(0)
            gone.set()
            await closing
        else:
            client.transport.close()
            gone.set()
        assert [await taken.get(), await taken.get()] == ["last", "gone"]


async def test_a_flood_is_held_back_but_not_to_the_pace_of_the_rests() -> None:
    flood = [bytes(10_000)] * 400
    largest, count, done = 0, 0, asyncio.Event()

    async def serve(socket: WebSocket) -> None:
        nonlocal largest, count
        while count < len(flood):
            messages = await receive_all(socket, unhurried=True)
            count += len(messages)
            largest = max(largest, sum(map(len, messages)))
        done.set()

    async with connected(serve) as client, asyncio.timeout(10):
        begun = asyncio.get_running_loop().time()
        for message in flood:
            await client.send(message)
        await done.wait()
        took = asyncio.get_running_loop().time() - begun
    assert largest <= 256 * 1024 + len(flood[0])  # what asyncio reads at a time
    assert took < websocket.REST_S * len(flood) * len(flood[0]) / READ_BYTES


async def test_audio_is_not_compressed() -> None:
    async def serve(socket: WebSocket) -> None:
        await receive(socket)

    async with connected(serve) as client:
        assert not client.protocol.extensions
        await client.send("done")


@pytest.mark.parametrize("pieces", [(b"\xff\xfe",), (b"Hi \xe2\x82", b"\xff")])
async def test_text_that_is_none_closes_the_connection_and_is_one_line_in_the_log(
    pieces: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(socket: WebSocket) -> None:
        with suppress(WebSocketDisconnect):
            await receive(socket)

    async with connected(serve) as client, asyncio.timeout(10):
        await client.send(pieces[0] if len(pieces) == 1 else pieces, text=True)
        await client.wait_closed()
        assert client.close_code == 1007
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [(record.name, record.exc_info) for record in told] == [(websocket.__name__, None)]


async def test_text_may_be_cut_within_a_character() -> None:
    got = asyncio.Queue[str | bytes]()

    async def serve(socket: WebSocket) -> None:
        got.put_nowait(await receive(socket))

    async with connected(serve) as client, asyncio.timeout(10):
        await client.send((b"2 \xe2\x82", b"\xac"), text=True)
        assert await got.get() == "2 €"
