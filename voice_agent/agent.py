"""The agent as a whole: its engines, who is admitted, and how it ends."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from voice_agent.config import Settings
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.session import Session
from voice_agent.engines import Engine, Engines
from voice_agent.errors import StageError, VoiceAgentError
from voice_agent.hosting import HostedSession
from voice_agent.rehearsal import rehearse

log = logging.getLogger(__name__)

START_AGAIN_S: Final = 5.0
"""Between two attempts to start an engine."""

CLOSE_WITHIN_S: Final = 0.7
"""How long each engine may take to end; with the process its threads and its processes end anyway."""

LAG_EVERY_S: Final = 1.0
"""How often the event loop's lag is measured."""

_sessions = Gauge("voice_agent_sessions", "Sessions under way.", multiprocess_mode="livesum")
_refused = Counter("voice_agent_sessions_refused", "Sessions refused, by reason.", ["reason"])
_lag = Histogram(
    "voice_agent_event_loop_lag_seconds",
    "How late the event loop runs what is due.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)


class Refused(VoiceAgentError):  # noqa: N818 - an answer, not a fault
    """No session can begin now; `code` says why in one word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Choices:
    """What a client may choose from, and what it gets if it does not."""

    voices: tuple[str, ...]
    voice: str
    languages: tuple[str, ...]
    """Two-letter codes."""
    language: str | None
    """None where it is detected."""


class Agent:
    """Holds the engines and admits sessions to them."""

    def __init__(self, settings: Settings, engines: Engines) -> None:
        self.settings = settings
        self.engines = engines
        self.ready = False
        """Every engine was loaded, and the server is not about to end."""
        self._failures: dict[str, str] = {}
        """Why an engine could not be started, as far as is known now, by its class."""
        self.draining = asyncio.Event()
        """Set when the server is about to end; a transport then tells its client and closes."""
        self._open = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def failure(self) -> str | None:
        """Why it can't become ready now; None while it may."""
        return "; ".join(self._failures.values()) or None

    @property
    def serving(self) -> bool:
        """Whether a session could begin now, if there is a place."""
        return self.ready and self.engines.hung is None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the engines, in the background, for as long as the context lasts."""
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(self._load()), tasks.create_task(_measure_lag())]
                try:
                    yield
                finally:
                    for task in background:
                        task.cancel()
        finally:
            self.ready = False
            await self._close_engines()

    async def _close_engines(self) -> None:
        """All at once, so that one that hangs keeps no other."""
        closing = {asyncio.create_task(engine.close()): engine for engine in self.engines.all()}
        done, hanging = await asyncio.wait(closing, timeout=CLOSE_WITHIN_S)
        for task in hanging:
            task.cancel()
            log.error("%s did not close within %.1f s", type(closing[task]).__name__, CLOSE_WITHIN_S)
        for task in done:
            if error := task.exception():
                log.error("%s failed to close", type(closing[task]).__name__, exc_info=error)

    def choices(self) -> Choices:
        """What a session may ask for.

        Raises:
            Refused: the agent is loading, or about to end.
        """
        self._check_ready()
        voices = self.engines.synthesizer.voices
        return Choices(voices, voices[0], self.engines.transcriber.languages, self.settings.stt.language)

    @asynccontextmanager
    async def session(self, options: SessionOptions) -> AsyncIterator[Session]:
        """A session that ends with the context, if there is room for one.

        Raises:
            Refused: the agent is loading, full, or about to end.
        """
        hosted = await self.begin(options)
        try:
            async with hosted.attached() as session:
                yield session
        finally:
            await self.end(hosted)

    async def begin(self, options: SessionOptions) -> HostedSession:
        """A session that goes on until `end`, whoever is attached to it.

        Raises:
            Refused: the agent is loading, full, or about to end.
        """
        try:
            self._admit()
        except Refused as refusal:
            _refused.labels(refusal.code).inc()
            raise
        self._count(1)
        try:
            return await HostedSession.begin(self.engines, self.settings, options)
        except BaseException:
            self._count(-1)
            raise

    async def end(self, hosted: HostedSession) -> None:
        """End a session, and give its place to the next."""
        try:
            await hosted.end()
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        self._open += more
        _sessions.inc(more)
        if self._open:
            self._empty.clear()
        else:
            self._empty.set()

    async def drain(self, patience_s: float) -> None:
        """Admit nobody any more, have every session told, and wait for them to end."""
        self.ready = False
        self.draining.set()
        try:
            async with asyncio.timeout(patience_s):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%d sessions had not ended after %.0f s", self._open, patience_s)

    def _admit(self) -> None:
        self._check_ready()
        limit = self.settings.server.max_sessions
        if self._open >= limit:
            raise Refused("server_full", f"all {limit} places are taken; try again later")
        if self.engines.load.full:
            raise Refused("server_full", "as many conversations go on as can be served; try again later")

    def _check_ready(self) -> None:
        if self.draining.is_set():
            raise Refused("shutting_down", "the server is shutting down")
        if self.failure:
            raise Refused("not_ready", f"the server could not load its engines: {self.failure}")
        if not self.ready:
            raise Refused("not_ready", "the server is still loading its engines; try again in a few seconds")
        if hung := self.engines.hung:
            raise Refused("not_ready", hung)

    async def _load(self) -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()
        await asyncio.gather(*map(self._start, self.engines.all()))
        if self.failure:
            log.error("not ready, and it will not be: %s", self.failure)
            return
        measured = self.settings.server.max_conversations == "measured"
        if measured:
            await rehearse(self.engines)
        self.ready = True
        log.info("ready after %.1f s", clock() - begun)
        if measured:
            await self.engines.load.watch()

    async def _start(self, engine: Engine) -> None:
        """Until it works: an endpoint may come up after us. A wrong setting or missing weights stay as they are."""
        name = type(engine).__name__
        while True:
            try:
                await engine.start()
            except StageError as error:
                self._failures[name] = str(error)
                log.error("not ready, trying again in %.0f s: %s", START_AGAIN_S, error)
                await asyncio.sleep(START_AGAIN_S)
                continue
            except VoiceAgentError as error:
                self._failures[name] = str(error)
            except Exception as error:
                self._failures[name] = f"{name} failed: {type(error).__name__}: {error}"
                log.exception("%s failed in a way that nobody foresaw", name)
            else:
                self._failures.pop(name, None)
            return


async def _measure_lag() -> None:
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + LAG_EVERY_S
        await asyncio.sleep(LAG_EVERY_S)
        _lag.observe(max(0.0, clock() - due))
