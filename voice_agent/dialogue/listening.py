"""The ear of one session: audio in, the decisions of turn-taking out, and the words that they are based on."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import numpy as np

from voice_agent.audio import (
    FRAME_MS,
    RATE,
    SILENCE,
    FrameResampler,
    Pcm16,
    RecentAudio,
    frames,
    ms_to_samples,
)
from voice_agent.config import Settings
from voice_agent.dialogue.bounds import engine_call
from voice_agent.dialogue.decisions import Decision, InferEndOfTurn, Onset, Pause, Prepare, TranscribeInterim
from voice_agent.dialogue.echo import EchoGuard, is_echo_text
from voice_agent.dialogue.floor import Floor, State
from voice_agent.dialogue.line import Line
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.timeline import Timeline
from voice_agent.dialogue.turn_taking import TurnTaking
from voice_agent.engines import Engines
from voice_agent.errors import StageError
from voice_agent.stages.transcriber import Transcript
from voice_agent.urgency import Need, Urgency

ENDPOINT_S: Final = 10.0
"""Longest wait for the end-of-turn detector; words and silence decide without it long before."""

PREROLL: Final = ms_to_samples(300)
"""Audio before the onset that goes to the transcriber: VAD needs some speech to be sure of it, in samples."""

YIELD_EVERY: Final = 4
"""Frames heard in one go before other sessions get the event loop: audio that comes in bursts."""


class SpokenAloud(Protocol):
    """The response being played, as the listener sees it."""

    @property
    def text(self) -> str:
        """All that was given to the voice so far."""

    def aloud(self) -> str:
        """The words that were heard by now."""


class Listener:
    """Hears the user, and asks the engines what turn-taking wants to know.

    Every decision is given to `decided`, in order; what they want of the engines is seen to here. `understood` gets the
    words as they are known: interim ones, and with True those of the utterance up to a silence.
    """

    def __init__(
        self,
        engines: Engines,
        settings: Settings,
        options: SessionOptions,
        *,
        session: str,
        agent_said: str,
        tasks: asyncio.TaskGroup,
        decided: Callable[[Decision], None],
        understood: Callable[[str, bool], None],
        failed: Callable[[StageError], None],
        gone: Callable[[], None],
    ) -> None:
        """`session` is its id, `agent_said` what the agent said before it; `gone` is called when the client has sent
        nothing for `server.idle_s`."""
        self.text: str | None = ""
        """Transcript of the utterance up to the last silence; None where that failed."""
        self.timeline: Timeline | None = None
        """Of the turn that the open utterance may become, from its last silence on."""
        self.speaker: SpokenAloud | None = None
        """What the agent is saying."""
        self.echo = EchoGuard() if settings.turn.echo_guard else None
        self._turns = TurnTaking(settings.turn, settings.vad.threshold, options.eagerness, options.policy)
        self._turns.agent_said = agent_said
        self._language = options.language
        self._engines = engines
        self._session = session
        self._stt_timeout_s = settings.stt.timeout_s
        self._tasks = tasks
        self._decided = decided
        self._understood = understood
        self._failed = failed
        self._clock = asyncio.get_running_loop().time
        self._frame = ms_to_samples(FRAME_MS, options.input_rate)
        self._pending = SILENCE
        """Audio short of a frame."""
        self._vad = engines.vad.stream(options.input_rate)
        self._audio = RecentAudio(options.input_rate)
        self._for_echo = FrameResampler(options.input_rate)
        self._utterance_end = 0
        """Up to where the utterance was taken that is being transcribed, in samples."""
        self._last_speech_at = 0.0
        """When the last speech sample arrived, on the loop's clock."""
        self._asking: set[asyncio.Task[None]] = set()
        """Tasks whose answer is about the utterance as it stands."""
        self._line = Line(
            waited_for=lambda: self._undecided,
            silent=self._hear_silence,
            lost=self._lose_line,
            overdue=lambda: self._carry_out(self._turns.overdue()),
            gone=gone,
            idle_s=settings.server.idle_s,
        )

    @property
    def idle(self) -> bool:
        """Nobody speaks or is about to, and nothing is being found out."""
        turns = self._turns
        return turns.state is State.LISTENING and not turns.run and not turns.button_down and not self._asking

    async def hear(self, pcm: Pcm16) -> None:
        """Audio from the user at the input rate, of any length."""
        if not len(pcm):
            return
        audio = np.concatenate((self._pending, pcm)) if len(self._pending) else pcm
        whole = len(audio) - len(audio) % self._frame
        self._pending = audio[whole:]
        step = YIELD_EVERY * self._frame
        for start in range(0, whole, step):
            if start:
                await asyncio.sleep(0)
            self._hear_frames(audio[start : min(start + step, whole)])
        self._line.heard(len(pcm) * FRAME_MS / 1000 / self._frame)

    def change(self, options: SessionOptions) -> None:
        """Go on with these."""
        self._language = options.language
        self._turns.policy = options.policy
        self._turns.set_eagerness(options.eagerness)

    @property
    def floor(self) -> Floor:
        """Of the agent's side."""
        return self._turns.floor

    def alive(self) -> None:
        """The client did something else than send audio."""
        self._line.alive()

    def user_is_there(self) -> None:
        """The user did something, if without speaking."""
        self._line.alive()
        self._turns.user_is_there()

    def push_to_talk(self, pressed: bool) -> None:
        """See `TurnTaking.push_to_talk`."""
        self._line.alive()
        self._carry_out(self._turns.push_to_talk(pressed))

    def complete(self) -> None:
        """The user's turn is over, if one is open."""
        self._carry_out(self._turns.complete())

    def close_utterance(self) -> None:
        """It is answered or forgotten; what comes belongs to another."""
        self._stop_asking()
        self._audio.drop_before(self._utterance_end)

    def close(self) -> None:
        """Stop what is being found out."""
        self._line.close()
        self._stop_asking()

    def agent_takes_floor(self, speaker: SpokenAloud) -> None:
        """A response begins."""
        self.speaker = speaker
        self._turns.agent_takes_floor()

    def agent_yields_floor(self, said: str) -> None:
        """It has ended; `said` are the words of it that the user heard."""
        self.speaker = None
        self._turns.agent_yields_floor()
        self._turns.agent_said = said
        self.agent_stops()

    def agent_sounds(self, pcm: Pcm16, begins: float) -> None:
        """The client plays this, at the rate of `RATE`, beginning at a moment on the loop's clock."""
        if self.echo:
            self.echo.play(pcm, self._turns.now + round((begins - self._clock()) * RATE))

    def agent_stops(self) -> None:
        """The client plays nothing from now on."""
        if self.echo:
            self.echo.stop(self._turns.now)

    @property
    def _undecided(self) -> bool:
        return self._turns.floor is Floor.HELD or self._turns.state is not State.LISTENING

    def _lose_line(self) -> None:
        if not self._turns.button_down:
            self.complete()

    def _hear_silence(self, seconds: float) -> None:
        self._hear_frames(np.zeros(round(seconds * 1000 / FRAME_MS) * self._frame, np.int16))

    def _hear_frames(self, audio: Pcm16) -> None:
        probabilities = self._vad.feed_frames(audio)
        if self.idle and not any(probabilities):
            self._audio.append(audio)
            for probability in probabilities:
                self._carry_out(self._turns.frame(probability))
            self._audio.drop_before(self._turns.now - PREROLL)
            return
        for frame, probability in zip(frames(audio, self._frame), probabilities, strict=True):
            self._hear_frame(frame, probability)

    def _hear_frame(self, frame: Pcm16, probability: float) -> None:
        self._audio.append(frame)
        if self._is_echo(frame, probability):
            probability = 0.0
        decisions = self._turns.frame(probability)
        if self._turns.last_speech == self._turns.now:
            self._last_speech_at = self._clock()
        self._carry_out(decisions)
        if self._turns.state is State.LISTENING:
            self._audio.drop_before(self._turns.now - self._turns.run - PREROLL)

    def _is_echo(self, frame: Pcm16, probability: float) -> bool:
        if not (self.echo and self.echo.expects(self._turns.now)):
            return False
        heard = self._for_echo.feed(frame)
        return probability > 0 and self.echo.is_echo(heard, self._turns.now)

    def _carry_out(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Onset():
                    self._stop_asking()
                    if self.speaker:
                        self._turns.agent_said = self.speaker.aloud()
                case TranscribeInterim():
                    self._ask(self._transcribe_interim(self._utterance()))
                case Prepare():
                    self._utterance_end = self._turns.now
                    self.timeline = Timeline(self._session, last_speech=self._last_speech_at)
                    self.timeline.mark("vad_stop", self._clock())
                    self._ask(self._transcribe(self._utterance(), self.timeline))
                case Pause():
                    self._line.paused()
                case InferEndOfTurn():
                    self._ask(self._infer_end_of_turn(self._utterance()))
            self._decided(decision)

    def _utterance(self) -> Pcm16:
        return self._audio.since(self._turns.opened - PREROLL)

    def _ask(self, question: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(question)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _stop_asking(self) -> None:
        for task in self._asking - {asyncio.current_task()}:
            task.cancel()
        self._asking.clear()

    async def _transcribe_interim(self, pcm: Pcm16) -> None:
        if self._turns.floor is not Floor.FREE:  # of a barge-in: it decides something
            await self._interim(pcm, Urgency.BARGE_IN)
            return
        with self._engines.speculation.interim() as allowed:
            if allowed:
                await self._interim(pcm, Urgency.AHEAD)
            else:
                self._carry_out(self._turns.interim(None))

    async def _interim(self, pcm: Pcm16, urgency: Urgency) -> None:
        try:
            transcript = await self._text_of(pcm, urgency, partial=True)
        except StageError:  # the whole utterance is tried, too, and that is heard of
            self._carry_out(self._turns.interim(None))
            return
        text = self._user_words(transcript.text)
        self._carry_out(self._turns.interim(text, echo=text != transcript.text))
        self._understood(text, False)

    async def _transcribe(self, pcm: Pcm16, timeline: Timeline) -> None:
        try:
            transcript = await self._text_of(pcm, Urgency.LIKELY)
            self.text = self._user_words(transcript.text)
        except StageError as error:
            self._failed(error)
            self.text = None
        timeline.mark("transcript", self._clock())
        self._carry_out(self._turns.transcribed(self.text))
        if self._turns.state is State.TRAILING:
            self._understood(self.text or "", True)

    async def _infer_end_of_turn(self, pcm: Pcm16) -> None:
        try:
            async with engine_call("endpoint", ENDPOINT_S):
                score = await self._engines.endpoint.score(pcm)
        except StageError as error:
            self._failed(error)  # the words and the silence decide
            return
        self._carry_out(self._turns.scored(score))

    async def _text_of(self, pcm: Pcm16, urgency: Urgency, *, partial: bool = False) -> Transcript:
        need = Need(urgency, math.inf if urgency is Urgency.AHEAD else self._clock())
        async with engine_call("transcriber", self._stt_timeout_s, "STT__TIMEOUT_S"):
            return await self._engines.transcriber.transcribe(
                pcm, language=self._language, partial=partial, need=need
            )

    def _user_words(self, text: str) -> str:
        """Empty where it was the agent that was heard."""
        over_agent = self.echo and self.speaker and self._turns.floor is not Floor.FREE
        return "" if over_agent and self.speaker and is_echo_text(text, self.speaker.text) else text
