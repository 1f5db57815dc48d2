"""Carries out turn-taking's decisions: here the listener and the responder of one session meet."""

import asyncio
import logging

from voice_agent.audio import samples_to_ms
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
    EndOfSession,
    EndReason,
    SessionEnded,
    SessionError,
    SpeechStarted,
    SpeechStopped,
)
from voice_agent.dialogue.floor import Floor
from voice_agent.dialogue.items import Items
from voice_agent.dialogue.listening import Listener
from voice_agent.dialogue.manners import Phrases, phrases
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.outbox import Outbox
from voice_agent.dialogue.responder import Responder
from voice_agent.dialogue.timeline import Timeline
from voice_agent.dialogue.turns import Turns
from voice_agent.engines import Engines
from voice_agent.errors import StageError

log = logging.getLogger(__name__)


class Conversation:
    """The conversation of one session: its history, its listener and its responder."""

    def __init__(
        self,
        session: str,
        engines: Engines,
        settings: Settings,
        options: SessionOptions,
        outbox: Outbox,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """`session` is its id."""
        self.options = options
        self.items = Items(options.history)
        self.listener = Listener(
            engines,
            settings,
            options,
            session=session,
            agent_said=self.items.agent_said,
            tasks=tasks,
            decided=self._carry_out,
            understood=self._understand,
            failed=self._fail,
            gone=lambda: self._hang_up("idle"),
        )
        self.responder = Responder(
            session,
            engines,
            settings,
            self.items,
            self.listener,
            outbox,
            tasks,
            options=lambda: self.options,
            phrases=self._phrases,
            failed=self._fail,
            ended=self._floor_is_free,
        )
        self.over = False
        """The agent has hung up: nothing more is answered."""
        self._turns = Turns(self.items, self.responder.note_heard)
        self._leaving: EndOfSession | None = None
        """Why the agent hangs up as soon as it has said so."""
        self._load = engines.load
        self._session = session
        self._settings = settings
        self._outbox = outbox
        self._clock = asyncio.get_running_loop().time

    def read(self, text: str) -> None:
        """The user typed this: answer it, in place of what is being said."""
        self.responder.discard_prepared()
        timeline = self._timeline_from_now()
        self._take_turn(text, timeline)
        self._reply(timeline)

    def respond(self) -> None:
        """Answer what was said, whoever said it last."""
        self._reply(self._timeline_from_now())

    def close(self) -> None:
        """Stop all that is under way."""
        self.listener.close()
        self.responder.close()
        self._load.left(self._session)

    # What the listener tells.

    def _carry_out(self, decision: Decision) -> None:
        if self.over:
            return
        match decision:
            case Onset(at):
                self.responder.discard_prepared()
                self._outbox.put(SpeechStarted(samples_to_ms(at)))
            case Prepare(at):
                self._outbox.put(SpeechStopped(samples_to_ms(at)))
            case Pause():
                self.responder.pause()
            case Resume():
                self.responder.resume()
            case Interrupt():
                self.responder.interrupt()
            case Complete():
                self._complete()
            case Answer():
                self._answer()
            case Discard():
                self.listener.close_utterance()
                self.responder.discard_prepared()
                self.responder.utterance_is_over()
                self._outbox.put(self._turns.nothing_said())
            case AskIfThere():
                self._say(self._phrases().still_there)
            case LetGo():
                self._leaving = "quiet"
                self._say(self._phrases().goodbye)

    def _understand(self, text: str, whole: bool) -> None:
        """The user's words so far; with `whole`, up to the silence that may be the end of the turn."""
        if not text:
            return
        self._outbox.put(self._turns.transcript(text))
        may_be_due = whole and self.listener.floor is Floor.FREE and self.options.policy.answer
        if may_be_due and self._load.has_room_for(self._session):
            assert self.listener.timeline
            self.responder.prepare(text, self.listener.timeline)

    def _complete(self) -> None:
        assert self.listener.timeline
        self.listener.close_utterance()
        self.responder.utterance_is_over()
        self.listener.timeline.mark("end_of_turn", self._clock())
        self._take_turn(self.listener.text, self.listener.timeline)

    def _answer(self) -> None:
        assert self.listener.timeline
        if self.listener.text is None:
            self.responder.say(self._phrases().not_understood, self.listener.timeline)
        else:
            self._reply(self.listener.timeline)

    def _reply(self, timeline: Timeline) -> None:
        """Answer, if that does not cost the conversations that are under way their speed."""
        if self._load.admits(self._session):
            self.responder.answer(timeline)
            return
        self.responder.discard_prepared()
        self.responder.say(self._phrases().busy, timeline)
        self._leaving = "busy"

    def _take_turn(self, text: str | None, timeline: Timeline) -> None:
        """The user said this; None where it could not be understood."""
        self.responder.interrupt()
        self._leaving = None
        self._outbox.put(self._turns.take(text))
        timeline.turn = self._turns.latest

    # Manners.

    def _phrases(self) -> Phrases:
        return phrases(self._settings.turn, self.options.language)

    def _say(self, words: str) -> None:
        """Something that answers nobody."""
        self.responder.say(words, Timeline(self._session, last_speech=self._clock(), turn=self._turns.latest))

    def _floor_is_free(self, reason: EndReason) -> None:
        leaving, self._leaving = self._leaving, None
        if leaving and reason != "interrupted":
            self._hang_up(leaving)
        else:
            self._load.replied(self._session)

    def _hang_up(self, reason: EndOfSession) -> None:
        self.over = True
        self._outbox.put(SessionEnded(reason))

    def _fail(self, error: StageError) -> None:
        log.error("session %s: %s: %s", self._session, error.stage, error)
        self._outbox.put(SessionError(f"{error.stage}_failed", str(error)))

    def _timeline_from_now(self) -> Timeline:
        timeline = Timeline(self._session, last_speech=self._clock(), turn=self._turns.latest)
        timeline.mark("end_of_turn", self._clock())
        return timeline
