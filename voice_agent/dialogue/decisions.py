"""The decisions of turn-taking, which `Conversation` and `Listener` carry out."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Onset:
    """The user began to speak, or goes on: what was prepared for the words so far is void."""

    at: int
    """First speech sample, on the session's count."""


@dataclass(frozen=True, slots=True)
class TranscribeInterim:
    """The user is still speaking: transcribe what was said so far, quickly."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """The user fell silent: transcribe the utterance and prepare a response to it."""

    at: int
    """End of the last speech, in samples."""


@dataclass(frozen=True, slots=True)
class InferEndOfTurn:
    """Ask the end-of-turn detector about the utterance up to now."""


@dataclass(frozen=True, slots=True)
class Complete:
    """The user's turn is over: the utterance joins the conversation."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Respond to what was completed."""


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
    """The user did not answer that either: say goodbye."""


Decision: TypeAlias = (
    Onset
    | TranscribeInterim
    | Prepare
    | InferEndOfTurn
    | Complete
    | Answer
    | Discard
    | Pause
    | Resume
    | Interrupt
    | AskIfThere
    | LetGo
)
