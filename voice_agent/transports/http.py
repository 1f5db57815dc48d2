"""The server's end of plain HTTP: uvicorn's, with limits of time and number.

uvicorn waits without bound for a request, and for a client to take the answer, and lets in as many as come.
"""

import asyncio
from typing import Any, ClassVar, Final

from prometheus_client import Counter
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_WITHIN_S: Final = 10.0
"""How long a client may take to send a request, its body included, from when it connected or had its last answer.
One that keeps the connection for later has less, uvicorn's `timeout_keep_alive`."""

TAKE_WITHIN_S: Final = 10.0
"""How long an answer may wait for the client to read on."""

_dropped = Counter(
    "voice_agent_connections_dropped", "Connections that asked nothing, dropped to make room for others."
)


class Protocol(H11Protocol):
    """uvicorn's HTTP, whose clients have to get on with it."""

    max_connections: ClassVar[int] = 512
    """Connections at once, sessions and visitors of the page: half of the files that a process may commonly open
    (1024), for the engines have connections too. One more takes the place of the one that is waited for longest."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked_since: float | None = None
        """Since when a request is waited for, on the loop's clock; None while one is answered."""
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See uvicorn."""
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > self.max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """See uvicorn."""
        self._no_limit()
        self.asked_since = None
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """See uvicorn."""
        super().handle_events()
        if self.cycle and not self.cycle.response_complete and not self.cycle.more_body:
            self._no_limit()
            self.asked_since = None

    def handle_websocket_upgrade(self, event: Any) -> None:
        """See uvicorn. The connection is in the hands of `websocket.Protocol` from here on."""
        self._no_limit()
        self.asked_since = None
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """See uvicorn."""
        self._await_request()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """See uvicorn. The client does not read on."""
        super().pause_writing()
        self._set_limit(TAKE_WITHIN_S)

    def resume_writing(self) -> None:
        """See uvicorn."""
        super().resume_writing()
        if self.asked_since is None:
            self._no_limit()
        else:
            self._await_request()

    def _await_request(self) -> None:
        self.asked_since = self.loop.time()
        self._set_limit(REQUEST_WITHIN_S)

    def _set_limit(self, seconds: float) -> None:
        self._no_limit()
        self._limit = self.loop.call_later(seconds, self.transport.abort)

    def _no_limit(self) -> None:
        if self._limit:
            self._limit.cancel()
            self._limit = None

    def _make_room(self) -> None:
        """Drop the connection that has been waited for longest; this one, if all others are in use."""
        waited_for = [
            connection
            for connection in self.connections
            if isinstance(connection, Protocol) and connection.asked_since is not None
        ]
        longest = min(waited_for, key=lambda connection: connection.asked_since or 0.0)
        _dropped.inc()
        longest.asked_since = None
        longest.transport.abort()
