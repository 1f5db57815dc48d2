"""Nothing is left of sessions that have ended, in whatever way: a thousand of them, counted."""

import asyncio
import gc
import json
import logging
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from itertools import cycle, islice
from socket import create_server

import numpy as np
import psutil
import pytest
import uvicorn
from fastapi import FastAPI, WebSocket
from prometheus_client import REGISTRY
from websockets.asyncio.client import ClientConnection, connect

from tests.dialogue.simulation.clock import VirtualTimeLoop
from tests.fixtures import packaged
from tests.scripted import Script, silence, speech
from tests.visits import SETTINGS, Visits
from voice_agent.agent import Agent
from voice_agent.audio import read_audio, ulaw_encode
from voice_agent.config import ServerSettings, Settings, VadSettings
from voice_agent.dialogue.options import SessionOptions
from voice_agent.hosting import HostedSession
from voice_agent.stages.vad import CascadeVad
from voice_agent.transports import native
from voice_agent.transports.telephony import twilio
from voice_agent.transports.websocket import Protocol

SESSIONS = 1000
WARM = 100
"""After so many, everything that is kept for good is there."""


@dataclass(frozen=True)
class Count:
    """What there is of each at one moment."""

    tasks: int
    threads: int
    os_threads: int
    files: int
    open: int
    gauge: float
    marks: int
    """Responses that are thought to be under way."""
    engine_calls: int
    rss_mib: float


def count(visits: Visits) -> Count:
    gc.collect()
    process = psutil.Process()
    script, agent = visits.script, visits.agent
    return Count(
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        os_threads=process.num_threads(),
        files=process.num_fds(),
        open=agent._open,
        gauge=REGISTRY.get_sample_value("voice_agent_sessions") or 0.0,
        marks=len(agent.engines.speculation._under_way),
        engine_calls=script.generator.running + script.synthesizer.running,
        rss_mib=process.memory_info().rss / 2**20,
    )


@pytest.fixture(autouse=True)
def _unlogged() -> Iterator[None]:
    log = logging.getLogger("voice_agent")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    yield
    log.setLevel(before)


def test_nothing_is_left_of_a_thousand_sessions() -> None:
    vad = CascadeVad(VadSettings())
    asyncio.run(vad.start())
    script = Script()
    agent = Agent(SETTINGS, replace(script.engines(), vad=vad))
    agent.ready = True
    [clip] = [clip for clip in packaged() if clip.path.name == "cards-001.wav"]
    visits = Visits(script, agent, read_audio(clip.path))
    counts: list[Count] = []

    async def come_and_go() -> None:
        ways = cycle(visits.ways())
        for number, way in enumerate(islice(ways, SESSIONS), 1):
            try:
                async with asyncio.timeout(600):
                    await way()
            except Exception as error:
                raise AssertionError(f"session {number}: {way}") from error
            await asyncio.sleep(0)
            for kept in (script.transcriber.heard, script.generator.asked, script.synthesizer.said):
                kept.clear()  # the script's own records
            if number % WARM == 0:
                counts.append(count(visits))

    with closing(VirtualTimeLoop()) as loop:
        loop.run_until_complete(come_and_go())
    for each in counts:
        print(each)
    warm, last = counts[0], counts[-1]
    assert replace(last, rss_mib=0, os_threads=0) == replace(warm, rss_mib=0, os_threads=0)
    assert last.os_threads <= warm.os_threads  # FFmpeg's are gone with the garbage
    assert (last.tasks, last.open, last.gauge, last.marks, last.engine_calls) == (1, 0, 0, 0, 0)
    assert not list(visits.sessions)
    middle = counts[len(counts) // 2 - 1]
    assert last.rss_mib - middle.rss_mib < 0.05 * middle.rss_mib


SID = "MZ0123456789abcdef0123456789abcdef"
BEGINNING = {
    "event": "start",
    "start": {
        "streamSid": SID,
        "callSid": "CA00",
        "accountSid": "AC00",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
    },
}


async def converse_on(socket: ClientConnection, wire: str, upto: str) -> None:
    """Go on up to a moment."""
    if upto == "connected":
        return
    await socket.send(json.dumps({"type": "start"} if wire == "/ws" else {"event": "connected"}))
    if wire == "/ws":
        await socket.recv()
    else:
        await socket.send(json.dumps(BEGINNING))
    if upto == "begun":
        return
    if wire == "/ws":
        await socket.send(json.dumps({"type": "text", "text": "hello"}))
        while not isinstance(await socket.recv(), bytes):
            pass
    else:
        loud = b64encode(ulaw_encode(np.concatenate((speech(500, 8000), silence(3500, 8000))))).decode()
        await socket.send(
            json.dumps({"event": "media", "streamSid": SID, "media": {"track": "inbound", "payload": loud}})
        )
        while json.loads(await socket.recv())["event"] != "media":
            pass


async def part(socket: ClientConnection, wire: str, how: str) -> None:
    match how:
        case "stops":
            await socket.send(json.dumps({"type": "stop"} if wire == "/ws" else {"event": "stop"}))
            async for _ in socket:
                pass
        case "closes":
            await socket.close()
        case "is cut":
            socket.transport.abort()


async def test_nothing_is_left_of_connections_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real sockets, on both wires, parted from in every way at every moment; and some that are refused."""
    script = Script()
    script.generator.delay_s = script.synthesizer.delay_s = script.transcriber.delay_s = 0.0
    script.generator.replies = ["A long story. " * 20] * 1000
    agent = Agent(Settings(server=ServerSettings(max_sessions=4)), script.engines())
    agent.ready = True
    visits = Visits(script, agent, silence(0))
    begin = agent.begin

    async def noted(options: SessionOptions) -> HostedSession:
        hosted = await begin(options)
        visits.sessions.add(hosted.session)
        return hosted

    monkeypatch.setattr(agent, "begin", noted)
    app = FastAPI()

    @app.websocket("/ws")
    async def _ws(socket: WebSocket) -> None:
        await native.serve(socket, agent)

    @app.websocket("/twilio")
    async def _twilio(socket: WebSocket) -> None:
        await twilio.serve(socket, agent)

    ways = [
        (wire, upto, how)
        for wire in ("/ws", "/twilio")
        for upto in ("connected", "begun", "mid-reply")
        for how in ("stops", "closes", "is cut")
        if (upto, how) != ("connected", "stops")
    ]
    async with serving(app) as url:
        counts = []
        for _ in range(3):
            for wire, upto, how in ways:
                async with asyncio.timeout(30), connect(url + wire) as socket:
                    await converse_on(socket, wire, upto)
                    await part(socket, wire, how)
            await refused(url)
            async with asyncio.timeout(30):
                while visits.sessions or agent._open or len(asyncio.all_tasks()) > MOST_TASKS:
                    await asyncio.sleep(0.01)
                    gc.collect()
            counts.append((count(visits), len(psutil.Process().net_connections())))
    for each in counts:
        print(each)
    (first, sockets), *_, (last, sockets_then) = counts
    assert replace(last, rss_mib=0, os_threads=0) == replace(first, rss_mib=0, os_threads=0)
    assert (last.open, last.gauge, last.marks, last.engine_calls) == (0, 0, 0, 0)
    assert sockets_then == sockets


MOST_TASKS = 3
"""The test's, the server's, and its lifespan's."""


async def refused(url: str) -> None:
    """A full house."""
    async with AsyncExitStack() as stack:
        for _ in range(4):
            socket = await stack.enter_async_context(connect(f"{url}/ws"))
            await converse_on(socket, "/ws", "begun")
        late = await stack.enter_async_context(connect(f"{url}/ws"))
        await late.send(json.dumps({"type": "start"}))
        assert json.loads(await late.recv())["code"] == "server_full"


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    listening = create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, ws=Protocol, log_config=None))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
