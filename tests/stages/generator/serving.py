"""An OpenAI-compatible API on loopback that does as the test says, and what a generator makes of it."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from voice_agent.config import LlmSettings
from voice_agent.stages.generator.deltas import (
    Delta,
    Finish,
    Retract,
    TextDelta,
    ThoughtDelta,
    ToolCallDelta,
)
from voice_agent.stages.generator.openai_api import OpenAIGenerator
from voice_agent.stages.generator.request import Message
from voice_agent.stages.generator.request import Request as Asked

HELLO = Asked((Message("system", "Be brief."), Message("user", "Hello!")))
PROMPTLY_S = 5.0
"""Bound on what takes milliseconds, so that a test fails and does not hang."""

Handler = Callable[[Request], Awaitable[Response]]
Piece = str | bytes | dict[str, Any]
"""Of a body. Text that begins with no field of an event is a delta's content; a dict is a delta."""


@dataclass
class Endpoint:
    """Each request for a reply takes the next handler; the last one stays."""

    handlers: list[Handler]
    url: str = ""
    models: Any = field(default_factory=lambda: {"data": [{"id": "first-model"}, {"id": "second-model"}]})
    """What the list of models is; an int is a status."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    connections: list[object] = field(default_factory=list)
    """Address of the client, for each request."""
    touches: list[object] = field(default_factory=list)
    """The same of each request about one model."""
    touched: asyncio.Event = field(default_factory=asyncio.Event)

    async def reply(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("authorization"))
        self.connections.append(request.client)
        return await (self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0])(request)

    async def touch(self, request: Request) -> Response:
        self.touches.append(request.client)
        self.touched.set()
        return JSONResponse({"detail": "Not Found"}, 404)

    async def list(self, request: Request) -> Response:
        if isinstance(self.models, int):
            return JSONResponse({"detail": "Not Found"}, self.models)
        return JSONResponse(self.models)


@asynccontextmanager
async def serving(*handlers: Handler) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(list(handlers))
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", endpoint.reply, methods=["POST"]),
            Route("/v1/models", endpoint.list),
            Route("/v1/models/{name:path}", endpoint.touch),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        endpoint.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        task = asyncio.create_task(server.serve([listening]))
        yield endpoint
        server.should_exit = server.force_exit = True
        await task


def chunk(**choice: Any) -> str:
    """An event with one choice."""
    return data({"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]})


def event(**delta: Any) -> str:
    """An event with one delta."""
    return chunk(delta=delta, finish_reason=None)


def data(document: object) -> str:
    return f"data: {json.dumps(document)}\n\n"


def finish(reason: str = "stop", **delta: Any) -> str:
    return chunk(delta=delta, finish_reason=reason)


DONE = "data: [DONE]\n\n"


def encoded(pieces: Iterable[Piece]) -> list[str | bytes]:
    """A body: events where a piece is text, or a delta."""
    body: list[str | bytes] = []
    for piece in pieces:
        if isinstance(piece, dict):
            piece = event(**piece)
        elif isinstance(piece, str) and not piece.startswith(("data:", "event:", ":")):
            piece = event(content=piece)
        body.append(piece)
    return body


def answers(*body: Piece, kind: str = "text/event-stream", status: int = 200) -> Handler:
    """A handler whose body is that."""

    async def handler(_: Request) -> Response:
        async def sent() -> AsyncIterator[str | bytes]:
            for piece in encoded(body):
                yield piece

        return StreamingResponse(sent(), status, media_type=kind)

    return handler


def says(*pieces: Piece) -> Handler:
    """A handler that streams `pieces` as a whole reply."""
    return answers({"role": "assistant", "content": ""}, *pieces, finish(), DONE)


def breaks_off(*pieces: Piece) -> Handler:
    """A handler whose connection is cut after `pieces`."""

    async def handler(_: Request) -> Response:
        async def body() -> AsyncIterator[str | bytes]:
            for line in encoded(pieces):
                yield line
            raise ConnectionAbortedError

        return StreamingResponse(body(), media_type="text/event-stream")

    return handler


@dataclass
class Hanging:
    """A handler that says its pieces and then nothing, until the client leaves."""

    pieces: tuple[Piece, ...] = ()
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, _: Request) -> Response:
        async def body() -> AsyncIterator[str | bytes]:
            try:
                for line in encoded(({"role": "assistant"}, *self.pieces)):
                    yield line
                self.waiting.set()
                await asyncio.Event().wait()
            finally:
                self.left.set()

        return StreamingResponse(body(), media_type="text/event-stream")


def thinks_for_ever(every_s: float) -> Handler:
    """A handler that sends a thought again and again."""

    async def handler(_: Request) -> Response:
        async def body() -> AsyncIterator[str]:
            while True:
                yield event(reasoning_content="Hm. ")
                await asyncio.sleep(every_s)

        return StreamingResponse(body(), media_type="text/event-stream")

    return handler


def refuses(status: int, message: str = "no", headers: dict[str, str] | None = None, **error: Any) -> Handler:
    async def handler(_: Request) -> Response:
        return JSONResponse({"error": {"message": message, **error}}, status, headers)

    return handler


@asynccontextmanager
async def asking(endpoint: Endpoint, **settings: Any) -> AsyncIterator[OpenAIGenerator]:
    generator = OpenAIGenerator(LlmSettings(**{"base_url": endpoint.url, "model": "parrot", **settings}))
    yield generator
    await generator.close()


@dataclass
class Answer:
    """A reply, as its reader is left with it."""

    deltas: list[Delta] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """Of the text deltas, but for those that were taken back."""
    thought: str = ""
    retracted: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    """Id, name and arguments of each."""
    end: Finish | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def take(self, delta: Delta) -> None:
        """Also checks what holds for every stream."""
        assert self.end is None, "nothing comes after Finish"
        self.deltas.append(delta)
        match delta:
            case TextDelta(text):
                assert text
                text.encode()  # no half characters
                self.texts.append(text)
            case ThoughtDelta(text):
                assert text
                self.thought += text
            case Retract():
                self.retracted, self.texts = self.text, []
            case ToolCallDelta(index, str() as id, str() as name, arguments):
                assert index == len(self.calls)
                self.calls.append((id, name, arguments))
            case ToolCallDelta(index, None, None, arguments):
                id, name, before = self.calls[index]
                self.calls[index] = (id, name, before + arguments)
            case Finish():
                self.end = delta
            case _:
                raise AssertionError(delta)


async def reply(deltas: AsyncGenerator[Delta, None]) -> Answer:
    """All of a stream."""
    answer = Answer()
    async with asyncio.timeout(PROMPTLY_S), aclosing(deltas):
        async for delta in deltas:
            answer.take(delta)
    assert answer.end, "a Finish comes always"
    return answer


async def read(endpoint: Endpoint, *body: Piece, kind: str = "text/event-stream") -> Any:
    """The reply to a body, asked for once."""
    endpoint.handlers[:] = [answers(*body, kind=kind)]
    async with asking(endpoint, retries=0) as generator:
        return await reply(generator.stream(HELLO))
