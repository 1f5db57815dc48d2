"""One conversation. Audio and requests come in, and what turn-taking decides is carried out."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from voice_agent.audio import Pcm16, samples_to_ms
from voice_agent.config import Settings
from voice_agent.dialogue.decisions import (
    Answer,
    AskIfThere,
    Complete,
    Decision,
    Discard,
    Interrupt,
    LetGo,
    Onset,
    Pause,
    Prepare,
    Resume,
)
from voice_agent.dialogue.events import (
    EndReason,
    Event,
    Pong,
    ResponseAudio,
    SessionEnded,
    SessionError,
    SpeechStarted,
    SpeechStopped,
    UserTranscript,
)
from voice_agent.dialogue.floor import Floor
from voice_agent.dialogue.items import Items
from voice_agent.dialogue.listening import Listener
from voice_agent.dialogue.manners import Phrases, phrases
from voice_agent.dialogue.metrics import publish
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.outbox import Outbox
from voice_agent.dialogue.responder import Responder
from voice_agent.dialogue.timeline import Timeline
from voice_agent.dialogue.turn_taking import TurnTaking
from voice_agent.engines import Engines
from voice_agent.errors import StageError

log = logging.getLogger(__name__)

MOST_TRANSCRIPT: Final = 20_000
"""Characters in one transcript. Every one of a turn repeats what came before, which a client may keep adding to."""


class Session:
    """Made by `open_session`; a transport feeds it and writes out its `events`."""

    def __init__(
        self, engines: Engines, settings: Settings, options: SessionOptions, tasks: asyncio.TaskGroup
    ) -> None:
        self.id = secrets.token_hex(8)
        self.options = options
        self.items = Items(options.history)
        self._settings = settings
        self._clock = asyncio.get_running_loop().time
        self._outbox = Outbox()
        self._outbox.subscribe(publish)
        self._turns = TurnTaking(settings.turn, settings.vad.threshold, options.eagerness, options.policy)
        self._turns.agent_said = self.items.agent_said
        self._listener = Listener(
            engines,
            settings,
            self._turns,
            session=self.id,
            input_rate=options.input_rate,
            language=options.language,
            tasks=tasks,
            decided=self._carry_out,
            understood=self._understand,
            failed=self._fail,
            gone=lambda: self._hang_up("idle"),
        )
        self._responder = Responder(
            self.id,
            engines,
            settings,
            self.items,
            self._listener,
            self._outbox,
            tasks,
            options=lambda: self.options,
            phrases=self._phrases,
            failed=self._fail,
            ended=self._floor_is_free,
        )
        self._turn = 0
        self._leaving = False
        """The agent says goodbye."""
        self._over = False
        """It has hung up: nothing more is answered."""

    # What a transport calls.

    @property
    def idle(self) -> bool:
        """Nobody speaks and nothing is being made: what is heard now may be heard a little later."""
        return self._listener.idle and not self._responder.current

    async def room(self) -> None:
        """Wait while the client has much to read. A transport does before it takes a message: what answers it then
        finds room, so that a client that asks much at once is made to wait, and not called slow."""
        await self._outbox.room()

    @property
    def now_ms(self) -> float:
        """The time on the clock that timelines are on."""
        return round(self._clock() * 1000, 1)

    async def hear(self, pcm: Pcm16) -> None:
        """Audio from the user at the session's input rate, of any length."""
        await self._listener.hear(pcm)

    def read(self, text: str) -> None:
        """The user typed this: answer it, in place of what is being said. Where there is nothing in it, do nothing."""
        if self._over or not text.strip():
            return
        self._is_there()
        self._responder.discard_prepared()
        timeline = Timeline(self.id, last_speech=self._clock())
        timeline.mark("end_of_turn", self._clock())
        self._take_turn(text, timeline)
        self._responder.answer(timeline)

    def push_to_talk(self, pressed: bool) -> None:
        """The user takes the floor, and no silence ends their turn; released, it is over at once."""
        self._listener.alive()
        self._listener.push_to_talk(pressed)

    def interrupt(self) -> None:
        """The client wants silence."""
        self._is_there()
        self._responder.interrupt()

    def complete_turn(self) -> None:
        """The user's turn is over, if one is open: for a client that decides that itself."""
        self._is_there()
        self._listener.complete()

    def respond(self) -> None:
        """Answer what was said, where that is not done of itself (`TurnPolicy.answer`)."""
        self._is_there()
        if self._over:
            return
        timeline = Timeline(self.id, last_speech=self._clock(), turn=self._turn)
        timeline.mark("end_of_turn", self._clock())
        self._responder.answer(timeline)

    def played(self, response: str, ms: float) -> None:
        """The client has played this much of a response; one that has ended is passed over."""
        self._responder.played(response, ms)

    def change(self, options: SessionOptions) -> None:
        """Go on with these; what is being said now ends as it began.

        Raises:
            SettingsError: something that is fixed for the session would change.
        """
        self.options = self.options.changed_to(options)
        self._listener.language = options.language
        self._responder.discard_prepared()
        self._turns.policy = options.policy
        self._turns.set_eagerness(options.eagerness)

    def report(self, event: SessionError | Pong) -> None:
        """Tell the client of something else, in order with the events."""
        self._outbox.put(event)

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        """See `Outbox.subscribe`."""
        self._outbox.subscribe(subscriber)

    async def events(self) -> AsyncIterator[Event]:
        """What the client is to be told, in order, up to a `SessionEnded`.

        Raises:
            ClientTooSlow: more waits than is kept.
        """
        async for event in self._outbox.events():
            if isinstance(event, ResponseAudio):
                self._responder.sent(event.response)
            yield event
            if isinstance(event, SessionEnded):
                return

    def close(self) -> None:
        """Stop all that is under way."""
        self._listener.close()
        self._responder.close()

    # What turn-taking decides.

    def _carry_out(self, decision: Decision) -> None:
        if self._over:
            return
        match decision:
            case Onset(at):
                self._responder.discard_prepared()
                self._outbox.put(SpeechStarted(samples_to_ms(at)))
            case Prepare(at):
                self._outbox.put(SpeechStopped(samples_to_ms(at)))
            case Pause():
                self._responder.pause()
            case Resume():
                self._responder.resume()
            case Interrupt():
                self._responder.interrupt()
            case Complete():
                self._complete()
            case Answer():
                self._answer()
            case Discard():
                self._listener.close_utterance()
                self._responder.discard_prepared()
                self._responder.utterance_is_over()
                self._outbox.put(UserTranscript(self._next_turn, "", final=True))
            case AskIfThere():
                self._say(self._phrases().still_there)
            case LetGo():
                self._leaving = True
                self._say(self._phrases().goodbye)

    def _understand(self, text: str, whole: bool) -> None:
        """The user's words so far; with `whole`, up to the silence that may be the end of the turn."""
        if not text:
            return
        self._outbox.put(UserTranscript(self._next_turn, self._merged(text), final=False))
        if whole and self._turns.floor is Floor.FREE and self.options.policy.answer:
            assert self._listener.timeline
            self._responder.prepare(text, self._listener.timeline)

    def _complete(self) -> None:
        assert self._listener.timeline
        self._listener.close_utterance()
        self._responder.utterance_is_over()
        self._listener.timeline.mark("end_of_turn", self._clock())
        self._take_turn(self._listener.text, self._listener.timeline)

    def _answer(self) -> None:
        assert self._listener.timeline
        if self._listener.text is None:
            self._responder.say(self._phrases().not_understood, self._listener.timeline)
        else:
            self._responder.answer(self._listener.timeline)

    def _take_turn(self, text: str | None, timeline: Timeline) -> None:
        """The user said this; None where it could not be understood."""
        self._responder.interrupt()
        self._leaving = False
        self._turn = timeline.turn = self._next_turn
        self._outbox.put(UserTranscript(self._turn, self._merged(text) if text else "", final=True))
        if text:
            self.items.add_user(text)

    @property
    def _next_turn(self) -> int:
        """Number of the turn that the user's next words belong to: the last one, while no answer to it was heard."""
        return self._turn + (not self._unanswered or not self._turn)

    def _merged(self, text: str) -> str:
        """All that the user said in the turn that `text` belongs to; of very much, the end."""
        return f"{self._unanswered} {text}".strip()[-MOST_TRANSCRIPT:]

    @property
    def _unanswered(self) -> str:
        """What the user said last, while nothing of an answer to it was heard."""
        self._responder.note_heard()
        return self.items.unanswered

    def _phrases(self) -> Phrases:
        return phrases(self._settings.turn, self.options.language)

    def _is_there(self) -> None:
        """The user did something, if without speaking."""
        self._listener.alive()
        self._turns.user_is_there()

    def _say(self, words: str) -> None:
        """Something that answers nobody."""
        self._responder.say(words, Timeline(self.id, last_speech=self._clock(), turn=self._turn))

    def _floor_is_free(self, reason: EndReason) -> None:
        if self._leaving and reason != "interrupted":
            self._hang_up("quiet")
        self._leaving = False

    def _hang_up(self, reason: str) -> None:
        self._over = True
        self._outbox.put(SessionEnded(reason))

    def _fail(self, error: StageError) -> None:
        log.error("session %s: %s: %s", self.id, error.stage, error)
        self._outbox.put(SessionError(f"{error.stage}_failed", str(error)))


@asynccontextmanager
async def open_session(
    engines: Engines, settings: Settings, options: SessionOptions
) -> AsyncIterator[Session]:
    """A session for as long as the context lasts; no task of it is left afterwards.

    Raises:
        ExceptionGroup: a task of the session failed in a way that nobody foresaw.
    """
    async with asyncio.TaskGroup() as tasks:
        session = Session(engines, settings, options, tasks)
        try:
            yield session
        finally:
            session.close()
