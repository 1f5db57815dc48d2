"""The ear of one session: audio in, the decisions of turn-taking out, and the words that they are based on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

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
from voice_agent.dialogue.echo import EchoGuard, is_echo_text
from voice_agent.dialogue.turn_taking import Decision, Floor, Look, Onset, Prepare, Score, State, TurnTaking
from voice_agent.engines import Engines
from voice_agent.errors import StageError

PREROLL: Final = ms_to_samples(300)
"""Audio before the onset that goes to the transcriber: VAD needs some speech to be sure of it, in samples."""

YIELD_EVERY: Final = 25
"""Frames heard in one go before other sessions get the event loop: audio that comes in bursts."""


class Listener:
    """Hears the user, and asks the engines what turn-taking wants to know.

    Every decision is given to `decided`, in order; `Look`, `Prepare` and `Score` are seen to here. `understood` gets
    the words as they are known: live ones, and with True those of the utterance up to a silence.
    """

    def __init__(
        self,
        engines: Engines,
        settings: Settings,
        turns: TurnTaking,
        *,
        input_rate: int,
        language: str | None,
        tasks: asyncio.TaskGroup,
        decided: Callable[[Decision], None],
        understood: Callable[[str, bool], None],
        failed: Callable[[StageError], None],
    ) -> None:
        self.turns = turns
        self.text: str | None = ""
        """Transcript of the utterance up to the last silence; None where that failed."""
        self.last_speech_at = 0.0
        """When the last speech sample arrived, on the loop's clock."""
        self.transcribed_at = 0.0
        """When `text` was ready, on the same."""
        self.echo = EchoGuard() if settings.turn.echo_guard else None
        self._engines = engines
        self._language = language
        self._tasks = tasks
        self._decided = decided
        self._understood = understood
        self._failed = failed
        self._clock = asyncio.get_running_loop().time
        self._frame = ms_to_samples(FRAME_MS, input_rate)
        self._pending = SILENCE
        """Audio short of a frame."""
        self._vad = engines.vad.stream(input_rate)
        self._audio = RecentAudio(input_rate)
        self._for_echo = FrameResampler(input_rate)
        self._utterance_end = 0
        """Up to where the utterance was taken that is being transcribed, in samples."""
        self._asking: set[asyncio.Task[None]] = set()
        """Tasks whose answer is about the utterance as it stands."""

    @property
    def idle(self) -> bool:
        """Nobody speaks or is about to, and nothing is being found out."""
        turns = self.turns
        return turns.state is State.LISTENING and not turns.run and not turns.held and not self._asking

    async def hear(self, pcm: Pcm16) -> None:
        """Audio from the user at the input rate, of any length."""
        audio = np.concatenate((self._pending, pcm)) if len(self._pending) else pcm
        whole = len(audio) - len(audio) % self._frame
        self._pending = audio[whole:]
        step = YIELD_EVERY * self._frame
        for start in range(0, whole, step):
            if start:
                await asyncio.sleep(0)
            self._hear_frames(audio[start : min(start + step, whole)])

    def push_to_talk(self, pressed: bool) -> None:
        """See `TurnTaking.push_to_talk`."""
        self._carry_out(self.turns.push_to_talk(pressed))

    def close_utterance(self) -> None:
        """It is answered or forgotten; what comes belongs to another."""
        self._stop_asking()
        self._audio.drop_before(self._utterance_end)

    def close(self) -> None:
        """Stop what is being found out."""
        self._stop_asking()

    def agent_sounds(self, pcm: Pcm16, begins: float) -> None:
        """The client plays this, at the rate of `RATE`, beginning at a moment on the loop's clock."""
        if self.echo:
            self.echo.play(pcm, self.turns.now + round((begins - self._clock()) * RATE))

    def agent_stops(self) -> None:
        """The client plays nothing from now on."""
        if self.echo:
            self.echo.stop(self.turns.now)

    def _hear_frames(self, audio: Pcm16) -> None:
        probabilities = self._vad.feed_frames(audio)
        if self.idle and not any(probabilities):
            self._audio.append(audio)
            for probability in probabilities:
                self._carry_out(self.turns.frame(probability))
            self._audio.drop_before(self.turns.now - PREROLL)
            return
        for frame, probability in zip(frames(audio, self._frame), probabilities, strict=True):
            self._hear_frame(frame, probability)

    def _hear_frame(self, frame: Pcm16, probability: float) -> None:
        self._audio.append(frame)
        if self.turns.floor is not Floor.FREE and self._is_echo(frame, probability):
            probability = 0.0
        decisions = self.turns.frame(probability)
        if self.turns.last_speech == self.turns.now:
            self.last_speech_at = self._clock()
        self._carry_out(decisions)
        if self.turns.state is State.LISTENING:
            self._audio.drop_before(self.turns.now - self.turns.run - PREROLL)

    def _is_echo(self, frame: Pcm16, probability: float) -> bool:
        if not self.echo:
            return False
        heard = self._for_echo.feed(frame)
        return probability > 0 and self.echo.is_echo(heard, self.turns.now)

    def _carry_out(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Onset():
                    self._stop_asking()
                case Look():
                    self._ask(self._look(self._utterance()))
                case Prepare():
                    self._utterance_end = self.turns.now
                    self._ask(self._transcribe(self._utterance()))
                case Score():
                    self._ask(self._score(self._utterance()))
            self._decided(decision)

    def _utterance(self) -> Pcm16:
        return self._audio.since(self.turns.opened - PREROLL)

    def _ask(self, question: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(question)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _stop_asking(self) -> None:
        for task in self._asking - {asyncio.current_task()}:
            task.cancel()
        self._asking.clear()

    async def _look(self, pcm: Pcm16) -> None:
        live = self.turns.floor is Floor.FREE
        begun, preparing = self._clock(), self._engines.preparing
        if live and not preparing.may_look(begun):
            self._carry_out(self.turns.looked(None))
            return
        try:
            transcript = await self._engines.transcriber.transcribe(
                pcm, language=self._language, partial=True
            )
        except StageError:
            self._carry_out(
                self.turns.looked(None)
            )  # the whole utterance is tried, too, and that is heard of
            return
        finally:
            if live:
                preparing.looked(begun, self._clock())
        text = self._user_words(transcript.text)
        self._carry_out(self.turns.looked(text, echo=text != transcript.text))
        self._understood(text, False)

    async def _transcribe(self, pcm: Pcm16) -> None:
        try:
            transcript = await self._engines.transcriber.transcribe(pcm, language=self._language)
            self.text = self._user_words(transcript.text)
        except StageError as error:
            self._failed(error)
            self.text = None
        self.transcribed_at = self._clock()
        self._carry_out(self.turns.transcribed(self.text))
        if self.turns.state is State.TRAILING:
            self._understood(self.text or "", True)

    async def _score(self, pcm: Pcm16) -> None:
        try:
            score = await self._engines.endpoint.score(pcm)
        except StageError as error:
            self._failed(error)  # the words and the silence decide
            return
        self._carry_out(self.turns.scored(score))

    def _user_words(self, text: str) -> str:
        """Empty where it was the agent that was heard."""
        over_agent = self.echo and self.turns.floor is not Floor.FREE
        return "" if over_agent and is_echo_text(text, self.turns.agent_said) else text
