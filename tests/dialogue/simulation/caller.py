"""The caller: talks, hesitates, interrupts, coughs, types, holds the button, and loses the line."""

import asyncio
import random
from collections.abc import Callable

from tests.dialogue.simulation.client import Client
from tests.dialogue.simulation.engines import Transcriber
from tests.scripted import silence, speech
from voice_agent.audio import FRAME_MS, Pcm16
from voice_agent.dialogue.events import (
    Event,
    ResponseEnded,
    ResponsePaused,
    ResponseResumed,
    ResponseStarted,
    SpeechStopped,
    UserTranscript,
)
from voice_agent.dialogue.floor import AUTOMATIC, TurnPolicy
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.session import Session

UTTERANCES = (
    "what time is it",
    "tell me more",
    "no wait",
    "stop",
    "I would like to book a",
    "my number is two",
)
BACKCHANNELS = ("mm-hm", "yeah", "okay right")
TYPED = ("typed", "one more thing", "   ", "\n", "😊", "今天", "word " * 300)
INSTRUCTIONS = (None, "Be brief.", "Be kind. " * 40)
POLICIES = (
    AUTOMATIC,
    TurnPolicy(automatic=False),
    TurnPolicy(answer=False),
    TurnPolicy(interrupt=False),
    TurnPolicy(automatic=False, answer=False, interrupt=False),
)
REST_FRAMES = 12
"""Frames that are taken at once while nobody speaks, as a transport does."""
LINE_DROPS = 0.03
"""Share of the utterances and silences in which the audio stops for a while."""
IN_BURSTS = 0.03
"""Share that is held back and comes at once."""
STRIKES = 0.02
"""Share of the moments at which something happens that the caller reacts to at that very moment."""


class Caller:
    """Of one session. Whoever calls it in the midst of something else is told by `over` when it is to end."""

    def __init__(
        self,
        session: Session,
        client: Client,
        transcriber: Transcriber,
        options: SessionOptions,
        chance: random.Random,
        *,
        good: bool,
    ) -> None:
        self.session = session
        self.held: list[tuple[float, float]] = []
        """When the button was pressed and released."""
        self.asked_at: list[float] = []
        """When the client asked for a response by itself."""
        self._client = client
        self._transcriber = transcriber
        self._options = options
        self._chance = chance
        self._good = good
        """A good line: nothing is missing."""
        self._holding = False
        self._clock = asyncio.get_running_loop().time
        self._frame = options.input_rate * FRAME_MS // 1000
        session.subscribe(self._at_that_moment)

    async def act(self) -> None:
        """Do one thing."""
        chance = self._chance
        match chance.choices(
            ("ask", "hesitate", "push", "noise", "backchannel", "wait", "at once", "change"),
            (8, 3, 1, 3, 3, 6, 1, 0.3),
        )[0]:
            case "ask":
                await self._say(chance.choice(UTTERANCES), chance.randint(200, 2500))
            case "hesitate":
                await self._say("I would like to", chance.randint(300, 1500))
                await self._send(silence(chance.randint(100, 1200), self._options.input_rate))
                await self._say("I would like to book a table", chance.randint(300, 1500))
            case "push":
                await self._push_to_talk()
            case "noise":
                await self._say("", chance.randint(20, 500))
            case "backchannel":
                await self._say(chance.choice(BACKCHANNELS), chance.randint(150, 600))
            case "wait":
                await self._silence(chance.randint(500, 12_000))
            case "at once":
                self._strike()
            case "change":
                self._change()
        await self._silence(chance.choice((100, 400, 1500, 3000)))

    async def quiet(self, seconds: float) -> None:
        """Say nothing, until that is too long for the agent, or for this."""
        end = self._clock() + seconds
        while self._clock() < end and not self._client.over:
            await self._silence(1000)

    def _at_that_moment(self, event: Event) -> None:
        moments = (
            ResponseStarted,
            ResponseEnded,
            ResponsePaused,
            ResponseResumed,
            SpeechStopped,
            UserTranscript,
        )
        if isinstance(event, moments) and not self._holding and self._chance.random() < STRIKES:
            asyncio.get_running_loop().call_soon(self._strike)

    def _strike(self) -> None:
        """What a client can ask for at any time."""
        chance, session = self._chance, self.session
        requests: tuple[Callable[[], None], ...] = (
            lambda: session.read(chance.choice(TYPED)),
            self._type_at_once,
            session.interrupt,
            session.complete_turn,
            self._respond,
            self._press_and_release,
            self._change,
        )
        for request in chance.choices(
            requests, (4, 2, 4, 1, 0.5, 0.5, 0.5), k=chance.choice((1, 1, 1, 2, 4))
        ):
            request()

    def _type_at_once(self) -> None:
        for text in self._chance.choices(TYPED, k=3):
            self.session.read(text)

    def _respond(self) -> None:
        self.asked_at.append(self._clock())
        self.session.respond()

    def _press_and_release(self) -> None:
        self.session.push_to_talk(True)
        self.session.push_to_talk(False)

    def _change(self) -> None:
        chance = self._chance
        self.session.change(
            SessionOptions(
                input_rate=self._options.input_rate,
                output_rate=self._options.output_rate,
                client_pauses=self._options.client_pauses,
                lead_ms=self._options.lead_ms,
                instructions=chance.choice(INSTRUCTIONS),
                voice=chance.choice((None, "two")),
                eagerness=chance.choice((None, "low", "high")),
                policy=chance.choices(POLICIES, (6, 1, 1, 1, 1))[0],
            )
        )

    async def _push_to_talk(self) -> None:
        self._holding = True
        self.session.push_to_talk(True)
        pressed = self._clock()
        await self._silence(self._chance.randint(0, 500))
        await self._say(self._chance.choice(("", *UTTERANCES)), self._chance.randint(20, 2500))
        await self._silence(self._chance.choice((0, 0, 100, 2000)))
        self.held.append((pressed, self._clock()))
        self.session.push_to_talk(False)
        self._holding = False
        await self._send(speech(self._chance.choice((0, 0, 40, 100)), self._options.input_rate))

    async def _say(self, text: str, ms: int) -> None:
        self._transcriber.saying = text
        await self._send(speech(ms, self._options.input_rate))

    async def _silence(self, ms: int) -> None:
        await self._send(silence(ms, self._options.input_rate))

    async def _send(self, pcm: Pcm16) -> None:
        """Into the microphone in real time, as long as the session goes on."""
        chance = self._chance
        size = self._frame
        drops_at = burst = -1
        if not self._good:
            if chance.random() < LINE_DROPS:
                drops_at = chance.randrange(len(pcm) + 1) // size * size
            elif chance.random() < IN_BURSTS:
                burst = 50 * chance.randint(1, 5)
        quiet = not pcm.any()
        start = 0
        while start < len(pcm) and not self._client.over:
            if start <= drops_at < start + size:
                await asyncio.sleep(chance.choice((0.3, 0.69, 0.75, 1.0, 2.0, 5.0, 20.0)))
            count = max(1, burst, REST_FRAMES if quiet and self.session.idle else 1)
            if start < drops_at:
                count = min(count, (drops_at - start) // size)
            part = pcm[start : start + count * size]
            await asyncio.sleep(len(part) / self._options.input_rate)
            if not self._client.over:
                await self.session.hear(part)
            start += len(part)
