"""The connection: audio and commands out, events in, replies to the player."""

import asyncio
import json
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, Self

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from voice_agent.audio import RATE, Pcm16
from voice_agent.client.messages import Error, Pause, Ready, ServerError, parse
from voice_agent.client.player import Player
from voice_agent.client.wire import Arrived
from voice_agent.errors import VoiceAgentError
from voice_agent.loopback import is_loopback

OUTPUT_RATE: Final = 24_000
"""Rate of the replies unless the caller asks for another, hertz."""
OPEN_TIMEOUT_S: Final = 5.0
"""For the connection, and again for `ready`: a server that is up takes milliseconds for either."""
CLOSE_TIMEOUT_S: Final = 2.0
REPORT_EVERY_S: Final = 0.2
"""Between two `played` messages: a word is longer, so the server can cut its history at the right one."""
FIRST_REPORT_S: Final = 0.02
"""After sound begins: from this report the server knows when its first audio was played."""
MAX_MESSAGE_BYTES: Final = 4 * 2**20
"""Longest message taken from the server: 87 s of audio at 24 kHz."""
MAX_EVENTS: Final = 10_000
"""Unread events that are kept; the oldest go first."""


class NoServerError(VoiceAgentError):
    """No voice agent answers at the address."""


class Client:
    """One session with a voice agent: audio and commands out, events in, replies to a simulated player.

    Entering connects and waits for `ready`; leaving says `stop`, closes, and leaves no task behind.

    Raises (on entering):
        NoServerError: nothing that speaks the protocol answers at `url`.
        ServerError: the server refused the session.
    """

    ready: Ready
    player: Player
    reports_speech: Final = True

    def __init__(
        self,
        url: str,
        *,
        input_rate: int = RATE,
        output_rate: int = OUTPUT_RATE,
        instructions: str | None = None,
        voice: str | None = None,
        language: str | None = None,
    ) -> None:
        self._url = url
        wishes = {"instructions": instructions, "voice": voice, "language": language}
        self._start = {"type": "start", "input_rate": input_rate, "output_rate": output_rate} | {
            name: wish for name, wish in wishes.items() if wish is not None
        }
        self._socket: ClientConnection
        self._reader: asyncio.Task[None]
        self._reporter: asyncio.Task[None]
        self._events: deque[Arrived] = deque(maxlen=MAX_EVENTS)
        self._news = asyncio.Event()
        self._sound = asyncio.Event()

    async def __aenter__(self) -> Self:
        try:
            self._socket = await connect(
                self._url,
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                proxy=None if is_loopback(self._url) else True,
            )
        except (OSError, InvalidHandshake, InvalidURI) as error:
            raise NoServerError(f"no voice agent answers at {self._url}: {reason(error)}") from error
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                with suppress(ServerError):  # a full server has closed already; it said why, so read that
                    await self._send(self._start)
                self.ready = await self._first_message()
        except TimeoutError as error:
            await self._socket.close()
            raise NoServerError(
                f"{self._url} took the connection, but not the session: no `ready` in {OPEN_TIMEOUT_S:g} s"
            ) from error
        except BaseException:
            await self._socket.close()
            raise
        self.player = Player(self.ready.output_rate)
        self._reader = asyncio.create_task(self._read())
        self._reader.add_done_callback(lambda _: self._news.set())
        self._reporter = asyncio.create_task(self._report())
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(ServerError):
            await self._send({"type": "stop"})
        await self._socket.close()
        self._reader.cancel()
        self._reporter.cancel()
        await asyncio.gather(self._reader, self._reporter, return_exceptions=True)

    async def send_audio(self, pcm: Pcm16) -> None:
        """Send microphone audio at the session's input rate; any length."""
        await self._send(pcm.astype("<i2").tobytes())

    async def send_text(self, text: str) -> None:
        """Say something in writing."""
        await self._send({"type": "text", "text": text})

    async def ping(self, id: int) -> None:
        """Ask for the time on the server's clock; a `Pong` with this `id` brings it."""
        await self._send({"type": "ping", "id": id})

    async def interrupt(self) -> None:
        """Stop the reply that is playing: at once here, and then on the server."""
        await self._acknowledge()
        now_s = asyncio.get_running_loop().time()
        for reply in self.player.replies.values():
            if reply.ended is None:
                self.player.cut(now_s, reply.response)
        await self._send({"type": "interrupt"})

    async def receive(self) -> Arrived:
        """The next event. Cancelling the wait loses nothing.

        Raises:
            ServerError: the connection is closed, and every event before that was given out.
        """
        while not self._events:
            if self._reader.done():
                self._reader.result()
            self._news.clear()
            await self._news.wait()
        return self._events.popleft()

    def pending(self) -> Iterator[Arrived]:
        """The events that are there already."""
        while self._events:
            yield self._events.popleft()

    async def _send(self, message: bytes | dict[str, Any]) -> None:
        try:
            await self._socket.send(message if isinstance(message, bytes) else json.dumps(message))
        except ConnectionClosed as error:
            raise ServerError(closing(error)) from error

    async def _first_message(self) -> Ready:
        while True:
            try:
                message = await self._socket.recv()
            except ConnectionClosed as error:
                raise ServerError(closing(error)) from error
            match parse(message) if isinstance(message, str) else None:
                case Ready() as ready:
                    return ready
                case Error(code=code, message=text):
                    raise ServerError(f"the server refused the session: {text} ({code})")

    async def _read(self) -> None:
        """Take messages as they come, so that their times are true whatever the caller is doing."""
        clock = asyncio.get_running_loop().time
        try:
            while True:
                message = await self._socket.recv()
                at_s = clock()
                if isinstance(message, bytes):
                    if len(message) % 2:
                        raise ServerError("the server sent audio with half a sample at its end")
                    self.player.receive(at_s, np.frombuffer(message, "<i2").astype(np.int16))
                elif (event := parse(message)) is not None:
                    self.player.apply(at_s, event)
                    self._events.append(Arrived(at_s, event))
                    self._news.set()
                    if isinstance(event, Pause):
                        with suppress(ServerError):  # a close is met in its place, after what came before it
                            await self._acknowledge()
                self._sound.set()
        except ConnectionClosed as error:
            raise ServerError(closing(error)) from error
        except ServerError:
            await self._socket.close(1002)
            raise

    async def _report(self) -> None:
        """Tell the server the playback position: as sound begins, while there is sound, and at its end."""
        with suppress(ServerError):
            while True:
                await self._sound.wait()
                self._sound.clear()
                wait_s = FIRST_REPORT_S
                while self.player.playing:
                    left_s = self.player.ends_s - asyncio.get_running_loop().time()
                    await asyncio.sleep(min(wait_s, max(0.0, left_s)))
                    await self._acknowledge()
                    wait_s = REPORT_EVERY_S

    async def _acknowledge(self) -> None:
        for response, ms in self.player.progress(asyncio.get_running_loop().time()):
            await self._send({"type": "played", "response": response, "ms": ms})


def reason(error: Exception) -> str:
    """The fault in words, without Python's or the system's numbering."""
    match error:
        case TimeoutError():
            return f"no connection within {OPEN_TIMEOUT_S:g} s"
        case ConnectionRefusedError():
            return "connection refused"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return str(error)


def closing(error: ConnectionClosed) -> str:
    """The reason that the server gave for the end of the connection."""
    if error.rcvd is None:
        return "the connection to the server was lost"
    meaning = {1009: "message too large", 1012: "shutting down", 1013: "full, or not ready"}
    why = error.rcvd.reason or meaning.get(error.rcvd.code, "")
    return f"the server closed the connection ({error.rcvd.code}{' ' if why else ''}{why})"
