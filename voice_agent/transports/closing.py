"""How a conversation over a WebSocket is held and closed, whatever its wire."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from fastapi import WebSocket, WebSocketDisconnect, status
from starlette.types import Message

from voice_agent.agent import Agent, Refused
from voice_agent.dialogue.outbox import ClientTooSlow
from voice_agent.transports.websocket import EXTENSION, Wire

log = logging.getLogger(__name__)

MAX_MESSAGE: Final = 1 << 20
"""Largest message from a client: bytes, or characters of text."""

SEND_WITHIN_S: Final = 10.0
"""A client that takes nothing for this long is given up."""

LAST_WORDS_S: Final = 1.0
"""How long the last message and the close may take to be written; then the connection is dropped. There is always
room for them but with a client that does not read."""

MAX_REASON: Final = 123
"""Longest reason in a close frame, bytes (RFC 6455, 5.5)."""


class Closed(Exception):  # noqa: N818 - how a conversation ends
    """The conversation is over, for a reason that the client is told; `code` is the reason in one word."""

    def __init__(self, close_code: int, code: str, message: str) -> None:
        super().__init__(message)
        self.close_code = close_code
        self.code = code


async def hold(
    socket: WebSocket,
    conversation: Callable[[], Awaitable[None]],
    tell: Callable[[Closed], Awaitable[None]],
) -> None:
    """Accept a socket, hold the conversation over it, and close it.

    Unless the conversation just ends, or the client goes, `tell` is called before the close with what ended it.
    """
    end: Closed | None = None
    gone = False
    try:
        await socket.accept()  # uvicorn writes its answer to the handshake at once, and waits for nobody
        await conversation()
    except* WebSocketDisconnect:
        gone = True
    except* Closed as group:
        end = _only(group)
    except* Refused as group:
        refusal = _only(group)
        end = Closed(status.WS_1013_TRY_AGAIN_LATER, refusal.code, str(refusal))
    except* ClientTooSlow as group:
        end = Closed(status.WS_1013_TRY_AGAIN_LATER, "slow_client", str(_only(group)))
    except* Exception as group:
        log.exception("a session failed", exc_info=group)
        end = Closed(status.WS_1011_INTERNAL_ERROR, "internal_error", "the session failed; connect again")
    if not gone:
        await _close(socket, end, tell)


async def _close(socket: WebSocket, end: Closed | None, tell: Callable[[Closed], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(LAST_WORDS_S):
            if end:
                await tell(end)
                await socket.close(end.close_code, _fitting(str(end)))
            else:
                await socket.close()
    except TimeoutError:
        wire = _wire(socket)
        if wire:
            wire.abort()
    except (WebSocketDisconnect, RuntimeError):
        pass  # the client has gone meanwhile


async def exchange(agent: Agent, read: Coroutine[Any, Any, None], write: Coroutine[Any, Any, None]) -> None:
    """Both directions at once, until there is no more to read.

    Raises:
        ExceptionGroup: of a `Closed` where the server ends first, and of whatever either direction raises.
    """
    async with asyncio.TaskGroup() as tasks:
        beside = [tasks.create_task(write), tasks.create_task(_server_ends(agent))]
        # A task of its own wakes up without passing through the thirty calls of the server's that lead here.
        await tasks.create_task(read)
        for task in beside:
            task.cancel()


async def _server_ends(agent: Agent) -> None:
    await agent.draining.wait()
    raise Closed(
        status.WS_1012_SERVICE_RESTART, "shutting_down", "the server is shutting down; connect again later"
    )


async def receive(socket: WebSocket) -> str | bytes:
    """The next message, text or binary.

    Raises:
        Closed: it is too large.
        WebSocketDisconnect: the client has gone.
    """
    return _content(await socket.receive())


async def receive_all(socket: WebSocket, *, unhurried: bool) -> list[str | bytes]:
    """The next message and all that came with it, in order. With `unhurried`, more may be waited for: see `Protocol`.

    On a server that does not offer it (a test's), it is one message at a time.

    Raises:
        Closed: one of them is too large.
        WebSocketDisconnect: the client has gone.
    """
    wire = _wire(socket)
    if not wire:
        return [await receive(socket)]
    return [_content(received) for received in await wire.receive_all(unhurried)]


def _wire(socket: WebSocket) -> Wire | None:
    wire: Wire | None = socket.scope.get("extensions", {}).get(EXTENSION)
    return wire


def _content(received: Message) -> str | bytes:
    if received["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(received.get("code", status.WS_1005_NO_STATUS_RCVD))
    text: str | None = received.get("text")
    message: str | bytes = received["bytes"] if text is None else text
    if len(message) > MAX_MESSAGE:
        raise Closed(
            status.WS_1009_MESSAGE_TOO_BIG,
            "too_large",
            f"a message of {len(message)} bytes; at most {MAX_MESSAGE} are taken",
        )
    return message


@asynccontextmanager
async def sending() -> AsyncIterator[None]:
    """For what is sent within.

    Raises:
        ClientTooSlow: the client did not take it in `SEND_WITHIN_S`.
    """
    try:
        async with asyncio.timeout(SEND_WITHIN_S):
            yield
    except TimeoutError:
        raise ClientTooSlow(f"nothing was read for {SEND_WITHIN_S:.0f} s") from None


def _fitting(reason: str) -> str:
    """As much of a reason as a close frame takes."""
    return reason.encode()[:MAX_REASON].decode(errors="ignore")


E = TypeVar("E", bound=Exception)


def _only(group: ExceptionGroup[E]) -> E:
    """The first exception in a group of groups."""
    error: E | ExceptionGroup[E] = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
