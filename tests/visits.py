"""Every way in which a session can go and end, on virtual time: scripted engines, and a real ear."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from weakref import WeakSet

import numpy as np
import pytest

from tests.scripted import Script, silence
from voice_agent.agent import Agent, Refused
from voice_agent.audio import Pcm16, resample
from voice_agent.config import ServerSettings, Settings, SttSettings, TtsSettings, TurnSettings
from voice_agent.dialogue.events import (
    Event,
    ResponseAudio,
    ResponseEnded,
    ResponsePaused,
    SessionEnded,
    SpeechStarted,
    SpeechStopped,
    UserTranscript,
)
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.outbox import ClientTooSlow
from voice_agent.dialogue.session import Session
from voice_agent.errors import StageError

PIECE_MS = 100
"""In which audio is sent."""
WITHIN_S = 60
SETTINGS = Settings(
    server=ServerSettings(max_sessions=8, idle_s=8),
    turn=TurnSettings(quiet_s=3),
    stt=SttSettings(timeout_s=2),
    tts=TtsSettings(timeout_s=2),
)
OPTIONS = (
    SessionOptions(),
    SessionOptions(input_rate=8000, output_rate=8000, client_pauses=False, lead_ms=400),
    SessionOptions(input_rate=48_000, output_rate=48_000),
)
REPLY = "It is noon, I think. 😊 Or is it? The sun is high, and the shadows are short."


class Dropped(Exception):  # noqa: N818 - as a transport's
    """The socket has gone."""


class Visitor:
    """A client of one session."""

    def __init__(self, session: Session, voice: Pcm16) -> None:
        self.session = session
        self.events: list[Event] = []
        self._voice = voice
        self._news = asyncio.Condition()

    async def read(self) -> None:
        async for event in self.session.events():
            async with self._news:
                self.events.append(event)
                self._news.notify_all()

    async def hear(self, pcm: Pcm16) -> None:
        """Into the microphone, in real time; `pcm` is at 16 kHz."""
        rate = self.session.options.input_rate
        audio = resample(pcm, 16_000, rate)
        for piece in np.array_split(audio, max(1, len(audio) * 1000 // rate // PIECE_MS)):
            await asyncio.sleep(len(piece) / rate)
            await self.session.hear(piece)

    async def until(self, kind: type[Event], then: Pcm16 | None = None) -> None:
        """Wait for an event, silent meanwhile; or with `then`, saying that first."""
        if then is not None:
            await self.hear(then)
        seen = len([event for event in self.events if isinstance(event, kind)])
        async with asyncio.timeout(WITHIN_S):
            while seen == 0:
                await self.hear(silence(PIECE_MS))
                seen = len([event for event in self.events if isinstance(event, kind)])

    # Phases.

    async def listening(self) -> None:
        await self.hear(silence(300))

    async def speaking(self) -> None:
        await self.until(SpeechStarted, self._voice[: len(self._voice) // 2])

    async def transcribing(self) -> None:
        await self.until(SpeechStopped, self._voice)

    async def prepared(self) -> None:
        await self.until(UserTranscript, self._voice)

    async def replying(self) -> None:
        await self.until(ResponseAudio, self._voice)

    async def paused(self) -> None:
        await self.replying()
        await self.until(ResponsePaused, self._voice[: len(self._voice) * 2 // 3])

    async def answered(self) -> None:
        await self.until(ResponseEnded, self._voice)


PHASES: tuple[Callable[[Visitor], Awaitable[None]], ...] = (
    Visitor.listening,
    Visitor.speaking,
    Visitor.transcribing,
    Visitor.prepared,
    Visitor.replying,
    Visitor.paused,
    Visitor.answered,
)
Way = Callable[[], Awaitable[None]]


class Visits:
    """To one agent. `sessions` are those that somebody still holds on to."""

    def __init__(self, script: Script, agent: Agent, voice: Pcm16) -> None:
        self.script = script
        self.agent = agent
        self.voice = voice
        self.sessions: WeakSet[Session] = WeakSet()
        self._count = 0

    def ways(self) -> list[Way]:
        """All of them."""
        endings = (self.leave, self.drop, self.cancel, self.interrupt, self.type)
        every: list[Way] = [partial(ending, phase) for phase in PHASES for ending in endings]
        every += [partial(self.fail, stage, how) for stage in STAGES for how in TROUBLES]
        every += [self.too_slow, self.refused, self.forgotten, self.quiet, self.idle, self.drain]
        return every

    @asynccontextmanager
    async def visit(self, *, reads: bool = True) -> AsyncIterator[Visitor]:
        self._count += 1
        async with self.agent.session(OPTIONS[self._count % len(OPTIONS)]) as session:
            self.sessions.add(session)
            visitor = Visitor(session, self.voice)
            reading = asyncio.create_task(visitor.read() if reads else asyncio.sleep(0))
            try:
                yield visitor
            finally:
                reading.cancel()

    async def leave(self, phase: Callable[[Visitor], Awaitable[None]]) -> None:
        async with self.visit() as visitor:
            await phase(visitor)

    async def drop(self, phase: Callable[[Visitor], Awaitable[None]]) -> None:
        with pytest.raises(ExceptionGroup) as dropped:
            async with self.visit() as visitor:
                await phase(visitor)
                raise Dropped
        assert dropped.group_contains(Dropped)

    async def cancel(self, phase: Callable[[Visitor], Awaitable[None]]) -> None:
        reached = asyncio.Event()

        async def stay() -> None:
            async with self.visit() as visitor:
                await phase(visitor)
                reached.set()
                await asyncio.sleep(WITHIN_S)

        staying = asyncio.create_task(stay())
        await reached.wait()
        staying.cancel()
        await asyncio.wait({staying})
        assert staying.cancelled()

    async def interrupt(self, phase: Callable[[Visitor], Awaitable[None]]) -> None:
        async with self.visit() as visitor:
            await phase(visitor)
            visitor.session.interrupt()

    async def type(self, phase: Callable[[Visitor], Awaitable[None]]) -> None:
        async with self.visit() as visitor:
            await phase(visitor)
            visitor.session.read("one")
            visitor.session.read("two")

    async def fail(self, stage: str, how: "Trouble") -> None:
        with trouble(self.script, stage, how):
            async with self.visit() as visitor:
                await visitor.hear(self.voice)
                await visitor.hear(silence(2500))

    async def too_slow(self) -> None:
        self.script.generator.replies = [REPLY * 20]
        with pytest.raises(ExceptionGroup) as slow:
            async with self.agent.session(OPTIONS[2]) as session:
                self.sessions.add(session)
                session.read("a long story, please")
                for _ in range(300):
                    await asyncio.sleep(0.1)
                    session.played("resp_1", 0.0)
                async for _ in session.events():
                    pass
        assert slow.group_contains(ClientTooSlow)
        self.script.generator.replies = []

    async def refused(self) -> None:
        places = self.agent.settings.server.max_sessions
        hosted = [await self.agent.begin(SessionOptions()) for _ in range(places)]
        with pytest.raises(Refused, match="places are taken"):
            await self.agent.begin(SessionOptions())
        for each in hosted:
            await self.agent.end(each)

    async def forgotten(self) -> None:
        hosted = await self.agent.begin(SessionOptions())
        self.sessions.add(hosted.session)
        for phase in (Visitor.listening, Visitor.replying):
            async with hosted.attached() as session:
                visitor = Visitor(session, self.voice)
                reading = asyncio.create_task(visitor.read())
                await phase(visitor)
                reading.cancel()
        await asyncio.sleep(3.0)
        await self.agent.end(hosted)

    async def quiet(self) -> None:
        async with self.visit() as visitor:
            await visitor.until(SessionEnded)
            assert visitor.events[-1] == SessionEnded("quiet")

    async def idle(self) -> None:
        async with self.visit() as visitor:
            await asyncio.sleep(SETTINGS.server.idle_s + 1)
            assert visitor.events[-1] == SessionEnded("idle")

    async def drain(self) -> None:
        agent = Agent(SETTINGS, self.agent.engines)
        agent.ready = True
        hosted = [await agent.begin(SessionOptions()) for _ in range(2)]
        self.sessions.update(each.session for each in hosted)
        hosted[0].session.read("hello")
        draining = asyncio.create_task(agent.drain(2.0))
        await asyncio.sleep(0.5)
        for each in hosted:
            await agent.end(each)
        await draining


STAGES = ("transcriber", "endpoint", "generator", "synthesizer")
Trouble = Callable[[], Exception] | None
TROUBLES: tuple[Trouble, ...] = (partial(StageError, "stage", "no"), ZeroDivisionError, None)
"""What is raised, anew each time, for an exception keeps the frames that it passed; None: it hangs."""


@contextmanager
def trouble(script: Script, stage: str, how: Trouble) -> Iterator[None]:
    """An engine fails for as long as this lasts."""

    async def call(*_: object, **__: object) -> None:
        if how is None:
            await asyncio.sleep(1e6)
        else:
            raise how()

    async def stream(*_: object, **__: object) -> AsyncGenerator[None, None]:
        await call()
        yield

    name = {"transcriber": "transcribe", "endpoint": "score"}.get(stage, "stream")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(getattr(script, stage), name, stream if name == "stream" else call)
        yield
