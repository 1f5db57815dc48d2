"""A server of the native wire that does what a test's script says: for timing and failures on demand."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from voice_agent.audio import Pcm16

AUDIBLE = 100
"""Amplitude from which a sample counts as speech."""


class Call:
    """One connection, as the script sees it."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.start: dict[str, Any] = {}
        self.frames: list[tuple[float, Pcm16]] = []
        """Binary messages, each with its time."""
        self.messages: list[tuple[float, dict[str, Any]]] = []
        """Text messages, each with its time."""
        self.rate = 16_000
        self._heard = 0
        self._text = ""
        """Of the reply that was begun last."""
        self._news = asyncio.Condition()

    async def listen(self) -> None:
        """Take what the client sends until it goes."""
        clock = asyncio.get_running_loop().time
        try:
            async for message in self.socket:
                if isinstance(message, bytes):
                    self.frames.append((clock(), np.frombuffer(message, "<i2")))
                else:
                    self.messages.append((clock(), json.loads(message)))
                async with self._news:
                    self._news.notify_all()
        except ConnectionClosed:
            pass

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for something to be so, looking whenever a message comes."""
        async with self._news:
            await self._news.wait_for(true)

    async def ready(self) -> None:
        await self.until(lambda: bool(self.messages))
        self.start = self.messages[0][1]
        self.rate = self.start["input_rate"]
        await self.send("ready", session="s1", input_rate=self.rate, output_rate=self.start["output_rate"])

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind} | fields))

    async def play(self, pcm: Pcm16, piece: int = 480) -> None:
        """Send audio as fast as it goes, in pieces of this many samples."""
        for start in range(0, len(pcm), piece):
            await self.socket.send(pcm[start : start + piece].astype("<i2").tobytes())

    async def utterance(self, pause_frames: int = 10) -> Pcm16:
        """Wait for speech and silence after it; gives the speech, in whole frames."""

        def loud() -> list[int]:
            frames = enumerate(self.frames)
            return [n for n, (_, pcm) in frames if n >= self._heard and np.abs(pcm).max() >= AUDIBLE]

        await self.until(lambda: bool(loud()) and len(self.frames) > loud()[-1] + pause_frames)
        first, last = loud()[0], loud()[-1]
        self._heard = len(self.frames)
        return np.concatenate([pcm for _, pcm in self.frames[first : last + 1]])

    async def hear(self, turn: int, text: str) -> None:
        """An utterance, and its transcript."""
        await self.utterance()
        await self.send("speech_started", ms=0)
        await self.send("speech_stopped", ms=500)
        await self.send("transcript", turn=turn, text=text, final=True)

    async def begin(self, turn: int, text: str, pcm: Pcm16) -> None:
        """A reply, without its end."""
        await self.send("response_started", response=f"r{turn}", turn=turn)
        self._text = ""
        await self.piece(turn, text, pcm)

    async def piece(self, turn: int, text: str, pcm: Pcm16, start_ms: int = 0) -> None:
        """The next words of a reply, and their sound."""
        self._text += text
        await self.send("response_text", response=f"r{turn}", text=text, start_ms=start_ms)
        await self.play(pcm)
        await self.send(
            "response_text_ended", response=f"r{turn}", end_ms=start_ms + len(pcm) * 1000 // 24_000
        )

    async def end(
        self,
        turn: int,
        reason: str = "completed",
        steps: dict[str, float] | None = None,
        heard: str = "",
    ) -> None:
        """The end of a reply; `heard` counts where it is not completed."""
        heard = self._text if reason == "completed" else heard
        await self.send("response_ended", response=f"r{turn}", reason=reason, heard_ms=0, heard=heard)
        await self.send("timeline", turn=turn, response=f"r{turn}", steps=steps or {})

    async def reply(self, turn: int, text: str, pcm: Pcm16, steps: dict[str, float] | None = None) -> None:
        """A reply, ended when the client says that it has played it all."""
        await self.begin(turn, text, pcm)
        await self.finish(turn, len(pcm), steps)

    async def finish(self, turn: int, samples: int, steps: dict[str, float] | None = None) -> None:
        """The end of a reply, when the client says that it has played this much."""
        await self.until(lambda: self.played(f"r{turn}")[-1:] == [samples * 1000 // 24_000])
        await self.end(turn, steps=steps)

    def played(self, response: str) -> list[int]:
        """The positions that the client reported."""
        sent = [message for _, message in self.messages if message["type"] == "played"]
        return [message["ms"] for message in sent if message["response"] == response]

    def received(self) -> Pcm16:
        """All audio from the client."""
        return np.concatenate([pcm for _, pcm in self.frames])


Script = Callable[[Call], Awaitable[None]]
Answer = Callable[[ServerConnection, Request], Response | None]


class Server:
    """Where the scripted server is, and its calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.url = ""


@asynccontextmanager
async def scripted(script: Script, answer: Answer | None = None) -> AsyncIterator[Server]:
    """Serve calls by a script; a connection that the script leaves open ends with the client.

    `answer` sees each request first, and may answer it as one for a file.

    A script that fails closes its connection with 1011, so that the test fails for it.
    """
    server = Server()

    async def handle(socket: ServerConnection) -> None:
        call = Call(socket)
        server.calls.append(call)
        listening = asyncio.create_task(call.listen())
        try:
            acting = asyncio.ensure_future(script(call))
            await asyncio.wait({acting, listening}, return_when=asyncio.FIRST_COMPLETED)
            if acting.done():
                acting.result()
                await listening
            acting.cancel()
        finally:
            listening.cancel()

    async with serve(handle, "127.0.0.1", 0, compression=None, process_request=answer) as listener:
        port = listener.sockets[0].getsockname()[1]
        server.url = f"ws://127.0.0.1:{port}/ws"
        yield server


def tone(seconds: float, rate: int, hertz: float = 440.0, amplitude: int = 8000) -> Pcm16:
    """A sine: audible, and unmistakable when samples go missing."""
    t = np.arange(round(seconds * rate)) / rate
    return (np.sin(2 * np.pi * hertz * t) * amplitude).astype(np.int16)
