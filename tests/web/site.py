"""The page and a scripted server behind it, on one origin: for what needs no engines."""

import asyncio
import json
import mimetypes
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tests.scripted_server import Call, Script, Server, scripted

WEB = Path(__file__).parents[2] / "web"
OPTIONS = {"voices": ["joe", "amy"], "voice": "joe", "languages": ["en", "de"], "language": None}

T = TypeVar("T")


async def hold(call: Call) -> None:
    """Be ready, and leave the rest to the test."""
    await call.ready()
    await asyncio.Event().wait()


class Site:
    """A server that runs in a thread of its own, so that a test can go on with the page meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._server = Server()
        self.script: Script = hold
        """What the next calls do."""
        self.pages: dict[str, str] = {}
        """HTML by path, besides the files of web/."""

    @property
    def ws(self) -> str:
        return self._server.url

    @property
    def http(self) -> str:
        """The origin."""
        return self.ws.replace("ws://", "http://").removesuffix("/ws")

    @property
    def calls(self) -> list[Call]:
        """Those that said how they are to be."""
        return [call for call in self._server.calls if call.start]

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something on the server; for what does not wait for the page."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=5)

    async def run(self, opened: threading.Event, closing: asyncio.Event) -> None:
        async def act(call: Call) -> None:
            await self.script(call)

        async with scripted(act, self._answer) as self._server:
            opened.set()
            await closing.wait()

    def _answer(self, _: ServerConnection, request: Request) -> Response | None:
        """A file; a WebSocket where that is asked for."""
        path = request.path.split("?")[0]
        if path == "/ws":
            return None
        file = WEB / (path.lstrip("/") or "index.html")
        if path in self.pages:
            return _response("text/html", self.pages[path].encode())
        if path == "/options":
            return _response("application/json", json.dumps(OPTIONS).encode())
        if file.is_file():
            return _response(mimetypes.guess_type(file)[0] or "application/octet-stream", file.read_bytes())
        return _response("text/plain", b"", HTTPStatus.NOT_FOUND)


def _response(kind: str, body: bytes, status: HTTPStatus = HTTPStatus.OK) -> Response:
    headers = Headers(
        {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Access-Control-Allow-Origin": "*",
            "Connection": "close",
        }
    )
    return Response(status, status.phrase, headers, body)


@contextmanager
def site() -> Iterator[Site]:
    """Serve the page and its WebSocket, until the end."""
    loop = asyncio.new_event_loop()
    closing, opened = asyncio.Event(), threading.Event()
    served = Site(loop)
    thread = threading.Thread(target=loop.run_until_complete, args=[served.run(opened, closing)])
    thread.start()
    try:
        assert opened.wait(5)
        yield served
    finally:
        loop.call_soon_threadsafe(closing.set)
        thread.join(10)
        loop.close()
