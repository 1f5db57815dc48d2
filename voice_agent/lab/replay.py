"""A recording through the session's own turn-taking, faster than real time."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from voice_agent.audio import FRAME, RATE, Pcm16, frames, ms_to_samples
from voice_agent.config import Eagerness, Settings
from voice_agent.dialogue.decisions import (
    Complete,
    Decision,
    Discard,
    InferEndOfTurn,
    Onset,
    Prepare,
    TranscribeInterim,
)
from voice_agent.dialogue.end_of_turn import LONGEST_MS, Evidence
from voice_agent.dialogue.floor import State
from voice_agent.dialogue.listening import PREROLL
from voice_agent.dialogue.turn_taking import TurnTaking
from voice_agent.stages.endpoint import Endpoint, NoEndpoint, SmartTurn
from voice_agent.stages.transcriber import FasterWhisper, Transcriber
from voice_agent.stages.vad import Vad, build_vad

TAIL_MS: Final = LONGEST_MS + 1000
"""Digital silence played after a recording: longer than any evidence is waited on."""


@dataclass(frozen=True, slots=True)
class Delays:
    """When the engines answer, on the recording's time: the same in every run, however busy the machine is."""

    transcript_ms: float = 150.0
    """From the first silence to the transcript: tiny.en on two idle cores, sized to the utterance."""
    score_ms: float = 60.0
    """From asking smart-turn to its score: one core."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame of silence within an utterance, or after it."""

    at: float
    """Seconds into the recording."""
    probability: float
    """That the turn is over; 0 while the silence is too short to say."""
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Replay:
    """The decisions of turn-taking about a recording."""

    moments: list[Moment] = field(default_factory=list)
    """Every frame of silence from the first speech on, as if no turn had been committed before it."""
    decisions: list[float] = field(default_factory=list)
    """When turns were committed, seconds into the recording."""

    def silences(self) -> list[list[Moment]]:
        """The moments, a list for each silence."""
        grouped: list[list[Moment]] = []
        for moment in self.moments:
            if not grouped or moment.evidence.silence_ms <= grouped[-1][-1].evidence.silence_ms:
                grouped.append([])
            grouped[-1].append(moment)
        return grouped


@dataclass(frozen=True, slots=True)
class Ear:
    """The engines that turn-taking asks."""

    vad: Vad
    endpoint: Endpoint
    transcriber: Transcriber
    settings: Settings

    @classmethod
    def build(cls, settings: Settings) -> "Ear":
        """The engines that the settings name; nothing is loaded yet."""
        smart = settings.turn.detector == "smart-turn"
        return cls(
            build_vad(settings.vad),
            SmartTurn(settings.models) if smart else NoEndpoint(),
            FasterWhisper(settings.stt, settings.models),
            settings,
        )

    async def start(self) -> None:
        """Load the engines.

        Raises:
            WeightsError: weights can't be had.
            StageError: an engine could not be loaded.
        """
        for engine in (self.vad, self.endpoint, self.transcriber):
            await engine.start()

    async def close(self) -> None:
        """Free the engines."""
        for engine in (self.vad, self.endpoint, self.transcriber):
            await engine.close()

    async def replay(
        self, pcm: Pcm16, delays: Delays, eagerness: Eagerness | None = None, agent_said: str = ""
    ) -> Replay:
        """Play `pcm`, at RATE, to a fresh session, and silence after it.

        Args:
            pcm: the recording.
            delays: when the engines answer.
            eagerness: by default the settings'.
            agent_said: what the agent is taken to have said before.

        Raises:
            StageError: an engine failed.
        """
        padded = np.concatenate((pcm, np.zeros(ms_to_samples(TAIL_MS), np.int16)))
        stream = self.vad.stream()
        speech = [stream.feed(frame) for frame in frames(padded)]
        answers = _Answers(self, padded, delays)
        result = Replay()
        for commits in (True, False):
            turns = TurnTaking(self.settings.turn, self.settings.vad.threshold, eagerness)
            turns.agent_said = agent_said
            await _Pass(turns, answers, result, commits=commits).play(speech)
        return result


@dataclass(frozen=True, slots=True)
class _Question:
    """A question to an engine, about the utterance from `start` to `end`, in samples."""

    asked_by: type[Prepare] | type[InferEndOfTurn]
    start: int
    end: int


class _Answers:
    """The engines' answers about one recording; the same question is put to them once."""

    def __init__(self, ear: Ear, pcm: Pcm16, delays: Delays) -> None:
        self._ear = ear
        self._pcm = pcm
        self._after = {
            Prepare: ms_to_samples(delays.transcript_ms),
            InferEndOfTurn: ms_to_samples(delays.score_ms),
        }
        self._texts: dict[_Question, str] = {}
        self._scores: dict[_Question, float] = {}

    def due(self, question: _Question) -> int:
        """When it is answered, in samples."""
        return question.end + self._after[question.asked_by]

    async def text(self, question: _Question) -> str:
        if question not in self._texts:
            transcript = await self._ear.transcriber.transcribe(self._pcm[question.start : question.end])
            self._texts[question] = transcript.text
        return self._texts[question]

    async def score(self, question: _Question) -> float:
        if question not in self._scores:
            self._scores[question] = await self._ear.endpoint.score(self._pcm[question.start : question.end])
        return self._scores[question]


NO_WORDS: Final = "..."
"""Stands for an empty transcript where nothing is committed: weighed the same, but does not end the utterance."""


class _Pass:
    """One time through a recording: with commits for the decisions, without for the whole of the evidence."""

    def __init__(self, turns: TurnTaking, answers: _Answers, result: Replay, *, commits: bool) -> None:
        self._turns = turns
        self._answers = answers
        self._result = result
        self._commits = commits
        self._open: list[_Question] = []
        self._heard_until = 0
        """End of the latest utterance that was committed or discarded: the next does not reach back beyond it."""
        if not commits:
            turns.threshold = math.inf

    async def play(self, speech: Iterable[float]) -> None:
        """Every frame's speech probability, and every answer at its time."""
        for probability in speech:
            self._carry_out(self._turns.frame(probability))
            while due := [
                question for question in self._open if self._answers.due(question) <= self._turns.now
            ]:
                self._open.remove(due[0])
                await self._answer(due[0])
            if not self._commits:
                self._note()

    async def _answer(self, question: _Question) -> None:
        if question.asked_by is InferEndOfTurn:
            self._carry_out(self._turns.scored(await self._answers.score(question)))
        else:
            text = await self._answers.text(question)
            self._carry_out(self._turns.transcribed(text if self._commits else text or NO_WORDS))

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Onset():
                    self._open.clear()
                case TranscribeInterim():
                    self._carry_out(self._turns.interim(None))  # live transcripts are no evidence
                case Prepare() | InferEndOfTurn():
                    start = max(0, self._turns.opened - PREROLL, self._heard_until)
                    self._open.append(_Question(type(decision), start - start % FRAME, self._turns.now))
                case Complete():
                    self._result.decisions.append(self._turns.now / RATE)
                    self._close_utterance()
                case Discard():
                    self._close_utterance()
                case _:
                    pass  # concerns an agent that speaks

    def _close_utterance(self) -> None:
        self._open.clear()
        self._heard_until = self._turns.now

    def _note(self) -> None:
        turns = self._turns
        if turns.state is State.LISTENING or turns.last_speech == turns.now:
            return
        evidence = turns._evidence(turns.now - turns.last_speech)
        self._result.moments.append(Moment(turns.now / RATE, turns.over, evidence))
