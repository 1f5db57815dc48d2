"""A server whose engines take known times: `python -m tests.lab.known_server PORT MS`.

Everything but the engines is the real one. They sleep, on the server's clock: the reply to every utterance is ready MS
milliseconds after its last frame.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, WebSocket

from tests.scripted import Script
from voice_agent.agent import Agent
from voice_agent.config import Settings
from voice_agent.transports import native
from voice_agent.transports.telephony import twilio

STOP_MS = Settings().turn.stop_ms
TRANSCRIPT_MS = 150
TOKEN_MS = 100
"""The reply is one word."""
QUESTION = "What time is it?"


class _Repeating(list[str]):
    """The same text at every silence."""

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, _: object) -> str:  # type: ignore[override]
        return QUESTION

    def __setitem__(self, *_: object) -> None: ...


def agent(ms: float) -> Agent:
    script = Script()
    script.transcriber.texts = _Repeating()  # type: ignore[assignment]
    script.transcriber.delay_s = TRANSCRIPT_MS / 1000
    script.generator.delay_s = TOKEN_MS / 1000
    script.generator.replies = ["Yes-indeed."] * 1000
    script.synthesizer.delay_s = (ms - STOP_MS - TRANSCRIPT_MS - TOKEN_MS) / 1000
    return Agent(Settings(), script.engines())


def main(port: int, ms: float) -> None:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with serving.running():
            yield  # the engines have nothing to load

    serving = agent(ms)
    app = FastAPI(lifespan=lifespan)

    @app.websocket("/ws")
    async def _ws(socket: WebSocket) -> None:
        await native.serve(socket, serving)

    @app.websocket("/telephony/twilio")
    async def _twilio(socket: WebSocket) -> None:
        await twilio.serve(socket, serving)

    @app.get("/readyz")
    async def _readyz() -> dict[str, str]:
        return {}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
