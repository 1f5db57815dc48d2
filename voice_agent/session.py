"""One conversation: it hears, takes turns, answers, and owns every task that this needs."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from voice_agent.audio import (
    FRAME,
    RATE,
    SILENCE,
    Pcm16,
    RecentAudio,
    Resampler,
    ms_to_samples,
    samples_to_ms,
)
from voice_agent.config import Settings
from voice_agent.conversation import Conversation
from voice_agent.engines import Engines
from voice_agent.errors import StageError, VoiceAgentError
from voice_agent.events import (
    EndReason,
    Event,
    ResponseAudio,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    SessionError,
    SpeechStarted,
    SpeechStopped,
    TurnTimeline,
    UserTranscript,
)
from voice_agent.response import Response, Voice
from voice_agent.timeline import Timeline
from voice_agent.turn_taking import Commit, Decision, Drop, Interrupt, Onset, Pause, State, TurnTaking

log = logging.getLogger(__name__)

PREROLL: Final = ms_to_samples(300)
"""Audio before the onset that goes to the transcriber: VAD needs some speech to be sure of it, in samples."""

OUTBOX: Final = 1024
"""Events that may wait for the client. Audio is paced, so this is over half a minute of not reading; the
transport gives such a client up before. If it is reached nevertheless, the session ends."""

YIELD_EVERY: Final = 25
"""Frames heard in one go before other sessions get the event loop: audio that comes in bursts."""

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


class Session:
    """One conversation. Made by `open_session`; a transport feeds it and writes out its `events`."""

    def __init__(
        self, engines: Engines, settings: Settings, options: SessionOptions, tasks: asyncio.TaskGroup
    ) -> None:
        self.id = secrets.token_hex(8)
        self.options = options
        self._engines = engines
        self._tasks = tasks
        self._clock = asyncio.get_running_loop().time
        self._outbox: asyncio.Queue[Event] = asyncio.Queue(OUTBOX)
        self._cut_off: set[str] = set()
        """Responses that were stopped and whose `ResponseEnded` has not yet gone out."""

        self._resampler = Resampler(options.input_rate, RATE)
        self._pending = SILENCE
        """Audio short of a frame."""
        self._vad = engines.vad.stream()
        self._turns = TurnTaking(settings.turn, settings.vad.threshold)
        self._audio = RecentAudio()
        self._snapshot_end = 0
        """Up to where the utterance being transcribed was taken, in samples."""
        self._last_speech_at = 0.0
        """When the last speech sample arrived, on the loop's clock."""
        self._utterance: Timeline | None = None
        """Of the turn that the open utterance may become, from its last pause on."""
        self._transcribing: asyncio.Task[None] | None = None
        self._text: str | None = ""
        """Transcript of the open utterance; None where that failed."""

        self._conversation = Conversation(
            options.instructions or engines.generator.instructions,
            settings.llm.context_tokens - settings.llm.max_tokens,
        )
        self._turn = 0
        self._responses = 0
        self._response: Response | None = None
        self._responding: asyncio.Task[None] | None = None

    # What a transport calls.

    async def hear(self, pcm: Pcm16) -> None:
        """Audio from the user at the session's input rate, of any length."""
        audio = np.concatenate([self._pending, self._resampler.feed(pcm)])
        whole = len(audio) - len(audio) % FRAME
        self._pending = audio[whole:]
        for count, start in enumerate(range(0, whole, FRAME), 1):
            self._hear_frame(audio[start : start + FRAME])
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def played(self, response: str, ms: float) -> None:
        """The client has played this much of a response; one that has ended is passed over."""
        if self._response and self._response.id == response:
            if ms > 0 and self._response.playback.sent_ms:
                self._response.timeline.mark("first_audio_played", self._clock())
            self._response.playback.acknowledge(ms)

    def read(self, text: str) -> None:
        """The user typed this: answer it, in place of what is being said."""
        timeline = Timeline(self.id, last_speech=self._clock())
        timeline.mark("end_of_turn", self._clock())
        self._answer(text, timeline)

    def interrupt(self) -> None:
        """The client wants silence."""
        if self._response:
            self._end_response(self._response, "interrupted")

    def report(self, error: SessionError) -> None:
        """Tell the client of something that went wrong outside the session, in order with its events."""
        self._emit(error)

    async def events(self) -> AsyncIterator[Event]:
        """What the client is to be told, in order. Nothing of a response that was cut off gets past here."""
        while True:
            event = await self._outbox.get()
            match event:
                case ResponseEnded():
                    self._cut_off.discard(event.response)
                case ResponseText() | ResponseAudio() if event.response in self._cut_off:
                    continue
                case ResponseAudio() if self._response and self._response.id == event.response:
                    self._response.timeline.mark("first_audio_sent", self._clock())
            yield event

    # Hearing.

    def _hear_frame(self, frame: Pcm16) -> None:
        self._audio.append(frame)
        decisions = self._turns.frame(self._vad.feed(frame))
        if self._turns.last_speech == self._turns.now:
            self._last_speech_at = self._clock()
        self._carry_out(decisions)
        if self._turns.state is State.LISTENING:
            self._audio.drop_before(self._turns.now - self._turns.run - PREROLL)

    def _carry_out(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Onset(at):
                    self._stop_transcribing()
                    self._emit(SpeechStarted(samples_to_ms(at)))
                case Pause(at):
                    self._emit(SpeechStopped(samples_to_ms(at)))
                    self._begin_transcribing()
                case Interrupt():
                    self.interrupt()
                case Commit() | Drop():
                    self._close_utterance()

    def _begin_transcribing(self) -> None:
        self._utterance = Timeline(self.id, last_speech=self._last_speech_at)
        self._utterance.mark("vad_stop", self._clock())
        self._snapshot_end = self._turns.now
        pcm = self._audio.since(self._turns.opened - PREROLL)
        self._transcribing = self._tasks.create_task(self._transcribe(pcm, self._utterance))

    def _stop_transcribing(self) -> None:
        if self._transcribing:
            self._transcribing.cancel()
            self._transcribing = None

    async def _transcribe(self, pcm: Pcm16, timeline: Timeline) -> None:
        try:
            transcript = await self._engines.transcriber.transcribe(pcm, language=self.options.language)
            self._text = transcript.text
        except StageError as error:
            self._fail(error)
            self._text = None
        timeline.mark("transcript", self._clock())
        self._transcribing = None
        self._carry_out(self._turns.transcribed(words=self._text != ""))

    # Answering.

    def _close_utterance(self) -> None:
        """The user's turn is over."""
        assert self._utterance
        self._audio.drop_before(self._snapshot_end)
        self._utterance.mark("end_of_turn", self._clock())
        if self._text is None:
            self._begin_turn(self._utterance)
            self._respond(_one(STT_FAILED), self._utterance)
        elif self._text:
            self._answer(self._text, self._utterance)
        else:
            self._emit(UserTranscript(self._turn + 1, "", final=True))

    def _answer(self, text: str, timeline: Timeline) -> None:
        self._begin_turn(timeline)
        self._emit(UserTranscript(self._turn, text, final=True))
        self._conversation.add_user(text)
        self._respond(self._engines.generator.stream(self._conversation.messages()), timeline)

    def _begin_turn(self, timeline: Timeline) -> None:
        self.interrupt()
        self._turn += 1
        timeline.turn = self._turn

    def _respond(self, tokens: AsyncGenerator[str, None], timeline: Timeline) -> None:
        self._responses += 1
        voice = Voice(
            self._engines.synthesizer,
            self.options.voice,
            self.options.language,
            self.options.output_rate,
            self.options.lead_ms,
        )
        response = Response(f"resp_{self._responses}", timeline, self._engines.chunker, voice, self._emit)
        timeline.response = response.id
        self._response = response
        self._turns.agent_takes_floor()
        self._emit(ResponseStarted(response.id, timeline.turn))
        self._responding = self._tasks.create_task(self._run(response, tokens))

    async def _run(self, response: Response, tokens: AsyncGenerator[str, None]) -> None:
        reason: EndReason = "completed"
        try:
            await response.run(tokens)
        except VoiceAgentError as error:
            reason = "failed"
            failure = error if isinstance(error, StageError) else StageError("synthesizer", str(error))
            self._fail(failure)
            await self._fail_aloud(response, failure)
        self._end_response(response, reason)

    async def _fail_aloud(self, response: Response, error: StageError) -> None:
        """Let what was already sent be heard; if it was not the voice that failed, apologize with it."""
        try:
            if error.stage != "synthesizer":
                await response.run(_one(LLM_FAILED))
            await response.playback.finish()
        except StageError as second:
            self._fail(second)

    def _end_response(self, response: Response, reason: EndReason) -> None:
        """Nothing more of a response goes out, and the history holds what was heard of it."""
        if self._response is not response:
            return
        self._response = None
        self._turns.agent_yields_floor()
        if reason == "interrupted":
            self._cut_off.add(response.id)
            if self._responding:
                self._responding.cancel()
        self._conversation.add_assistant(response.heard())
        response.timeline.mark("response_end", self._clock())
        self._emit(ResponseEnded(response.id, reason, response.playback.played_ms))
        self._emit(TurnTimeline(response.timeline))
        response.timeline.publish()

    def _fail(self, error: StageError) -> None:
        log.error("session %s: %s: %s", self.id, error.stage, error)
        self._emit(SessionError(f"{error.stage}_failed", str(error)))

    def _emit(self, event: Event) -> None:
        try:
            self._outbox.put_nowait(event)
        except asyncio.QueueFull:
            raise ClientTooSlow(f"{OUTBOX} messages wait to be read") from None

    def _close(self) -> None:
        for task in (self._transcribing, self._responding):
            if task:
                task.cancel()


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
