"""A phone call, as Twilio brings it to `WS /telephony/twilio`: the lab calls as a telephone network would."""

import asyncio
import base64
import json
import secrets
from collections import deque
from contextlib import suppress
from typing import Any, Final, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from voice_agent.audio import RATE, Pcm16, Resampler, ulaw_decode, ulaw_encode
from voice_agent.client.connection import (
    CLOSE_TIMEOUT_S,
    OPEN_TIMEOUT_S,
    NoServerError,
    closing,
    reason,
)
from voice_agent.client.messages import Id, Ready, ResponseEnded, ResponseStarted, ServerError, ServerEvent
from voice_agent.client.player import Player
from voice_agent.client.wire import Arrived
from voice_agent.loopback import is_loopback

LINE_RATE: Final = 8000
OVER_S: Final = 0.7
"""Silence after which a reply counts as over: the wire does not say so. A server that keeps up leaves no such gap."""
LOOK_EVERY_S: Final = 0.02
"""Between two looks whether something was played."""


class TwilioClient:
    """One call. What Twilio says of a reply, a client must guess: it begins with its first audio, and ends when nothing
    more comes, or with `clear`.

    Raises (on entering):
        NoServerError: nothing answers at `url`.
    """

    reports_speech: Final = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._sid = f"MZ{secrets.token_hex(16)}"
        self.ready = Ready(session=self._sid, input_rate=RATE, output_rate=RATE)
        self.player = Player(RATE)
        self._socket: ClientConnection
        self._tasks: list[asyncio.Task[None]] = []
        self._clock = asyncio.get_running_loop().time
        self._to_line = Resampler(RATE, LINE_RATE)
        self._from_line = Resampler(LINE_RATE, RATE)
        self._events: asyncio.Queue[Arrived | ServerError] = asyncio.Queue()
        self._marks: deque[tuple[str, float]] = deque()
        """Names of those that are not yet played, and when they will be."""
        self._sent = 0
        self._replies = 0
        self._reply: Id | None = None

    async def __aenter__(self) -> Self:
        try:
            self._socket = await connect(
                self._url,
                compression=None,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                proxy=None if is_loopback(self._url) else True,
            )
        except (OSError, InvalidHandshake, InvalidURI) as error:
            raise NoServerError(f"no voice agent answers at {self._url}: {reason(error)}") from error
        media = {"encoding": "audio/x-mulaw", "sampleRate": LINE_RATE, "channels": 1}
        call = {"accountSid": "AC0", "callSid": f"CA{secrets.token_hex(16)}", "tracks": ["inbound"]}
        await self._send("connected", protocol="Call", version="1.0.0")
        await self._send(
            "start", start=call | {"streamSid": self._sid, "customParameters": {}, "mediaFormat": media}
        )
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._follow_playback())]
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(ServerError):
            await self._send("stop", stop={})
        await self._socket.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def send_audio(self, pcm: Pcm16) -> None:
        """Microphone audio at `RATE`."""
        self._sent += 1
        payload = base64.b64encode(ulaw_encode(self._to_line.feed(pcm))).decode()
        await self._send(
            "media",
            media={
                "track": "inbound",
                "chunk": str(self._sent),
                "timestamp": str(20 * self._sent),
                "payload": payload,
            },
        )

    async def ping(self, id: int) -> None:
        """The wire has no such thing."""

    async def receive(self) -> Arrived:
        """The next event.

        Raises:
            ServerError: the connection is closed.
        """
        event = await self._events.get()
        if isinstance(event, ServerError):
            self._events.put_nowait(event)
            raise event
        return event

    async def _send(self, event: str, **fields: Any) -> None:
        message = {"event": event, "streamSid": self._sid, "sequenceNumber": str(self._sent + 1)} | fields
        try:
            await self._socket.send(json.dumps(message))
        except ConnectionClosed as error:
            raise ServerError(closing(error)) from error

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                message = json.loads(text)
                match message.get("event"):
                    case "media":
                        self._hear(base64.b64decode(message["media"]["payload"]))
                    case "mark":
                        self._marks.append((message["mark"]["name"], self.player.ends_s))
                    case "clear":
                        self._end("interrupted")
                        self._marks = deque((name, 0.0) for name, _ in self._marks)
            raise ServerError("the server closed the connection")
        except ConnectionClosed as error:
            self._events.put_nowait(ServerError(closing(error)))
        except ServerError as error:
            self._events.put_nowait(error)

    def _hear(self, payload: bytes) -> None:
        if self._reply is None:
            self._replies += 1
            self._reply = f"reply {self._replies}"
            self._tell(ResponseStarted(response=self._reply))
        self.player.receive(self._clock(), self._from_line.feed(ulaw_decode(payload)))

    def _end(self, reason: str) -> None:
        if self._reply is not None:
            self._tell(ResponseEnded(response=self._reply, reason=reason))
            self._reply = None

    def _tell(self, event: ServerEvent) -> None:
        now_s = self._clock()
        self.player.apply(now_s, event)
        self._events.put_nowait(Arrived(now_s, event))

    async def _follow_playback(self) -> None:
        """Return marks as they are played, and notice the end of a reply."""
        with suppress(ServerError):
            while True:
                now_s = self._clock()
                while self._marks and self._marks[0][1] <= now_s:
                    await self._send("mark", mark={"name": self._marks.popleft()[0]})
                self.player.advance(now_s)
                if not self.player.playing and now_s > self.player.ends_s + OVER_S:
                    self._end("completed")
                await asyncio.sleep(LOOK_EVERY_S)
