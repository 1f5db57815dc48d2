"""The server's end of a WebSocket: uvicorn's, which can also hand over everything that has come at once.

What an idle session costs is waking up: on two cores, a message of 20 ms that wakes the server takes 1 ms of
processor time, and 0.1 ms as one of ten (`docs/latency.md`).
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from starlette.types import Message
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent
    from websockets.http11 import Request

REST_S: Final = 0.25
"""How long what comes may wait when nobody is in a hurry. A word of 130 ms is still noticed before the silence after it
is long enough to mean anything (120 ms, `Prepare`): all that comes later is the news that somebody speaks."""

GRID_S: Final = 0.02
"""Rests end on multiples of this: a hundred sessions then wake the server fifty times a second, not 500."""

READ_BYTES: Final = 1 << 16
"""Most that is read at the end of a rest: 0.7 s of audio at 48 kHz. When there is more, the next rest is left out."""

EXTENSION: Final = "voice_agent"
"""Where the application finds `receive_all`, among the extensions in its ASGI scope."""

ReceiveAll: TypeAlias = Callable[[bool], Awaitable[list[Message]]]
"""See `Protocol.receive_all`."""


class Protocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which offers the application `receive_all`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn.available_extensions = None  # deflate: PCM gets no smaller
        self._behind = False
        """More had come than was read."""

    def handle_connect(self, event: "Request") -> None:
        """See uvicorn. The application, which this starts, begins at the loop's next turn."""
        super().handle_connect(event)
        if not self.conn.handshake_exc:
            self.scope["extensions"][EXTENSION] = {"receive_all": self.receive_all}

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
