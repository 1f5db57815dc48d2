"""A telephone carrier, and a session that does as a test says."""

import asyncio
import json
import queue
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from tests.scripted import Script, silence, speech
from voice_agent.agent import Agent
from voice_agent.audio import Pcm16, frames, ms_to_samples, ulaw_decode, ulaw_encode
from voice_agent.config import Settings
from voice_agent.dialogue.end_of_turn import LONGEST_MS
from voice_agent.dialogue.events import (
    Event,
)
from voice_agent.dialogue.options import SessionOptions
from voice_agent.transports.telephony import twilio

RATE = 8000
PATH = "/telephony/twilio"
SID = "MZ0123456789abcdef0123456789abcdef"
WITHIN_S = 10.0
"""For what happens in another thread: far more than it takes."""
PAUSE = silence(LONGEST_MS + 100, RATE)
"""Ends a turn whatever was said."""


class StandIn:
    """A session that says what the test tells it to, and keeps what it is told."""

    id = "stand-in"
    idle = False
    idle = False

    def __init__(self, options: SessionOptions) -> None:
        self.options = options
        self.heard = silence(0)
        """Until the last time that `settle` looked."""
        self.reports: list[tuple[str, float]] = []
        self.ended = asyncio.Event()
        self.says: asyncio.Queue[Event] = asyncio.Queue()
        self._news = asyncio.Condition()

    async def hear(self, pcm: Pcm16) -> None:
        async with self._news:
            self.heard = np.concatenate((self.heard, pcm))
            self._news.notify_all()

    async def until_heard(self, last: Pcm16) -> None:
        """Until `last` was heard; it is taken off."""
        async with asyncio.timeout(WITHIN_S), self._news:
            await self._news.wait_for(lambda: np.array_equal(self.heard[-len(last) :], last))
            self.heard = self.heard[: -len(last)]

    async def until_ended(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            await self.ended.wait()

    def played(self, response: str, ms: float) -> None:
        self.reports.append((response, ms))

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self.says.get()


class Desk:
    """An agent whose sessions are stand-ins."""

    def __init__(self) -> None:
        self.ready = True
        self.engines = Script().engines()
        self.settings = Settings()
        self.draining = asyncio.Event()
        self.calls: queue.Queue[StandIn] = queue.Queue()

    @asynccontextmanager
    async def session(self, options: SessionOptions) -> AsyncIterator[StandIn]:
        session = StandIn(options)
        self.calls.put(session)
        try:
            yield session
        finally:
            session.ended.set()


class Phone:
    """The carrier's end of a call."""

    def __init__(self, client: TestClient, socket: WebSocketTestSession) -> None:
        self.client = client
        self.socket = socket
        self.chunk = 0
        self.closed_because = ""

    def send(self, event: str, **fields: Any) -> None:
        self.socket.send_json({"event": event, "sequenceNumber": "7", "streamSid": SID, **fields})

    def begin(self, **stream: Any) -> None:
        self.send("connected", protocol="Call", version="1.0.0")
        self.send("start", start=beginning(**stream))

    def media(self, pcm: Pcm16, **fields: Any) -> None:
        self.chunk += 1
        payload = b64encode(ulaw_encode(pcm)).decode()
        self.send("media", media={"track": "inbound", "chunk": str(self.chunk), "payload": payload} | fields)

    def say(self, *parts: Pcm16) -> None:
        for frame in frames(np.concatenate(parts), twilio.FRAME):
            self.media(frame)

    def mark(self, name: str) -> None:
        self.send("mark", mark={"name": name})

    def receive(self) -> dict[str, Any]:
        message = self.socket.receive()
        if message["type"] == "websocket.close":
            self.closed_because = message["reason"]
            raise WebSocketDisconnect(message["code"])
        received: dict[str, Any] = json.loads(message["text"])
        assert received["streamSid"] == SID
        assert received["event"] in ("media", "mark", "clear")
        return received

    def until(self, event: str) -> list[dict[str, Any]]:
        """Every message up to the first of a kind."""
        messages = [self.receive()]
        while messages[-1]["event"] != event:
            messages.append(self.receive())
        return messages

    def piece(self) -> str:
        """Audio up to its mark: the mark's name."""
        name: str = self.until("mark")[-1]["mark"]["name"]
        return name

    def close_code(self) -> int:
        with pytest.raises(WebSocketDisconnect) as caught:
            self.until("nothing")
        return int(caught.value.code)

    def call(self, what: Any, *arguments: Any) -> Any:
        """Do something on the server's loop."""
        assert self.client.portal
        return self.client.portal.call(what, *arguments)


class Line(Phone):
    """A call to a stand-in session."""

    def __init__(self, client: TestClient, socket: WebSocketTestSession, session: StandIn) -> None:
        super().__init__(client, socket)
        self.session = session

    def agent(self, *events: Event) -> None:
        """The session says this."""
        for event in events:
            self.call(self.session.says.put_nowait, event)

    def settle(self) -> None:
        """Until the server has taken all that the phone sent."""
        last = ulaw_decode(ulaw_encode(speech(20, RATE)))
        self.media(last)
        self.call(self.session.until_heard, last)


def beginning(**stream: Any) -> dict[str, Any]:
    return {
        "accountSid": "AC00",
        "streamSid": SID,
        "callSid": "CA00",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
        **stream,
    }


def audio(messages: list[dict[str, Any]]) -> Pcm16:
    """The audio among some messages."""
    return ulaw_decode(
        b"".join(
            b64decode(message["media"]["payload"]) for message in messages if message["event"] == "media"
        )
    )


def ramp(ms: float, since_ms: float = 0.0) -> Pcm16:
    """Audio of which every sample tells where it belongs, after mu-law too."""
    start = ms_to_samples(since_ms, RATE)
    where = np.arange(start, start + ms_to_samples(ms, RATE))
    return ulaw_decode((where % 251).astype(np.uint8).tobytes())


def app_for(agent: Agent | Desk) -> FastAPI:
    app = FastAPI()

    @app.websocket(PATH)
    async def _twilio(socket: WebSocket) -> None:
        await twilio.serve(socket, cast(Agent, agent))

    return app
