"""The BentoML service, and the FastAPI app that it mounts.

BentoML's supervising process imports this module too. It needs none of the engines, so they are imported where
the worker begins: that is nearly two seconds of the start, and 85 MB.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import bentoml
import uvicorn.config
from fastapi import FastAPI, HTTPException, WebSocket, status
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

from voice_agent import supervision
from voice_agent.config import load_settings
from voice_agent.ending import bound_supervisor, bound_uvicorn, drain_on_signals
from voice_agent.logs import log_to_stderr
from voice_agent.transports import http

if TYPE_CHECKING:
    from voice_agent.agent import Agent, Choices

_HERE: Final = Path(__file__).parent
WEB: Final = next(folder for folder in (_HERE / "web", _HERE.parent / "web") if folder.is_dir())
"""The page: in the package where that was installed, beside it in the repository."""

settings: Final = load_settings()  # on import, so that a wrong setting ends `bentoml serve` at once


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    supervision.end_with_owner()
    supervision.forget_dead_workers()  # before our own metrics are there

    from voice_agent.agent import Agent
    from voice_agent.engines import Engines

    log_to_stderr()
    agent = app.state.agent = Agent(settings, Engines.build(settings))
    drain_on_signals(agent)
    async with agent.running():
        yield


app = FastAPI(title="Voice Agent", lifespan=_lifespan, openapi_url=None)
app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["GET"])  # for pages that embed ours


@app.websocket("/ws")
async def _ws(socket: WebSocket) -> None:
    from voice_agent.transports import native

    await native.serve(socket, app.state.agent)


@app.websocket("/telephony/twilio")
async def _twilio(socket: WebSocket) -> None:
    from voice_agent.transports.telephony import twilio

    await twilio.serve(socket, app.state.agent)


@app.get("/options", response_model=None)
async def _options() -> "Choices":
    from voice_agent.agent import Refused

    agent: Agent = app.state.agent
    try:
        return agent.choices()
    except Refused as refusal:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, str(refusal)) from refusal


class _Page(StaticFiles):
    """Files that a browser asks for again each time, by their ETag: modules of two versions do not mix."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


app.mount("/", _Page(directory=WEB, html=True))


@bentoml.service(workers=1, traffic={"timeout": 60})
@bentoml.asgi_app(app, path="/")
class VoiceAgent:
    """One worker: sessions share the engines, and admission is the agent's own."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def supervise() -> None:
        """In the supervising process, before there is a worker."""
        log_to_stderr()
        bound_supervisor()
        supervision.supervise()

    async def __is_ready__(self) -> bool:
        """For `/readyz`: every engine has done its work once and still can, and the server is not about to end."""
        agent: Agent | None = getattr(app.state, "agent", None)
        return agent is not None and agent.serving


# BentoML passes no options on to uvicorn, so they are put where it looks them up.
bound_uvicorn()
uvicorn.config.HTTP_PROTOCOLS["auto"] = "voice_agent.transports.http:Protocol"
uvicorn.config.WS_PROTOCOLS["auto"] = "voice_agent.transports.websocket:Protocol"
http.Protocol.max_connections = max(http.Protocol.max_connections, 2 * settings.server.max_sessions)
