"""Who has the floor: a pure state machine on sample time.

It is fed one speech probability a frame, and told what the engines found out and when the agent takes the floor; it
answers with decisions. It knows no clock, no engine and no task: the same inputs give the same decisions, at any
speed.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from voice_agent.audio import FRAME, RATE, ms_to_samples, samples_to_ms
from voice_agent.config import Eagerness, TurnSettings
from voice_agent.dialogue.backchannel import is_backchannel
from voice_agent.dialogue.end_of_turn import SCORE_AT_MS, THRESHOLD, Evidence, probability


@dataclass(frozen=True, slots=True)
class Onset:
    """The user began to speak, or goes on: what was prepared for the words so far is void."""

    at: int
    """First speech sample, on the session's count."""


@dataclass(frozen=True, slots=True)
class Look:
    """Transcribe what was said so far, quickly: the user is still speaking."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """The user fell silent: transcribe the utterance and prepare a response to it."""

    at: int
    """End of the last speech, in samples."""


@dataclass(frozen=True, slots=True)
class Score:
    """Ask the end-of-turn detector about the utterance up to now."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The turn is over: answer it."""


@dataclass(frozen=True, slots=True)
class Discard:
    """The utterance needs no answer: it held no words, or only an "mm-hm" while the agent spoke."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The user speaks over the agent: fall silent, and be ready to go on."""


@dataclass(frozen=True, slots=True)
class Resume:
    """It was nothing: go on from the same sample."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The user means it: the agent gives up the floor."""


@dataclass(frozen=True, slots=True)
class AskIfThere:
    """The user has been quiet for long: ask once."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """Nor was there an answer to that: say goodbye."""


Decision: TypeAlias = (
    Onset | Look | Prepare | Score | Commit | Discard | Pause | Resume | Interrupt | AskIfThere | LetGo
)


class State(Enum):
    """Of the user's side of the conversation."""

    LISTENING = auto()
    """Nobody's utterance is open."""
    SPEAKING = auto()
    """The user is speaking."""
    TRAILING = auto()
    """The user fell silent; the utterance is open until it is committed or discarded."""


class Floor(Enum):
    """Of the agent's side."""

    FREE = auto()
    """The agent is silent."""
    AGENT = auto()
    """The agent is answering."""
    HELD = auto()
    """The agent stopped in the middle, until it is known what the user wants."""


class Input(Enum):
    """What moves the two."""

    SPEECH = auto()
    """Speech has lasted `start_ms`, or over the agent `BARGE_IN_MS`."""
    SILENCE = auto()
    """Silence has lasted `stop_ms`, the utterance reached its longest, or the button was released."""
    OVER = auto()
    """The evidence says that the turn is over, the button was released, or there were no words and none follow."""
    TAKEN = auto()
    """A response has begun."""
    YIELDED = auto()
    """It has ended."""
    MEANT = auto()
    """What the user says over the agent is meant to stop it; or they pressed the button."""
    NOT_MEANT = auto()
    """It is not: a noise, an "mm-hm", our own echo."""


TRANSITIONS: Final[dict[State, dict[Input, State]]] = {
    State.LISTENING: {Input.SPEECH: State.SPEAKING},
    State.SPEAKING: {Input.SILENCE: State.TRAILING},
    State.TRAILING: {Input.SPEECH: State.SPEAKING, Input.OVER: State.LISTENING},
}
"""Which inputs count in which state of the user, and where they lead; any other leaves it as it is."""

FLOOR_TRANSITIONS: Final[dict[Floor, dict[Input, Floor]]] = {
    Floor.FREE: {Input.TAKEN: Floor.AGENT},
    Floor.AGENT: {Input.SPEECH: Floor.HELD, Input.MEANT: Floor.FREE, Input.YIELDED: Floor.FREE},
    Floor.HELD: {Input.MEANT: Floor.FREE, Input.NOT_MEANT: Floor.AGENT, Input.YIELDED: Floor.FREE},
}
"""The same for the floor. `SPEECH` is the input that moves both."""


HYSTERESIS: Final = 0.15
"""Speech that has begun goes on down to this much below the threshold: Silero's own convention
(`neg_threshold` in its `VADIterator`)."""
BARGE_IN_MS: Final = 40
"""Speech over the agent that makes it pause. Less than opens an utterance, for it is soon undone."""
FIRST_LOOK_MS: Final = 200
"""Speech over the agent that is worth a look at its words: "Wait" is hardly longer."""
LOOK_EVERY_MS: Final = 160
"""Between two looks over the agent; each waits for the one before."""
PARTIAL_EVERY_MS: Final = 600
"""Between two looks while the agent is silent: live transcripts."""
DECIDE_MS: Final = 500
"""From the onset over the agent to the decision to stop or go on."""
DECIDE_LATEST_MS: Final = 800
"""The same where the user goes on without words, or no look has come back that had enough to go by."""
ENOUGH_MS: Final = 360
"""Speech over the agent in which a look finds words if there are any, and that stops the agent without words, too, if
it goes on for `DECIDE_LATEST_MS`: a cough is over by then, and so is a hum."""
NO_WORDS_MS: Final = 600
"""Silence after which an utterance without words is forgotten."""
KNOWN_PAUSES: Final = 16
"""How many of the speaker's pauses are remembered."""


class TurnTaking:
    """The floor in one session. Feed it frames; do what it decides, in order."""

    def __init__(
        self, settings: TurnSettings, speech_threshold: float, eagerness: Eagerness | None = None
    ) -> None:
        self.state = State.LISTENING
        self.floor = Floor.FREE
        self.now = 0
        """Samples received so far."""
        self.run = 0
        """Samples of unbroken speech up to now."""
        self.last_speech = 0
        """End of the last frame of speech, in samples."""
        self.opened = 0
        """First sample of the open utterance, or of the last one."""
        self.over = 0.0
        """Probability that the turn is over; 0 while the user speaks."""
        self.agent_said = ""
        """The agent's words that the user answers, or speaks over. Set from outside."""
        self.threshold = THRESHOLD[eagerness or settings.eagerness]
        """Of `over`, for a commit."""
        self.held = False
        """Push to talk: the user keeps the floor, whatever the silence says."""

        self._speech_threshold = speech_threshold
        self._start = ms_to_samples(settings.start_ms)
        self._stop = ms_to_samples(settings.stop_ms)
        self._longest = round(settings.max_utterance_s * RATE)
        self._barge_in = settings.barge_in
        self._quiet = round(settings.quiet_s * RATE)
        self._pauses: deque[float] = deque(maxlen=KNOWN_PAUSES)
        self._voiced = 0
        """Samples of speech in the open utterance, or since the agent took the floor in the midst of it."""
        self._held_since = 0
        """Onset of the speech that made the agent pause, in samples."""
        self._words: str | None = None
        """Of the open utterance, by the latest look or transcript."""
        self._echo = False
        """They were the agent's own."""
        self._looking = False
        self._looked_at = 0
        """When the last look was asked for, in samples."""
        self._looked_in = 0
        """Samples of speech that it had to go by; `_voiced` at that time."""
        self._wordless = False
        """A look that had enough to go by found no words: a hum."""
        self._fell_silent = 0
        """Where the silence began that was last trailed, in samples."""
        self._audio: float | None = None
        """The end-of-turn detector's word on this silence."""
        self._text: str | None = None
        """Transcript at this silence; None until it is ready."""
        self._failed = False
        """The transcript could not be made: the user is owed an apology."""
        self._released = False
        """The user let go of the button while the utterance was open: it is over."""
        self._scores_asked = 0
        self._quiet_since: int | None = None
        """Since when the agent waits for an answer; None before it has said anything."""
        self._asked_if_there = False

    # What happens.

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
            if self.state is State.LISTENING and self.floor is Floor.FREE:
                return list(self._wait())  # nothing else can follow; most frames are such
        return list(self._decide())

    def looked(self, text: str | None, *, echo: bool = False) -> list[Decision]:
        """What the look that was asked for last found; None where it did not come about.

        With `echo` the words were the agent's own, come back through the microphone, and `text` is empty.
        """
        self._looking = False
        if text is not None and self._text is None:
            self._words, self._echo = text, echo
            self._wordless = not text and self._looked_in >= ms_to_samples(ENOUGH_MS)
        return list(self._weigh_barge_in())

    def scored(self, audio: float) -> list[Decision]:
        """The end-of-turn detector's probability (0 to 1) for this silence."""
        if self.state is State.TRAILING:
            self._audio = audio
        return list(self._decide())

    def transcribed(self, text: str | None) -> list[Decision]:
        """The transcript since the last `Prepare`; None where the transcriber failed."""
        if self.state is State.TRAILING:
            self._text = self._words = text or ""
            self._failed = text is None
        return list(self._decide())

    def push_to_talk(self, pressed: bool) -> list[Decision]:
        """Pressed, the user takes the floor and keeps it; released, the turn is over, if anything was said.

        Pressed again before the utterance was committed, it goes on.
        """
        if pressed is self.held:
            return []
        self.held = pressed
        self._released = not pressed and self.state is not State.LISTENING
        self._asked_if_there = False
        if self._quiet_since is not None:
            self._quiet_since = self.now
        return list(self._agent(Input.MEANT) if pressed else self._decide())

    def agent_takes_floor(self) -> None:
        """A response has begun."""
        self.floor = Floor.AGENT
        self._voiced = self.run
        self._words, self._echo, self._wordless = None, False, False

    def agent_yields_floor(self) -> None:
        """The response has ended."""
        self.floor = Floor.FREE
        self._quiet_since = self.now

    # What follows from it.

    def _decide(self) -> Iterator[Decision]:
        silence = self.now - self.last_speech
        too_long = self.state is not State.LISTENING and self.now - self.opened >= self._longest
        ended = too_long or self._released
        if ended or silence >= self._stop:
            yield from self._user(Input.SILENCE)
        elif self.run >= (self._start if self.floor is Floor.FREE else ms_to_samples(BARGE_IN_MS)):
            yield from self._user(Input.SPEECH)
        match self.state:
            case State.SPEAKING:
                yield from self._look()
            case State.TRAILING:
                yield from self._trail(silence, ended)
            case State.LISTENING:
                yield from self._wait()
        yield from self._weigh_barge_in()

    def _user(self, given: Input) -> Iterator[Decision]:
        """An input to the user's side."""
        before = self.state
        if given not in TRANSITIONS[before]:
            return
        self.state = TRANSITIONS[before][given]
        self.over = 0.0
        self._text = self._audio = None
        self._failed = False
        match given:
            case Input.SPEECH:
                self._looking = False  # what is still being looked at is no longer all
                first = self.now - self.run
                if before is State.LISTENING:
                    self.opened = first
                    self._voiced = self.run
                    self._words, self._echo, self._wordless = None, False, False
                elif not self.held:  # with the button held, a pause says nothing of this speaker's manner
                    self._pauses.append(samples_to_ms(first - self._fell_silent))
                self._looked_at = self.now
                yield Onset(first)
                if self._barge_in and not self.held and self.floor is Floor.AGENT:
                    self._held_since = first
                    yield from self._agent(Input.SPEECH)
            case Input.SILENCE:
                self.run = 0  # what goes on after an utterance that was ended is the start of another one
                self._scores_asked = 0
                self._fell_silent = self.last_speech
                yield Prepare(self.last_speech)
            case Input.OVER:
                self._released = False
                self._quiet_since, self._asked_if_there = None, False

    def _agent(self, given: Input) -> Iterator[Decision]:
        """An input to the agent's side."""
        if given not in FLOOR_TRANSITIONS[self.floor]:
            return
        self.floor = FLOOR_TRANSITIONS[self.floor][given]
        match given:
            case Input.SPEECH:
                yield Pause()
            case Input.NOT_MEANT:
                yield Resume()
            case Input.MEANT:
                yield Interrupt()

    def _look(self) -> Iterator[Decision]:
        """See to it that the words are known while the user speaks."""
        if self._looking:
            return
        if self.floor is Floor.FREE:
            # Not in a pause: it may be the end, and then the transcript of it must not wait for a look.
            due = self.run > 0 and self.now - self._looked_at >= ms_to_samples(PARTIAL_EVERY_MS)
        else:
            due = self._voiced >= ms_to_samples(FIRST_LOOK_MS) and (
                self._words is None or self.now - self._looked_at >= ms_to_samples(LOOK_EVERY_MS)
            )
        if due:
            self._looking, self._looked_at, self._looked_in = True, self.now, self._voiced
            yield Look()

    def _trail(self, silence: int, ended: bool) -> Iterator[Decision]:
        """Weigh whether the turn is over; `ended` says that it is."""
        if self.held and not ended:
            return
        if ended:
            self.over = 1.0
        else:
            asked = self._scores_asked
            if asked < len(SCORE_AT_MS) and silence >= ms_to_samples(SCORE_AT_MS[asked]):
                self._scores_asked += 1
                yield Score()
            self.over = probability(self._evidence(silence))
        if self._text is None:
            return
        if not self._text and not self._failed:
            if ended or silence >= ms_to_samples(NO_WORDS_MS):
                yield from self._user(Input.OVER)
                yield Discard()
        elif self.over >= self.threshold:
            ignored = self.floor is not Floor.FREE and not self._released and self._is_backchannel()
            yield from self._user(Input.OVER)
            if ignored:
                yield Discard()
            else:
                yield from self._agent(Input.MEANT)
                yield Commit()

    def _evidence(self, silence: int) -> Evidence:
        return Evidence(
            silence_ms=samples_to_ms(silence),
            speech_ms=samples_to_ms(self.last_speech - self.opened),
            audio=self._audio,
            text=self._text,
            agent_said=self.agent_said,
            pauses_ms=tuple(self._pauses),
        )

    def _wait(self) -> Iterator[Decision]:
        """Nobody speaks: see how long."""
        if not self._quiet or self._quiet_since is None or self.floor is not Floor.FREE or self.held:
            return
        if self.now - self._quiet_since >= self._quiet:
            self._quiet_since = None  # until the agent has spoken
            yield LetGo() if self._asked_if_there else AskIfThere()
            self._asked_if_there = True

    def _weigh_barge_in(self) -> Iterator[Decision]:
        """Over the agent: stop it, or let it go on."""
        if self.floor is Floor.FREE or not (self._barge_in or self.held):
            return
        if self.state is State.LISTENING:
            meant: bool | None = False
        elif self.held or (self._words and not self._is_backchannel()):
            meant = True
        elif self.state is State.TRAILING and self._text is not None:
            meant = self._failed
        else:
            meant = self._by_time(self.now - self._held_since)
        if meant is not None:
            yield from self._agent(Input.MEANT if meant else Input.NOT_MEANT)

    def _by_time(self, since_onset: int) -> bool | None:
        """The decision that can't wait any longer."""
        known = self._words or self._echo
        soon = known or (self._wordless and not self.run)
        if self.floor is not Floor.HELD or since_onset < ms_to_samples(
            DECIDE_MS if soon else DECIDE_LATEST_MS
        ):
            return None
        return not known and self.run > 0 and self._voiced >= ms_to_samples(ENOUGH_MS)

    def _is_backchannel(self) -> bool:
        """Whether the user only shows that they listen. In reply to a question it is an answer."""
        return is_backchannel(self._words or "") and not self.agent_said.rstrip().endswith("?")
