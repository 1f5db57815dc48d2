"""An hour with one caller: session after session, over good lines and bad ones."""

import asyncio
import random
from contextlib import closing
from dataclasses import dataclass, field, replace

from prometheus_client import REGISTRY

from tests.dialogue.simulation.caller import INSTRUCTIONS, Caller
from tests.dialogue.simulation.client import Client, Habits
from tests.dialogue.simulation.clock import VirtualTimeLoop
from tests.dialogue.simulation.engines import DEAF_S, Endpoint, Generator, Lots, Synthesizer, Transcriber
from tests.scripted import Script
from voice_agent.config import LlmSettings, ServerSettings, Settings, SttSettings, TtsSettings, TurnSettings
from voice_agent.dialogue.events import Event
from voice_agent.dialogue.options import SessionOptions
from voice_agent.hosting import HostedSession
from voice_agent.stages.generator.request import Message, Request

WIRES = {
    "a client that pauses": SessionOptions(),
    "a phone line": SessionOptions(input_rate=8000, output_rate=8000, client_pauses=False, lead_ms=400),
}
SETTINGS = Settings(
    llm=LlmSettings(turn_timeout_s=5), stt=SttSettings(timeout_s=3), tts=TtsSettings(timeout_s=3)
)


@dataclass
class Held:
    """What is known of one session."""

    settings: Settings
    options: SessionOptions
    client: Client
    log: list[tuple[float, Event, SessionOptions]] = field(default_factory=list)
    """What it told, when, and the options by then."""
    too_long: set[float] = field(default_factory=set)
    """When the utterance had reached its greatest length."""
    most_waiting: int = 0
    """In its outbox, bytes."""
    good: bool = True
    """Nothing was missing on the line, nor did the client lag."""
    held: list[tuple[float, float]] = field(default_factory=list)
    """When the button was pressed and released."""
    asked_at: list[float] = field(default_factory=list)
    """When the client asked for a response by itself."""
    failure: BaseException | None = None
    """Of the session's task."""
    ended_at: float = 0.0
    ended_after_s: float = 0.0
    requests: list[Request] = field(default_factory=list)
    """What the model was asked."""
    left: list[str] = field(default_factory=list)
    """Tasks that were there after its end."""


class Conversation:
    """All that happened, for `check`."""

    def __init__(self, seed: int, options: SessionOptions) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.options = options
        self.lots = Lots(seed + 1)
        self.transcriber = Transcriber(lots=self.lots)
        self.generator = Generator(lots=self.lots)
        self.script = Script(
            self.transcriber, self.generator, Synthesizer(lots=self.lots), Endpoint(lots=self.lots)
        )
        self.engines = self.script.engines()
        self.sessions: list[Held] = []
        self.unforeseen = 0.0
        """By how much the counter of unforeseen errors moved."""
        self.interim_from = 0.0

    @property
    def events(self) -> list[Event]:
        """Of all sessions, as they happened."""
        return [event for held in self.sessions for _, event, _ in held.log]

    async def hold(self, seconds: float) -> None:
        """One session after another, for so long."""
        before = _unforeseen()
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        history: tuple[Message, ...] = ()
        while clock() < end:
            held = await self._session(min(end - clock(), self.chance.uniform(20, 400)), history)
            kept = held.client.history() if self.chance.random() < 0.5 else []
            history = tuple(Message(role, text) for role, text in kept)
        self.unforeseen = _unforeseen() - before

    async def _session(self, seconds: float, history: tuple[Message, ...]) -> Held:
        chance, clock = self.chance, asyncio.get_running_loop().time
        good = chance.random() < 0.4
        habits = Habits("promptly", 0, "always") if good else Habits.draw(chance)
        settings = SETTINGS.model_copy(
            update={
                "turn": TurnSettings(
                    quiet_s=chance.choice((0, 5, 30)),
                    filler=chance.choice(("Let me think.", "")),
                    max_utterance_s=20,
                ),
                "server": ServerSettings(idle_s=chance.choice((0, 15, 60))),
            }
        )
        options = replace(self.options, history=history, instructions=chance.choice(INSTRUCTIONS))
        hosted = await HostedSession.begin(self.engines, settings, options)
        client = Client(habits, chance, options.output_rate, options.client_pauses)
        held = Held(settings, options, client, good=good)
        self.sessions.append(held)

        def note(event: Event) -> None:
            held.log.append((clock(), event, hosted.session.options))
            turns = hosted.session._listener._turns
            if turns.now - turns.opened >= turns._longest:
                held.too_long.add(clock())
            held.most_waiting = max(held.most_waiting, hosted.session._outbox._bytes)

        hosted.session.subscribe(note)
        caller = Caller(hosted.session, client, self.transcriber, options, chance, good=good)
        end = clock() + seconds
        while clock() < end and not client.over:
            async with hosted.attached() as session:
                attending = asyncio.create_task(client.attend(session))
                try:
                    while clock() < end and not client.over:
                        await caller.act()
                        if not good and chance.random() < 0.01:
                            break
                        if chance.random() < 0.005:
                            await caller.quiet(90)
                finally:
                    attending.cancel()
            if clock() < end and not client.over:
                await asyncio.sleep(chance.choice((0.0, 0.5, 3.0, 10.0)))
        await self._end(hosted, held, caller)
        return held

    async def _end(self, hosted: HostedSession, held: Held, caller: Caller) -> None:
        clock = asyncio.get_running_loop().time
        held.ended_at = clock()
        await hosted.end()
        held.ended_after_s = clock() - held.ended_at
        held.requests, self.generator.requests = self.generator.requests, []
        held.held, held.asked_at = caller.held, caller.asked_at
        if hosted._task.done() and not hosted._task.cancelled():
            held.failure = hosted._task.exception()
        await asyncio.sleep(4 * DEAF_S)  # two engines in a row may be deaf to their end for a while
        held.left = [repr(task) for task in asyncio.all_tasks() - {asyncio.current_task()}]
        self.interim_from = self.engines.speculation._interim_from - clock()


def _unforeseen() -> float:
    return REGISTRY.get_sample_value("voice_agent_unforeseen_errors_total") or 0.0


def converse(seed: int, seconds: float, options: SessionOptions) -> Conversation:
    """On a virtual clock of its own: an example of a property test is no coroutine."""
    with closing(VirtualTimeLoop()) as loop:
        asyncio.set_event_loop(loop)
        conversation = Conversation(seed, options)
        loop.run_until_complete(conversation.hold(seconds))
        asyncio.set_event_loop(None)
    return conversation
