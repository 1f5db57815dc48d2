"""A caller who talks to a session on virtual time: hesitates, interrupts, coughs, and has engines fail on them.

Everything is drawn from one seed. The caller is a player, too: it plays what it is sent at real time, pauses and goes
on when told to, and reports its position.
"""

import asyncio
import random
import selectors
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np

from tests.scripted import (
    Script,
    ScriptedEndpoint,
    ScriptedGenerator,
    ScriptedSynthesizer,
    ScriptedTranscriber,
    silence,
    speech,
)
from voice_agent.audio import FRAME_MS, Pcm16, samples_to_ms
from voice_agent.config import Settings, TurnSettings
from voice_agent.dialogue.events import (
    Event,
    ResponseAudio,
    ResponseEnded,
    ResponsePaused,
    ResponseResumed,
    ResponseStarted,
    ResponseText,
)
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.session import Session, open_session
from voice_agent.errors import StageError
from voice_agent.stages.english import words
from voice_agent.stages.generator.deltas import Delta, Finish, TextDelta
from voice_agent.stages.generator.request import Request
from voice_agent.stages.transcriber import Transcript

WORDS = sorted(words("the king had three clever daughters who went far away to look for water and gold"))
UTTERANCES = (
    "what time is it",
    "tell me more",
    "no wait",
    "stop",
    "I would like to book a",
    "my number is two",
)
BACKCHANNELS = ("mm-hm", "yeah", "okay right")
FAILURE = 0.03
"""Share of the calls to an engine that fail."""
REPORT_EVERY_S = 0.2
LAG_S = 0.15
"""How long the line is held up at times."""
BREATH_MS = 200
"""Silence after which the scripted transcriber takes it that one thing was said and another begins."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: where it would, its clock jumps on. For tests without real input and output,
    and far quicker than looptime on an hour of short sleeps."""

    def __init__(self) -> None:
        super().__init__(_Impatient())
        self._selector: _Impatient

    def time(self) -> float:
        return self._selector.now


class _Impatient(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is scheduled: this would wait for ever"
        self.now += max(0.0, timeout)
        return []


class Failing:
    """Engines that are now fast, now slow, and fail at times."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.failures = 0

    async def delay(self, stage: str, shortest_s: float, longest_s: float) -> None:
        slow = self.chance.random() < 0.02
        await asyncio.sleep(self.chance.uniform(shortest_s, longest_s) * (20 if slow else 1))
        if self.chance.random() < FAILURE:
            self.failures += 1
            raise StageError(stage, "drawn by lot")


@dataclass
class Transcriber(ScriptedTranscriber):
    """Knows what the caller says now."""

    failing: Failing = field(default_factory=lambda: Failing(random.Random(0)))
    saying: str = ""

    async def transcribe(
        self, pcm: Pcm16, *, language: str | None = None, prompt: str | None = None, partial: bool = False
    ) -> Transcript:
        text = self.saying
        await self.failing.delay("transcriber", 0.05, 0.15)
        return Transcript(text, "en", avg_logprob=-0.2, no_speech_prob=0.0, compression_ratio=1.0)


@dataclass
class Endpoint(ScriptedEndpoint):
    failing: Failing = field(default_factory=lambda: Failing(random.Random(0)))

    async def score(self, pcm: Pcm16) -> float:
        await self.failing.delay("endpoint", 0.01, 0.1)
        return self.failing.chance.random()


@dataclass
class Generator(ScriptedGenerator):
    failing: Failing = field(default_factory=lambda: Failing(random.Random(0)))

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.asked.append(list(request.messages))
        chance = self.failing.chance
        self.running += 1
        try:
            for _ in range(chance.choice((1, 2, 6))):
                await self.failing.delay("generator", 0.05, 0.3)
                yield TextDelta(" ".join(chance.choices(WORDS, k=chance.randint(2, 12))).capitalize() + ". ")
            yield Finish("stop")
        finally:
            self.running -= 1


@dataclass
class Synthesizer(ScriptedSynthesizer):
    failing: Failing = field(default_factory=lambda: Failing(random.Random(0)))

    async def stream(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncGenerator[Pcm16, None]:
        async with aclosing(super().stream(text, voice=voice, language=language)) as pieces:
            async for pcm in pieces:
                for part in np.array_split(pcm, 4):
                    await self.failing.delay("synthesizer", 0.01, 0.05)
                    yield part


@dataclass
class Played:
    """One response, as the caller's loudspeaker knows it."""

    text: str = ""
    sent_ms: float = 0.0
    played_ms: float = 0.0
    remembered: str | None = None
    """The agent's last words in the history when it had ended; None where the user had said nothing by then: an apology
    for what could not be transcribed is not kept alone."""


class Caller:
    """Talks, listens, and keeps a log of all that happened, each entry with its (virtual) time in seconds."""

    def __init__(self, seed: int, options: SessionOptions) -> None:
        self.chance = random.Random(seed)
        self.options = options
        failing = Failing(random.Random(seed + 1))
        self.failing = failing
        self.transcriber = Transcriber(failing=failing)
        self.script = Script(
            self.transcriber,
            Generator(failing=failing),
            Synthesizer(failing=failing, delay_s=0.05),
            Endpoint(failing=failing),
        )
        self.log: list[tuple[float, Event]] = []
        self.responses: dict[str, Played] = {}
        self.held: list[tuple[float, float]] = []
        """When the button was pressed and released."""
        self.now_playing: str | None = None
        self.paused = False
        self.session: Session

    async def converse(self, seconds: float) -> None:
        """Hold a conversation of this length; at the end all is quiet."""
        settings = Settings(turn=TurnSettings(quiet_s=0))
        async with open_session(self.script.engines(), settings, self.options) as self.session:
            listening = asyncio.create_task(self._listen())
            clock = asyncio.get_running_loop().time
            end = clock() + seconds
            while clock() < end:
                await self._act()
            await self._send(silence(60_000))
            listening.cancel()

    async def _act(self) -> None:
        match self.chance.choices(
            ("ask", "hesitate", "push", "noise", "backchannel", "wait", "type", "interrupt"),
            (8, 3, 2, 3, 3, 6, 0.3, 0.3),
        )[0]:
            case "ask":
                await self._say(self.chance.choice(UTTERANCES), self.chance.randint(200, 2500))
            case "hesitate":
                await self._say("I would like to", self.chance.randint(300, 1500))
                await self._send(silence(self.chance.randint(100, 1200)))
                await self._say("I would like to book a table", self.chance.randint(300, 1500))
            case "push":
                await self._push_to_talk()
            case "noise":
                await self._say("", self.chance.randint(20, 500))
            case "backchannel":
                await self._say(self.chance.choice(BACKCHANNELS), self.chance.randint(150, 600))
            case "wait":
                await self._send(silence(self.chance.randint(500, 12_000)))
            case "type":
                self.session.read("typed")
            case "interrupt":
                self.session.interrupt()
        await self._send(silence(self.chance.choice((100, 400, 1500, 3000))))

    async def _push_to_talk(self) -> None:
        clock = asyncio.get_running_loop().time
        self.session.push_to_talk(True)
        pressed = clock()
        await self._send(silence(self.chance.randint(0, 500)))
        await self._say(self.chance.choice(("", *UTTERANCES)), self.chance.randint(20, 2500))
        await self._send(silence(self.chance.choice((0, 0, 100, 2000))))
        self.held.append((pressed, clock()))
        self.session.push_to_talk(False)
        await self._send(speech(self.chance.choice((0, 0, 40, 100))))  # what was under way

    async def _say(self, text: str, ms: int) -> None:
        self.transcriber.saying = text
        await self._send(speech(ms))

    async def _send(self, pcm: Pcm16) -> None:
        """Into the microphone, frame by frame, in real time; the loudspeaker goes on meanwhile."""
        size = self.options.input_rate * FRAME_MS // 1000
        for start in range(0, len(pcm), size):
            await asyncio.sleep(FRAME_MS / 1000)
            self._play(FRAME_MS)
            await self.session.hear(pcm[start : start + size])

    def _play(self, ms: float) -> None:
        if self.now_playing is None or self.paused:
            return
        response = self.responses[self.now_playing]
        before = response.played_ms
        response.played_ms = min(response.sent_ms, before + ms)
        if response.played_ms // (REPORT_EVERY_S * 1000) != before // (REPORT_EVERY_S * 1000):
            self.session.played(self.now_playing, response.played_ms)

    async def _listen(self) -> None:
        clock = asyncio.get_running_loop().time
        async for event in self.session.events():
            self.log.append((clock(), event))
            if self.chance.random() < 0.01:
                await asyncio.sleep(LAG_S)
            match event:
                case ResponseStarted():
                    self.responses[event.response] = Played()
                    self.now_playing, self.paused = event.response, False
                case ResponseText():
                    self.responses[event.response].text += event.text
                case ResponseAudio():
                    self.responses[event.response].sent_ms += samples_to_ms(
                        len(event.pcm), self.options.output_rate
                    )
                case ResponsePaused():
                    self.paused = True
                case ResponseResumed():
                    self.paused = False
                    if not self.options.client_pauses:
                        played = self.responses[event.response]
                        played.sent_ms = played.played_ms
                case ResponseEnded():
                    self.now_playing = None
                    messages = self.session.items.view().messages("")[1:]
                    kept = [message.content for message in messages if message.role == "assistant"]
                    if messages:
                        self.responses[event.response].remembered = kept[-1] if kept else ""
