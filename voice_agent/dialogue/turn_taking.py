"""Decides who has the floor: a pure state machine on sample time.

It is fed one speech probability a frame, and told what the engines found out and when the agent takes the floor; it
answers with decisions. It knows no clock, engine or task: the same inputs give the same decisions, at any speed.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from voice_agent.audio import FRAME, RATE, ms_to_samples, samples_to_ms
from voice_agent.config import Eagerness, TurnSettings
from voice_agent.dialogue.backchannel import is_backchannel
from voice_agent.dialogue.decisions import (
    Answer,
    AskIfThere,
    Complete,
    Decision,
    Discard,
    InferEndOfTurn,
    Interrupt,
    LetGo,
    Onset,
    Pause,
    Prepare,
    Resume,
    TranscribeInterim,
)
from voice_agent.dialogue.end_of_turn import SCORE_AT_MS, THRESHOLD, Evidence, probability
from voice_agent.dialogue.floor import (
    AUTOMATIC,
    FLOOR_TRANSITIONS,
    TRANSITIONS,
    Floor,
    Input,
    State,
    TurnPolicy,
)

HYSTERESIS: Final = 0.15
"""Speech that has begun goes on down to this much below the threshold: Silero's own convention
(`neg_threshold` in its `VADIterator`)."""
BARGE_IN_MS: Final = 40
"""Speech over the agent that makes it pause. Less than opens an utterance, for it is soon undone."""
FIRST_INTERIM_MS: Final = 200
"""Speech over the agent that is worth an interim transcript: "Wait" is hardly longer."""
INTERIM_EVERY_MS: Final = 160
"""Between two of them over the agent; each waits for the one before."""
PARTIAL_EVERY_MS: Final = 600
"""Between two interim transcripts while the agent is silent: they are for the live display."""
DECIDE_MS: Final = 500
"""From the onset over the agent to the decision to stop or go on."""
DECIDE_LATEST_MS: Final = 800
"""The same where the user goes on without words, or no interim transcript has come back that had enough to go by."""
ENOUGH_MS: Final = 360
"""Speech over the agent in which an interim transcript finds words if there are any. It stops the agent without words,
too, if it goes on for `DECIDE_LATEST_MS`: a cough is over by then, and so is a hum."""
NO_WORDS_MS: Final = 600
"""Silence after which an utterance without words is forgotten."""
KNOWN_PAUSES: Final = 16
"""How many of the speaker's pauses are remembered."""


@dataclass(slots=True)
class _Heard:
    """Speech of the open utterance, or of it since the agent took the floor in its midst, and its words."""

    voiced: int
    """Samples of speech."""
    words: str | None = None
    """Of the open utterance, by the latest transcript, interim or not."""
    echo: bool = False
    """They were the agent's own."""
    wordless: bool = False
    """An interim transcript that had enough to go by found no words: a hum."""


@dataclass(slots=True)
class _Interim:
    """The interim transcript that was asked for last, since the user began to speak or went on."""

    at: int = 0
    """When it was asked for, in samples; before that, when the user began or went on."""
    voiced: int = 0
    """Samples of speech that it had to go by."""
    pending: bool = False


@dataclass(slots=True)
class _Silence:
    """The present silence in an utterance, and the evidence on whether it ends the turn."""

    began: int = 0
    """In samples."""
    audio: float | None = None
    """The end-of-turn detector's word on it."""
    text: str | None = None
    """Transcript up to it; None until that is ready."""
    failed: bool = False
    """The transcript could not be made: the user is owed an apology."""
    scores_asked: int = 0


@dataclass(slots=True)
class _Quiet:
    """The wait for a user who says nothing."""

    since: int | None = 0
    """In samples; None while the user is not waited for."""
    asked: bool = False
    """They were asked whether they are there."""


class TurnTaking:
    """The floor in one session. Feed it frames; do what it decides, in order."""

    def __init__(
        self,
        settings: TurnSettings,
        speech_threshold: float,
        eagerness: Eagerness | None = None,
        policy: TurnPolicy = AUTOMATIC,
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
        self.policy = policy
        self.button_down = False
        """Push to talk: the user keeps the floor, whatever the silence says."""

        self._settings = settings
        self.set_eagerness(eagerness)
        self._speech_threshold = speech_threshold
        self._longest = round(settings.max_utterance_s * RATE)
        self._quiet_for = round(settings.quiet_s * RATE)
        self._pauses: deque[float] = deque(maxlen=KNOWN_PAUSES)
        self._heard = _Heard(voiced=0)
        self._interim = _Interim()
        self._silence = _Silence()
        self._quiet = _Quiet()
        self._held_since = 0
        """Onset of the speech that made the agent pause, in samples."""
        self._released = False
        """The utterance is over: the user let go of the button, or it was completed from outside."""
        self._cut: int | None = None
        """Where an utterance was ended in the midst of speech, in samples, until more has begun or it has died down."""

    def set_eagerness(self, eagerness: Eagerness | None) -> None:
        """Set the `threshold` of `over` at which a turn is complete; by default the settings'."""
        self.threshold = THRESHOLD[eagerness or self._settings.eagerness]

    # What happens.

    def frame(self, probability: float) -> list[Decision]:
        """Hear one more frame, with its speech probability."""
        self.now += FRAME
        if probability >= self._speech_threshold - (HYSTERESIS if self.state is State.SPEAKING else 0.0):
            self.run += FRAME
            self._heard.voiced += FRAME
            self.last_speech = self.now
        else:
            self.run = 0
            if self.now - self.last_speech >= ms_to_samples(NO_WORDS_MS):
                self._cut = None
            if self.state is State.LISTENING and self.floor is Floor.FREE:
                return list(self._wait())  # nothing else can follow; most frames are such
        return list(self._decide())

    def interim(self, text: str | None, *, echo: bool = False) -> list[Decision]:
        """The interim transcript that was asked for last; None where it did not come about.

        With `echo` the words were the agent's own, come back through the microphone, and `text` is empty.
        """
        self._interim.pending = False
        if text is not None and self._silence.text is None:
            self._heard.words, self._heard.echo = text, echo
            self._heard.wordless = not text and self._interim.voiced >= ms_to_samples(ENOUGH_MS)
        return list(self._weigh_barge_in())

    def scored(self, audio: float) -> list[Decision]:
        """The end-of-turn detector's probability (0 to 1) for this silence."""
        if self.state is State.TRAILING:
            self._silence.audio = audio
        return list(self._decide())

    def transcribed(self, text: str | None) -> list[Decision]:
        """The transcript since the last `Prepare`; None where the transcriber failed."""
        if self.state is State.TRAILING:
            self._silence.text = self._heard.words = text or ""
            self._silence.failed = text is None
        return list(self._decide())

    def push_to_talk(self, pressed: bool) -> list[Decision]:
        """Pressed, the user takes the floor and keeps it; released, the turn is over, if anything was said.

        Pressed again before the utterance was committed, it goes on.
        """
        if pressed is self.button_down:
            return []
        self.button_down = pressed
        self._released = not pressed and self.state is not State.LISTENING
        self.user_is_there()
        return list(self._agent(Input.MEANT) if pressed else self._decide())

    def complete(self) -> list[Decision]:
        """The user's turn is over, if one is open: a client says so, or no audio comes any more."""
        self._released = self.state is not State.LISTENING
        return list(self._decide())

    def overdue(self) -> list[Decision]:
        """By the clock, the agent has stood still for long enough: stop it, or let it go on, by what is known now."""
        return list(self._weigh_barge_in(overdue=True))

    def user_is_there(self) -> None:
        """The user did something, if without speaking: typed, or used the button."""
        self._quiet = _Quiet(None if self._quiet.since is None else self.now)

    def agent_takes_floor(self) -> None:
        """A response has begun."""
        self.floor = Floor.AGENT
        self._heard = _Heard(voiced=self.run)

    def agent_yields_floor(self) -> None:
        """The response has ended."""
        self.floor = Floor.FREE
        self._quiet.since = self.now

    # What follows from it.

    def _decide(self) -> Iterator[Decision]:
        silence = self.now - self.last_speech
        too_long = self.state is not State.LISTENING and self.now - self.opened >= self._longest
        ended = too_long or self._released
        if too_long and self.state is State.SPEAKING and self.run:
            self._cut = self.now
        if ended or silence >= ms_to_samples(self._settings.stop_ms):
            yield from self._user(Input.SILENCE)
        elif self.run >= ms_to_samples(self._settings.start_ms if self.floor is Floor.FREE else BARGE_IN_MS):
            yield from self._user(Input.SPEECH)
        match self.state:
            case State.SPEAKING:
                yield from self._ask_for_interim()
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
        pause, self._silence = self._silence, _Silence(began=self.last_speech)
        match given:
            case Input.SPEECH:
                self._interim = _Interim(at=self.now)  # what is still being transcribed is no longer all
                first = self.now - self.run
                if before is State.LISTENING:
                    if self._cut is not None:
                        first, self._cut = self._cut, None
                    self.opened = first
                    self._heard = _Heard(voiced=self.run)
                elif not self.button_down:  # a pause with it held says nothing of this speaker's manner
                    self._pauses.append(samples_to_ms(first - pause.began))
                yield Onset(first)
                if self._may_interrupt and not self.button_down and self.floor is Floor.AGENT:
                    self._held_since = self.now - self.run
                    yield from self._agent(Input.SPEECH)
            case Input.SILENCE:
                self.run = 0  # what goes on after an utterance that was ended is the start of another one
                yield Prepare(self.last_speech)
            case Input.OVER:
                self._released = False

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

    def _ask_for_interim(self) -> Iterator[Decision]:
        """See to it that the words are known while the user speaks."""
        if self._interim.pending:
            return
        since_last = self.now - self._interim.at
        if self.floor is Floor.FREE:
            # Not in a pause: it may be the end, and then the transcript of it must not wait for an interim one.
            due = self.run > 0 and since_last >= ms_to_samples(PARTIAL_EVERY_MS)
        else:
            due = self._heard.voiced >= ms_to_samples(FIRST_INTERIM_MS) and (
                self._heard.words is None or since_last >= ms_to_samples(INTERIM_EVERY_MS)
            )
        if due:
            self._interim = _Interim(self.now, self._heard.voiced, pending=True)
            yield TranscribeInterim()

    def _trail(self, silence: int, ended: bool) -> Iterator[Decision]:
        """Weigh whether the turn is over; `ended` says that it is."""
        if (self.button_down or not self.policy.automatic) and not ended:
            return
        if ended:
            self.over = 1.0
        else:
            asked = self._silence.scores_asked
            if asked < len(SCORE_AT_MS) and silence >= ms_to_samples(SCORE_AT_MS[asked]):
                self._silence.scores_asked += 1
                yield InferEndOfTurn()
            self.over = probability(self._evidence(silence))
        if self._silence.text is None:
            return
        if not self._silence.text and not self._silence.failed:
            if ended or silence >= ms_to_samples(NO_WORDS_MS):
                yield from self._user(Input.OVER)
                yield Discard()
        elif self.over >= self.threshold:
            ignored = self.floor is not Floor.FREE and not self._released and self._is_backchannel()
            yield from self._user(Input.OVER)
            if ignored:
                yield Discard()
            else:
                self._quiet = _Quiet(since=None if self.policy.answer else self.now)
                yield from self._agent(Input.MEANT)
                yield Complete()
                if self.policy.answer:
                    yield Answer()

    def _evidence(self, silence: int) -> Evidence:
        return Evidence(
            silence_ms=samples_to_ms(silence),
            speech_ms=samples_to_ms(self.last_speech - self.opened),
            audio=self._silence.audio,
            text=self._silence.text,
            agent_said=self.agent_said,
            pauses_ms=tuple(self._pauses),
        )

    def _wait(self) -> Iterator[Decision]:
        """Nobody speaks: see how long."""
        if not self._quiet_for or self.floor is not Floor.FREE or self.button_down:
            return
        if self._quiet.since is not None and self.now - self._quiet.since >= self._quiet_for:
            self._quiet.since = None  # until the agent has spoken
            yield LetGo() if self._quiet.asked else AskIfThere()
            self._quiet.asked = True

    def _weigh_barge_in(self, *, overdue: bool = False) -> Iterator[Decision]:
        """Over the agent: stop it, or let it go on."""
        if self.floor is Floor.FREE:
            return
        if self.state is State.LISTENING or not (self._may_interrupt or self.button_down):
            meant: bool | None = False  # the latter where the policy has changed while the agent was held
        elif self.button_down or (self._heard.words and not self._is_backchannel()):
            meant = True
        elif self.state is State.TRAILING and self._silence.text is not None:
            meant = self._silence.failed
        else:
            meant = self._by_time(self.now - self._held_since, overdue=overdue)
        if meant is not None:
            yield from self._agent(Input.MEANT if meant else Input.NOT_MEANT)

    def _by_time(self, since_onset: int, *, overdue: bool) -> bool | None:
        """The decision that can't wait any longer."""
        if self.floor is not Floor.HELD:
            return None
        known = self._heard.words or self._heard.echo
        soon = known or (self._heard.wordless and not self.run)
        if not overdue and since_onset < ms_to_samples(DECIDE_MS if soon else DECIDE_LATEST_MS):
            return None
        return not known and self.run > 0 and self._heard.voiced >= ms_to_samples(ENOUGH_MS)

    @property
    def _may_interrupt(self) -> bool:
        return self._settings.barge_in and self.policy.interrupt

    def _is_backchannel(self) -> bool:
        """Whether the user only shows that they listen. In reply to a question it is an answer."""
        return is_backchannel(self._heard.words or "") and not self.agent_said.rstrip().endswith("?")
