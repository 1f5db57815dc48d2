"""Both wires on a real server in this loop, with scripted engines: for clients that do what they should not."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from prometheus_client import REGISTRY
from starlette.responses import PlainTextResponse

from tests.scripted import Script
from voice_agent.agent import Agent
from voice_agent.config import ServerSettings, Settings
from voice_agent.transports import http, native, websocket
from voice_agent.transports.telephony import twilio

WITHIN_S = 20.0
"""For what is waited for: far more than it takes."""

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PATHS = {"native": "/ws", "twilio": "/telephony/twilio"}
TWILIO_START = {
    "event": "start",
    "start": {
        "streamSid": "MZ00",
        "callSid": "CA00",
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    },
}
GREETINGS: dict[str, Any] = {"native": {"type": "start"}, "twilio": TWILIO_START}


@dataclass
class Running:
    """The server, and what it holds."""

    server: uvicorn.Server
    agent: Agent
    script: Script
    port: int

    def url(self, wire: str) -> str:
        return f"ws://127.0.0.1:{self.port}{PATHS[wire]}"

    async def until_nothing_is_left(self) -> None:
        """No connection, no task, no session."""
        async with asyncio.timeout(WITHIN_S):
            while (  # noqa: ASYNC110 - uvicorn tells nobody
                self.server.server_state.connections or self.server.server_state.tasks or sessions()
            ):
                await asyncio.sleep(0.01)


def sessions() -> float:
    """How many the gauge counts."""
    return REGISTRY.get_sample_value("voice_agent_sessions") or 0.0


@asynccontextmanager
async def running(max_sessions: int = 64, **options: Any) -> AsyncIterator[Running]:
    """A server; at the end nothing of it is left but what the test's own clients hold."""
    script = Script()
    script.generator.delay_s = script.synthesizer.delay_s = script.transcriber.delay_s = 0.0
    agent = Agent(Settings(server=ServerSettings(max_sessions=max_sessions)), script.engines())
    agent.ready = True
    app = FastAPI(openapi_url=None)

    @app.websocket(PATHS["native"])
    async def _native(socket: WebSocket) -> None:
        await native.serve(socket, agent)

    @app.websocket(PATHS["twilio"])
    async def _twilio(socket: WebSocket) -> None:
        await twilio.serve(socket, agent)

    @app.get("/large")
    async def _large() -> PlainTextResponse:
        return PlainTextResponse("x" * 50_000_000)

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=http.Protocol,
        ws=websocket.Protocol,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=5,
        **options,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    before = asyncio.all_tasks()
    try:
        yield Running(server, agent, script, listening.getsockname()[1])
    finally:
        await agent.drain(5.0)
        server.should_exit = True
        await serving
    assert not server.server_state.connections
    assert sessions() == 0
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, left


class RawClient:
    """A socket whose every byte is the test's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, sent: bytes = b"", receive_buffer: int | None = None) -> "RawClient":
        client = socket.socket()
        client.setblocking(False)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=client, limit=1024)
        writer.write(sent)
        return cls(reader, writer)

    @classmethod
    async def shake_hands(cls, port: int, wire: str, receive_buffer: int | None = None) -> "RawClient":
        self = await cls.connect(port, HANDSHAKE.format(path=PATHS[wire]).encode(), receive_buffer)
        await self.reader.readuntil(b"\r\n\r\n")
        return self

    def send(self, message: Any, opcode: int = 1, *, final: bool = True) -> None:
        """A masked frame; what is not bytes goes as JSON."""
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        length = len(data)
        head = bytes((opcode | (0x80 if final else 0),))
        if length < 126:
            head += bytes((0x80 | length,))
        elif length < 1 << 16:
            head += bytes((0xFE,)) + length.to_bytes(2, "big")
        else:
            head += bytes((0xFF,)) + length.to_bytes(8, "big")
        self.writer.write(head + bytes(4) + data)

    async def until_closed(self) -> None:
        """Read on until the server has closed."""
        async with asyncio.timeout(WITHIN_S):
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass

    def reset(self) -> None:
        """Be gone, without a word."""
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, "little") + bytes(4)
        )
        self.writer.transport.abort()
