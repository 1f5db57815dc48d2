"""Clients that do what they should not, on both wires: the server goes on, and holds nothing for them.

Each test ends with `running`'s look at what is left: no connection, no task, no session.
"""

import asyncio
import json
from base64 import b64encode
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.transports.serving import GREETINGS, PATHS, RawClient, Running, running, sessions
from voice_agent.transports import closing, websocket

LONG = "This is a rather long reply, which goes on and on for a while. " * 50
WIRES = sorted(PATHS)


async def answered(server: Running) -> None:
    """A decent client is served as ever."""
    async with connect(server.url("native"), max_queue=None) as client, asyncio.timeout(20):
        await client.send('{"type": "start"}')
        await client.send('{"type": "text", "text": "hello"}')
        await until(client, "response_text")


async def until(client: ClientConnection, kind: str) -> dict[str, Any]:
    async for message in client:
        if isinstance(message, str) and json.loads(message)["type"] == kind:
            loaded: dict[str, Any] = json.loads(message)
            return loaded
    raise AssertionError(f"closed before {kind}")


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("phase", ["before the greeting", "in the greeting", "in a reply", "in the close"])
@pytest.mark.parametrize("how", ["reset", "closed socket", "close frame and no more"])
async def test_who_goes_at_any_moment_leaves_nothing(wire: str, phase: str, how: str) -> None:
    async with running() as server:
        server.script.generator.replies = [LONG]
        client = await RawClient.shake_hands(server.port, wire)
        if phase != "before the greeting":
            client.send(GREETINGS[wire])
        if phase == "in a reply":
            client.send({"type": "text", "text": "hello"})
            if wire == "native":
                await client.reader.readuntil(b"response_started")
        if phase == "in the close":
            client.send({"type": "stop", "event": "stop"} if wire == "twilio" else {"type": "stop"})
        match how:
            case "reset":
                await client.writer.drain()
                client.reset()
            case "closed socket":
                client.writer.close()
            case _:
                client.send(b"\x03\xe8", opcode=8)
                await client.until_closed()
        await server.until_nothing_is_left()
        await answered(server)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    "code", [b"", b"\x03", b"\x00\x00", b"\x03\xed", b"\x0f\xa0", b"\xff\xff", b"\x03\xe8\xff\xfe"]
)
async def test_a_close_of_any_code_is_a_close(wire: str, code: bytes) -> None:
    async with running() as server:
        client = await RawClient.shake_hands(server.port, wire)
        client.send(GREETINGS[wire])
        client.send(code, opcode=8)
        await client.until_closed()
        await server.until_nothing_is_left()


BROKEN_FRAMES = {
    "text that is not UTF-8": (b"\xff\xfe", 1, True),
    "a fragment of nothing": (b"more", 0, True),
    "an unknown opcode": (b"x", 3, True),
    "a ping of 200 bytes": (b"x" * 200, 9, True),
    "a ping in pieces": (b"x", 9, False),
    "an endless message": (b"x" * (websocket.MAX_FRAMES_BYTES + 1), 2, False),
}


@pytest.mark.parametrize("frame", BROKEN_FRAMES)
async def test_what_is_no_websocket_ends_that_connection_alone(
    frame: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as server:
        client = await RawClient.shake_hands(server.port, "native")
        client.send({"type": "start"})
        data, opcode, final = BROKEN_FRAMES[frame]
        client.send(data, opcode, final=final)
        await client.until_closed()
        await server.until_nothing_is_left()
        await answered(server)
    assert "a session failed" not in caplog.text


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "SEND_WITHIN_S", 0.3)
    monkeypatch.setattr(closing, "LAST_WORDS_S", 0.3)
    monkeypatch.setattr(websocket, "LINGER_S", 0.3)


FLOODS: dict[str, Any] = {
    "unknown types": {"type": "x" * 1000},
    "texts": {"type": "text", "text": "hello"},
    "pings of the wire": {"type": "ping", "id": 1},
    "broken JSON": b"{",
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_clients_that_never_read_are_gone_soon(impatient: None, flood: str) -> None:
    async with running() as server:
        server.script.generator.replies = [LONG] * 1000
        clients = [await RawClient.shake_hands(server.port, "native", receive_buffer=2048) for _ in range(2)]
        for client in clients:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send({"type": "start"})
            client.send({"type": "text", "text": "hello"})
            for _ in range(20_000 if flood == "unknown types" else 40_000):
                client.send(FLOODS[flood])
        await server.until_nothing_is_left()
        await answered(server)
        for client in clients:
            client.writer.transport.abort()


async def test_who_gives_no_sign_of_life_is_gone() -> None:
    async with running(ws_ping_interval=0.1, ws_ping_timeout=0.1) as server:
        client = await RawClient.shake_hands(server.port, "native")
        client.send({"type": "start"})
        await client.reader.readuntil(b"ready")
        await server.until_nothing_is_left()  # no pong came
        client.writer.close()


@pytest.mark.paced
async def test_whose_sign_of_life_waits_behind_early_audio_is_not() -> None:
    async with (
        running(ws_ping_interval=0.1, ws_ping_timeout=0.1) as server,
        connect(server.url("native"), max_queue=None) as client,
        asyncio.timeout(20),
    ):
        await client.send('{"type": "start", "input_rate": 8000}')
        for _ in range(8):
            await client.send(bytes(8000))  # half a second
        await client.send('{"type": "ping", "id": 5}')
        assert (await until(client, "pong"))["id"] == 5


async def test_pings_of_the_protocol_fill_no_memory(impatient: None) -> None:
    """A client that pings and does not read: its pongs are not kept."""
    async with running() as server:
        client = await RawClient.shake_hands(server.port, "native", receive_buffer=2048)
        client.send({"type": "start"})
        await client.reader.readuntil(b"ready")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        [connection] = server.server.server_state.connections
        largest = 0
        for _ in range(200):
            for _ in range(500):
                client.send(b"x" * 125, opcode=9)
            await client.writer.drain()
            largest = max(largest, connection.transport.get_write_buffer_size())
        assert largest < 1 << 20  # of 12 MB
        client.reset()
        await server.until_nothing_is_left()


@pytest.mark.parametrize("answerable", ["texts", "pings of the wire", "broken JSON", "unknown types"])
async def test_who_reads_all_is_not_called_slow_however_much_it_asks(answerable: str) -> None:
    many = 3000
    asked = {"type": "dance"} if answerable == "unknown types" else FLOODS[answerable]
    message = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    kinds = {"texts": "transcript", "pings of the wire": "pong"}
    async with running() as server, connect(server.url("native"), max_queue=None) as client:
        await client.send('{"type": "start"}')
        sending = asyncio.create_task(_send_all(client, message.decode(), many))
        answers = 0
        async with asyncio.timeout(60):
            while answers < many:
                answer = json.loads(await until_text(client))
                assert answer.get("code") != "slow_client"
                answers += answer["type"] == kinds.get(answerable, "error")
        await sending
        await client.send('{"type": "ping", "id": 77}')
        assert (await until(client, "pong"))["id"] in (1, 77)


async def _send_all(client: ClientConnection, message: str, many: int) -> None:
    for _ in range(many):
        await client.send(message)


async def until_text(client: ClientConnection) -> str:
    while not isinstance(message := await client.recv(), str):
        pass
    return message


async def test_a_server_with_clients_that_never_read_ends(impatient: None) -> None:
    async with running() as server:
        server.script.generator.replies = [LONG] * 100
        clients = [await RawClient.shake_hands(server.port, "native", receive_buffer=2048) for _ in range(8)]
        for client in clients:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send({"type": "text", "text": "hello"})
        while sessions() < 8:  # noqa: ASYNC110 - a gauge tells nobody
            await asyncio.sleep(0)
        await asyncio.wait_for(server.agent.drain(10.0), 20.0)
        await server.until_nothing_is_left()
        for client in clients:
            client.writer.transport.abort()


async def test_a_call_whose_ids_are_no_ids_is_refused_and_forges_no_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as server:
        for name in ("streamSid", "callSid"):
            for value in ("CA\nforged", "x" * 129, "", "CA\u2028", 5, None):
                start = {"event": "start", "start": GREETINGS["twilio"]["start"] | {name: value}}
                async with connect(server.url("twilio")) as client:
                    await client.send(json.dumps(start))
                    with pytest.raises(ConnectionClosed) as closed:
                        await client.recv()
                assert closed.value.rcvd and closed.value.rcvd.code == 1008
                assert name in closed.value.rcvd.reason
    assert "\n" not in "".join(
        record.getMessage() for record in caplog.records if "call" in record.getMessage()
    )


async def test_a_jump_of_the_count_does_not_deafen_a_call() -> None:
    payload = b64encode(b"\xff" * 160).decode()
    async with running() as server:
        server.script.transcriber.texts = ["hello"]
        async with connect(server.url("twilio"), max_queue=None) as client, asyncio.timeout(20):
            await client.send(json.dumps(GREETINGS["twilio"]))
            for chunk in (1, 10**18, "9" * 5000):
                await client.send(
                    json.dumps({"event": "media", "media": {"chunk": chunk, "payload": payload}})
                )
            loud = b64encode(b"\x00" * 160).decode()
            for chunk in range(2, 300):
                said = loud if chunk < 50 else payload
                await client.send(json.dumps({"event": "media", "media": {"chunk": chunk, "payload": said}}))
            assert json.loads(await client.recv())["event"] == "media"
