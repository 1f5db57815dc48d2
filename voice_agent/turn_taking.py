"""Who has the floor: a pure state machine on sample time.

It is fed one speech probability a frame, and told when a transcript is ready and when the agent has the
floor; it answers with decisions. It knows no clock, no engine and no task: the same inputs give the same
decisions, at any speed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from voice_agent.audio import FRAME, RATE, ms_to_samples
from voice_agent.config import TurnSettings


@dataclass(frozen=True, slots=True)
class Onset:
    """The user began to speak."""

    at: int
    """First speech sample, on the session's count."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The user fell silent: transcribe what there is. Followed by `Onset`, `Commit` or `Drop`."""

    at: int
    """End of the last speech, in samples."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The turn is over: answer it."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The utterance held no words: forget it."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The user speaks over the agent: it gives up the floor."""


Decision: TypeAlias = Onset | Pause | Commit | Drop | Interrupt


class State(Enum):
    """Of the user's side of the conversation."""

    LISTENING = auto()
    """Nobody's utterance is open."""
    SPEAKING = auto()
    """The user is speaking."""
    TRAILING = auto()
    """The user fell silent; the utterance is open until it is committed or dropped."""


class Input(Enum):
    """What moves the state machine."""

    SPEECH = auto()
    """Speech has lasted `start_ms`."""
    SILENCE = auto()
    """Silence has lasted `stop_ms`, or the utterance reached its longest."""
    OVER_WITH_WORDS = auto()
    """Silence has lasted `endpoint_ms` and the transcript has words."""
    OVER_WITHOUT_WORDS = auto()
    """The same, and the transcript is empty."""


TRANSITIONS: Final[dict[State, dict[Input, State]]] = {
    State.LISTENING: {Input.SPEECH: State.SPEAKING},
    State.SPEAKING: {Input.SILENCE: State.TRAILING},
    State.TRAILING: {
        Input.SPEECH: State.SPEAKING,
        Input.OVER_WITH_WORDS: State.LISTENING,
        Input.OVER_WITHOUT_WORDS: State.LISTENING,
    },
}
"""Which inputs count in which state, and where they lead; any other leaves the state as it is."""


HYSTERESIS: Final = 0.15
"""Speech that has begun goes on down to this much below the threshold: Silero's own convention
(`neg_threshold` in its `VADIterator`)."""


class TurnTaking:
    """The floor in one session. Feed it frames; do what it decides, in order."""

    def __init__(self, settings: TurnSettings, speech_threshold: float) -> None:
        self.state = State.LISTENING
        self.now = 0
        """Samples received so far."""
        self._speech_threshold = speech_threshold
        self._start = ms_to_samples(settings.start_ms)
        self._stop = ms_to_samples(settings.stop_ms)
        self._endpoint = ms_to_samples(settings.endpoint_ms)
        self._barge_in = ms_to_samples(settings.barge_in_ms)
        self._longest = round(settings.max_utterance_s * RATE)
        self.run = 0
        """Samples of unbroken speech up to now."""
        self.last_speech = 0
        """End of the last frame of speech, in samples."""
        self.opened = 0
        """First sample of the open utterance, or of the last one."""
        self._voiced = 0
        """Samples of speech since the user's onset or since the agent took the floor, whichever is later."""
        self._agent_has_floor = False
        self._words: bool | None = None
        """Whether the open utterance has words; None until its transcript is ready."""

    def frame(self, probability: float) -> list[Decision]:
        """Hear one more frame, with its speech probability."""
        self.now += FRAME
        speaking = self.state is State.SPEAKING
        if probability >= self._speech_threshold - (HYSTERESIS if speaking else 0.0):
            self.run += FRAME
            self._voiced += FRAME
            self.last_speech = self.now
        else:
            self.run = 0
        return list(self._decide())

    def transcribed(self, *, words: bool) -> list[Decision]:
        """The transcript since the last `Pause` is ready."""
        if self.state is State.TRAILING:
            self._words = words
        return list(self._decide())

    def agent_takes_floor(self) -> None:
        """A response has begun."""
        self._agent_has_floor = True
        self._voiced = 0

    def agent_yields_floor(self) -> None:
        """The response has ended."""
        self._agent_has_floor = False

    def _decide(self) -> Iterator[Decision]:
        silence = self.now - self.last_speech
        too_long = self.state is not State.LISTENING and self.now - self.opened >= self._longest
        if too_long or silence >= self._stop:
            yield from self._enter(Input.SILENCE)
        elif self.run >= self._start:
            yield from self._enter(Input.SPEECH)
        if self._words is not None and (too_long or silence >= self._endpoint):
            yield from self._enter(Input.OVER_WITH_WORDS if self._words else Input.OVER_WITHOUT_WORDS)
        if self.state is State.SPEAKING and self._voiced >= self._barge_in:
            yield from self._take_floor()

    def _enter(self, given: Input) -> Iterator[Decision]:
        before = self.state
        if given not in TRANSITIONS[before]:
            return
        self.state = TRANSITIONS[before][given]
        self._words = None
        match given:
            case Input.SPEECH:
                self._voiced = self.run
                first = self.now - self.run
                if before is State.LISTENING:
                    self.opened = first
                yield Onset(first)
            case Input.SILENCE:
                # What goes on after an utterance that got too long is the start of another one.
                self.run = 0
                yield Pause(self.last_speech)
            case Input.OVER_WITH_WORDS:
                yield from self._take_floor()
                yield Commit()
            case Input.OVER_WITHOUT_WORDS:
                yield Drop()

    def _take_floor(self) -> Iterator[Decision]:
        if self._agent_has_floor:
            self._agent_has_floor = False
            yield Interrupt()
