"""The server's end of a WebSocket: uvicorn's, with what it lacks.

It can hand over everything that has come at once. What an idle session costs is waking up: on two cores, a message of
20 ms that wakes the server takes 1 ms of processor time, and 0.1 ms as one of ten (`docs/latency.md`).

And it ends. uvicorn closes a connection once the client has taken all that was written, which a client that never
reads does not do: here it has `LINGER_S` for that.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from starlette.types import Message
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
    from websockets.http11 import Request

log = logging.getLogger(__name__)

REST_S: Final = 0.25
"""How long what comes may wait when nobody is in a hurry. Of a word that lasts 190 ms or more only the news that
somebody speaks comes late. After a shorter one (60 ms open an utterance) the 60 ms of silence that `Prepare` waits for
(`turn.stop_ms`) may be over before it is noticed, by 130 ms at most: so much later its transcript is begun. No turn is
judged over as soon as that: about 400 ms of silence are usual (`dialogue/end_of_turn.py`)."""

GRID_S: Final = 0.02
"""Rests end on multiples of this: a hundred sessions then wake the server fifty times a second, not 500."""

READ_BYTES: Final = 1 << 15
"""Most that is read in one go: 0.3 s of audio at 48 kHz. Of small messages that are 1100, which take the WebSocket
library 2 ms, and other sessions wait for those. Where a rest leaves more than that, the next one is left out."""

MAX_FRAMES_BYTES: Final = 5 << 20
"""Most of one message that is kept until it is whole. The application takes a million characters of text, which are
up to four million bytes, and says so where there are more (`closing.MAX_MESSAGE`); this is refused on the way."""

LINGER_S: Final = 3.0
"""How long a client may take to read its last messages and answer the close: some trips over a slow network."""

EXTENSION: Final = "voice_agent"
"""Where the application finds its `Wire`, among the extensions in its ASGI scope."""

ReceiveAll: TypeAlias = Callable[[bool], Awaitable[list[Message]]]
"""See `Protocol.receive_all`."""


@dataclass(frozen=True, slots=True)
class Wire:
    """Abilities of this server beyond ASGI."""

    receive_all: ReceiveAll
    abort: Callable[[], None]
    """Drop the connection, with what the client has not yet taken."""


class Protocol(WebSocketsSansIOProtocol, asyncio.BufferedProtocol):
    """uvicorn's WebSocket, which offers the application a `Wire`, and is gone soon after its end."""

    _received = memoryview(bytearray(READ_BYTES))
    """Read buffer for asyncio, in place of 256 KiB a connection. It is emptied at once, so all connections share it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn.available_extensions = None  # deflate: PCM gets no smaller
        self.conn.max_message_size = MAX_FRAMES_BYTES
        self.close_timeout = LINGER_S
        self._behind = False
        """More had come than was read."""
        self._lingering: asyncio.TimerHandle | None = None

    def handle_connect(self, event: "Request") -> None:
        """See uvicorn. The application, which this starts, begins at the loop's next turn."""
        super().handle_connect(event)
        if not self.conn.handshake_exc:
            self.scope["extensions"][EXTENSION] = cast(
                Any, Wire(cast(ReceiveAll, self.receive_all), self.transport.abort)
            )

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        return self._received

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        self.data_received(bytes(self._received[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        """See uvicorn."""
        if self._lingering:
            self._lingering.cancel()
        super().connection_lost(exc)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """See uvicorn. The application has ended, and with it all that there was to say."""
        super().on_task_complete(task)
        self._linger()

    def shutdown(self) -> None:
        """See uvicorn. The server ends."""
        super().shutdown()
        self._linger()

    def _linger(self) -> None:
        if not self._lingering and not self.disconnected:
            self._lingering = self.loop.call_later(LINGER_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """See uvicorn. A client whose answer is not read yet is not dead, and one that is dead is not waited for."""
        if self.read_paused:
            self.pong_timer = self.loop.call_later(self.ping_timeout or 0, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self.transport.abort()

    def send_receive_event_to_app(self) -> None:
        """See uvicorn. Text that is none gets a line in the log, where uvicorn writes a traceback."""
        if self.curr_msg_data_type == "text" and not self.close_sent and not _is_utf8(b"".join(self.frames)):
            log.warning("a client sent text that is not UTF-8: its connection is closed")
            self.frames = []
            self.conn.send_close(CloseCode.INVALID_DATA, "text is not UTF-8")
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        """See uvicorn. A client that does not read gets no pongs: they would be kept without bound."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    async def send(self, message: "ASGISendEvent") -> None:
        """See uvicorn. After a fault of the client's, or no sign of it, it is gone."""
        if self.close_sent:
            raise ClientDisconnected
        await super().send(message)

    async def receive(self) -> "ASGIReceiveEvent":
        """See uvicorn."""
        self._read_on()
        return await super().receive()

    async def receive_all(self, unhurried: bool) -> list["ASGIReceiveEvent"]:
        """The next message and all that came with it; a disconnect comes by itself.

        With `unhurried`, what comes in the next `REST_S` is left to the kernel to gather, which wakes nobody.
        """
        if unhurried and not self._behind and self.queue.empty():
            await self._rest()
        else:
            self._behind = False
        self._read_on()
        messages = [await self.queue.get()]
        while not self.queue.empty():
            message = self.queue.get_nowait()
            if message["type"] == "websocket.disconnect":
                self.queue.put_nowait(message)  # the last one that there is
                break
            messages.append(message)
        return messages

    async def _rest(self) -> None:
        if self.transport.get_extra_info("sslcontext"):
            return  # what the kernel has is not yet what the client sent
        self._pause_reading()
        await asyncio.sleep(REST_S - self.loop.time() % GRID_S)
        if self.transport.is_closing():
            return
        try:
            data = os.read(self.transport.get_extra_info("socket").fileno(), READ_BYTES)
        except OSError:
            return  # nothing came, or what is wrong comes up when reading goes on
        self._behind = len(data) == READ_BYTES
        if data:
            self.data_received(data)

    def _pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        """uvicorn pauses reading while a message waits for the application."""
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self.transport.resume_reading()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
