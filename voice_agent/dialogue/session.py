"""One conversation: it hears, takes turns, answers, and owns every task that this needs."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from voice_agent.audio import RATE, Pcm16, Resampler, samples_to_ms
from voice_agent.config import Eagerness, Settings
from voice_agent.dialogue.conversation import Conversation
from voice_agent.dialogue.events import (
    EndReason,
    Event,
    Pong,
    ResponseAudio,
    ResponseEnded,
    ResponsePaused,
    ResponseResumed,
    ResponseText,
    ResponseTextEnded,
    SessionEnded,
    SessionError,
    SpeechStarted,
    SpeechStopped,
    TurnTimeline,
    UserTranscript,
)
from voice_agent.dialogue.listening import Listener
from voice_agent.dialogue.playback import Playback
from voice_agent.dialogue.response import Response, Voice
from voice_agent.dialogue.timeline import Timeline
from voice_agent.dialogue.turn_taking import (
    AskIfThere,
    Commit,
    Decision,
    Discard,
    Floor,
    Interrupt,
    LetGo,
    Look,
    Onset,
    Pause,
    Prepare,
    Resume,
    Score,
    TurnTaking,
)
from voice_agent.engines import Engines
from voice_agent.errors import StageError, VoiceAgentError
from voice_agent.stages.generator.deltas import TextDelta
from voice_agent.stages.generator.request import Message, Request

log = logging.getLogger(__name__)

OUTBOX: Final = 1024
"""Events that may wait for the client. Audio is paced, so this is over half a minute of not reading; the
transport gives such a client up before. If it is reached nevertheless, the session ends."""

LLM_FAILED: Final = "Sorry, I can't think of an answer right now. Please try again."
STT_FAILED: Final = "Sorry, I couldn't make that out. Please say it again."


class ClientTooSlow(VoiceAgentError):  # noqa: N818 - whose fault it is
    """The client does not read what it is sent; the session ends."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a client chooses when it begins."""

    input_rate: int = RATE
    """Of the audio from the client, hertz."""
    output_rate: int = 24_000
    """Of the audio to the client, hertz."""
    instructions: str | None = None
    """In place of the configured system prompt."""
    voice: str | None = None
    language: str | None = None
    lead_ms: float = 3000.0
    """How far ahead of its playback the client is sent audio."""
    client_pauses: bool = True
    """Whether the client can stop playing and keep what it holds. To one that can't, what was unheard is sent again
    when a response resumes."""
    eagerness: Eagerness | None = None
    """How soon the agent answers; by default the settings'."""
    history: tuple[Message, ...] = ()
    """What the user and the assistant said before, oldest first: for a client that comes back."""


@dataclass(slots=True)
class _Making:
    """A response and the task that makes it."""

    response: Response
    task: asyncio.Task[None]
    begun: float
    """On the loop's clock."""


class Session:
    """One conversation. Made by `open_session`; a transport feeds it and writes out its `events`."""

    def __init__(
        self, engines: Engines, settings: Settings, options: SessionOptions, tasks: asyncio.TaskGroup
    ) -> None:
        self.id = secrets.token_hex(8)
        self.options = options
        self._engines = engines
        self._settings = settings.turn
        self._tasks = tasks
        self._clock = asyncio.get_running_loop().time
        self._outbox: asyncio.Queue[Event] = asyncio.Queue(OUTBOX)
        self._taken = asyncio.Event()
        """Something left the outbox since somebody waited for that."""
        self._cut_off: set[str] = set()
        """Responses that were stopped and whose `ResponseEnded` has not yet gone out."""

        self._turns = TurnTaking(settings.turn, settings.vad.threshold, options.eagerness)
        self._listener = Listener(
            engines,
            settings,
            self._turns,
            input_rate=options.input_rate,
            language=options.language,
            tasks=tasks,
            decided=self._carry_out,
            understood=self._understand,
            failed=self._fail,
        )
        self._utterance: Timeline | None = None
        """Of the turn that the open utterance may become, from its last silence on."""
        self._conversation = Conversation(
            options.instructions or engines.generator.instructions,
            settings.llm.context_tokens - settings.llm.max_tokens,
            options.history,
        )
        self._turns.agent_said = self._conversation.agent_said
        self._turn = 0
        self._responses = 0
        self._prepared: _Making | None = None
        """The response to the open utterance, made in advance. Nobody outside knows of it."""
        self._current: _Making | None = None
        """The response that has the floor."""
        self._leaving = False
        """The agent says goodbye."""

    # What a transport calls.

    @property
    def idle(self) -> bool:
        """Nobody speaks and nothing is being made: what is heard now may be heard a little later."""
        return self._listener.idle and not self._current

    async def hear(self, pcm: Pcm16) -> None:
        """Audio from the user at the session's input rate, of any length."""
        await self._listener.hear(pcm)

    def played(self, response: str, ms: float) -> None:
        """The client has played this much of a response; one that has ended is passed over."""
        current = self._response
        if current and current.id == response:
            if ms > 0 and current.playback.sent_ms:
                current.timeline.mark("first_audio_played", self._clock())
            current.playback.acknowledge(ms)

    def read(self, text: str) -> None:
        """The user typed this: answer it, in place of what is being said."""
        self._discard_prepared()
        timeline = Timeline(self.id, last_speech=self._clock())
        timeline.mark("end_of_turn", self._clock())
        self._answer(text, timeline)

    def push_to_talk(self, pressed: bool) -> None:
        """The user takes the floor, and no silence ends their turn; released, it is over at once."""
        self._listener.push_to_talk(pressed)

    def interrupt(self) -> None:
        """The client wants silence."""
        if self._response:
            self._end_response(self._response, "interrupted")

    def report(self, event: SessionError | Pong) -> None:
        """Tell the client of something outside the session, in order with its events."""
        self._emit(event)

    async def room(self) -> None:
        """Wait until half of the outbox is free. A transport does before it takes a message: what answers it then
        finds room, so that a client that asks much at once is made to wait, and not called slow."""
        while self._outbox.qsize() > OUTBOX // 2:
            self._taken.clear()
            await self._taken.wait()

    @property
    def now_ms(self) -> float:
        """The time on the clock that timelines are on."""
        return round(self._clock() * 1000, 1)

    async def events(self) -> AsyncIterator[Event]:
        """What the client is to be told, in order. Nothing of a response that was cut off gets past here."""
        while True:
            event = await self._outbox.get()
            self._taken.set()
            match event:
                case ResponseEnded():
                    self._cut_off.discard(event.response)
                case ResponseText() | ResponseTextEnded() | ResponseAudio() | ResponseResumed() if (
                    event.response in self._cut_off
                ):
                    continue
                case ResponseAudio() if self._response and self._response.id == event.response:
                    self._response.timeline.mark("first_audio_sent", self._clock())
            yield event
            if isinstance(event, SessionEnded):
                return

    # Hearing.

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Onset(at):
                self._discard_prepared()
                self._emit(SpeechStarted(samples_to_ms(at)))
            case Prepare(at):
                self._utterance = Timeline(self.id, last_speech=self._listener.last_speech_at)
                self._utterance.mark("vad_stop", self._clock())
                self._emit(SpeechStopped(samples_to_ms(at)))
            case Look() | Score():
                pass  # the listener's
            case Pause():
                self._pause()
            case Resume():
                self._resume()
            case Interrupt():
                self.interrupt()
            case Commit():
                self._close_utterance()
            case Discard():
                self._listener.close_utterance()
                self._emit(UserTranscript(self._next_turn, "", final=True))
            case AskIfThere():
                self._say(self._settings.quiet_question)
            case LetGo():
                self._leaving = True
                self._say(self._settings.quiet_goodbye)

    def _understand(self, text: str, whole: bool) -> None:
        """The user's words so far; with `whole`, up to the silence that may be the end of the turn."""
        if not text:
            return
        self._emit(UserTranscript(self._next_turn, self._merged(text), final=False))
        if whole and self._turns.floor is Floor.FREE and self._engines.preparing.may_begin():
            assert self._utterance
            self._utterance.mark("transcript", self._listener.transcribed_at)
            self._prepared = self._make(self._asking(self._conversation.asking(text)), self._utterance)

    def _discard_prepared(self) -> None:
        if self._prepared:
            self._prepared.task.cancel()
            self._engines.preparing.wasted(self._clock() - self._prepared.begun)
            self._prepared = None

    # Answering.

    def _close_utterance(self) -> None:
        """The user's turn is over."""
        assert self._utterance
        self._listener.close_utterance()
        self._utterance.mark("transcript", self._listener.transcribed_at)
        self._utterance.mark("end_of_turn", self._clock())
        if self._listener.text is None:
            self._begin_turn(self._utterance)
            self._commit(self._make(_one(STT_FAILED), self._utterance))
        else:
            self._answer(self._listener.text, self._utterance)

    def _answer(self, text: str, timeline: Timeline) -> None:
        self._begin_turn(timeline)
        self._emit(UserTranscript(self._turn, self._merged(text), final=True))
        self._conversation.add_user(text)
        prepared, self._prepared = self._prepared, None
        if prepared:
            self._engines.preparing.used()
        self._commit(prepared or self._make(self._asking(self._conversation.messages()), timeline))

    async def _asking(self, messages: list[Message]) -> AsyncGenerator[str, None]:
        async with aclosing(self._engines.generator.stream(Request(tuple(messages)))) as deltas:
            async for delta in deltas:
                if isinstance(delta, TextDelta):
                    yield delta.text

    def _begin_turn(self, timeline: Timeline) -> None:
        self.interrupt()
        self._leaving = False
        self._turn = timeline.turn = self._next_turn

    @property
    def _next_turn(self) -> int:
        """Number of the turn that the user's next words belong to: the last one, while no answer to it was heard."""
        return self._turn + (not self._conversation.unanswered or not self._turn)

    def _merged(self, text: str) -> str:
        """All that the user said in the turn that `text` belongs to."""
        return f"{self._conversation.unanswered} {text}".strip()

    def _say(self, text: str) -> None:
        """Something that answers nobody."""
        self._commit(self._make(_one(text), Timeline(self.id, last_speech=self._clock(), turn=self._turn)))

    def _make(self, tokens: AsyncGenerator[str, None], timeline: Timeline) -> _Making:
        """Begin with a response; nothing of it is heard before it is committed."""
        rate = self.options.output_rate
        voice = Voice(self._engines.synthesizer, self.options.voice, self.options.language)
        response = Response(timeline, self._engines.chunker, voice, self._playback, rate)
        self._engines.preparing.begun(response)
        return _Making(response, self._tasks.create_task(self._run(response, tokens)), self._clock())

    def _playback(self, send: Callable[[Pcm16], None]) -> Playback:
        resampler = Resampler(self.options.output_rate, RATE)

        def sounds(pcm: Pcm16, begins: float) -> None:
            self._listener.agent_sounds(resampler.feed(pcm), begins)

        return Playback(
            self.options.output_rate,
            self.options.lead_ms,
            send,
            client_pauses=self.options.client_pauses,
            sounds=sounds if self._settings.echo_guard else None,
        )

    def _commit(self, making: _Making) -> None:
        """The response has the floor."""
        self._responses += 1
        self._current = making
        self._turns.agent_takes_floor()
        making.response.commit(f"resp_{self._responses}", partial(self._emit_of, making.response))

    def _emit_of(self, response: Response, event: Event) -> None:
        if isinstance(event, ResponseText):
            self._turns.agent_said = response.text
        self._emit(event)

    @property
    def _response(self) -> Response | None:
        """The response that has the floor."""
        return self._current.response if self._current else None

    async def _run(self, response: Response, tokens: AsyncGenerator[str, None]) -> None:
        reason: EndReason = "completed"
        filler = self._tasks.create_task(self._bridge(response))
        try:
            await response.run(tokens)
        except VoiceAgentError as error:
            reason = "failed"
            failure = error if isinstance(error, StageError) else StageError("synthesizer", str(error))
            await response.committed.wait()
            self._fail(failure)
            await self._fail_aloud(response, failure)
        finally:
            filler.cancel()
            response.playback.close()
            self._engines.preparing.ended(response)
        self._end_response(response, reason)

    async def _bridge(self, response: Response) -> None:
        if self._settings.filler:
            try:
                await response.bridge(self._settings.filler, self._settings.filler_after_ms / 1000)
            except VoiceAgentError as error:
                log.warning("session %s: no filler: %s", self.id, error)  # the reply will tell

    async def _fail_aloud(self, response: Response, error: StageError) -> None:
        """Let what was already sent be heard; if it was not the voice that failed, apologize with it."""
        try:
            if error.stage != "synthesizer":
                await response.run(_one(LLM_FAILED))
            await response.playback.finish()
        except StageError as second:
            self._fail(second)

    def _pause(self) -> None:
        if self._response:
            self._response.playback.pause()
            self._listener.agent_stops()
            self._emit(ResponsePaused(self._response.id, self._response.playback.played_ms))

    def _resume(self) -> None:
        if self._response:
            self._emit(ResponseResumed(self._response.id))
            self._response.playback.resume()

    def _end_response(self, response: Response, reason: EndReason) -> None:
        """Nothing more of a response goes out, and the history holds what was heard of it."""
        if self._response is not response:
            return
        assert self._current
        if reason == "interrupted":
            self._cut_off.add(response.id)
            self._current.task.cancel()
        response.playback.close()
        self._current = None
        self._turns.agent_yields_floor()
        self._listener.agent_stops()
        self._turns.agent_said = heard = response.heard()
        self._conversation.add_assistant(heard)
        self._emit(ResponseEnded(response.id, reason, response.playback.played_ms, heard))
        if response.timeline.answers:
            response.timeline.mark("response_end", self._clock())
            self._emit(TurnTimeline(response.timeline))
            response.timeline.publish()
        if self._leaving and reason != "interrupted":
            self._emit(SessionEnded("quiet"))

    def _fail(self, error: StageError) -> None:
        log.error("session %s: %s: %s", self.id, error.stage, error)
        self._emit(SessionError(f"{error.stage}_failed", str(error)))

    def _emit(self, event: Event) -> None:
        try:
            self._outbox.put_nowait(event)
        except asyncio.QueueFull:
            raise ClientTooSlow(f"{OUTBOX} messages wait to be read") from None

    def _close(self) -> None:
        self._listener.close()
        for making in (self._prepared, self._current):
            if making:
                making.task.cancel()


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
            session._close()


async def _one(text: str) -> AsyncGenerator[str, None]:
    yield text
