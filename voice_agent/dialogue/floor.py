"""The states of both sides of a conversation, as data: what moves them, and where to."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class State(Enum):
    """State of the user's side of the conversation."""

    LISTENING = auto()
    """Nobody's utterance is open."""
    SPEAKING = auto()
    """The user is speaking."""
    TRAILING = auto()
    """The user fell silent; the utterance is open until it is complete or discarded."""


class Floor(Enum):
    """State of the agent's side."""

    FREE = auto()
    """The agent is silent."""
    AGENT = auto()
    """The agent is answering."""
    HELD = auto()
    """The agent stopped in the middle, until it is known what the user wants."""


class Input(Enum):
    """The inputs that move the two."""

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
    """The user means to stop the agent by speaking over it, or they pressed the button."""
    NOT_MEANT = auto()
    """The user does not mean to: a noise, an "mm-hm", our own echo."""


TRANSITIONS: Final[dict[State, dict[Input, State]]] = {
    State.LISTENING: {Input.SPEECH: State.SPEAKING},
    State.SPEAKING: {Input.SILENCE: State.TRAILING},
    State.TRAILING: {Input.SPEECH: State.SPEAKING, Input.OVER: State.LISTENING},
}
"""The inputs that count in each state of the user, and where they lead; any other leaves it as it is."""

FLOOR_TRANSITIONS: Final[dict[Floor, dict[Input, Floor]]] = {
    Floor.FREE: {Input.TAKEN: Floor.AGENT},
    Floor.AGENT: {Input.SPEECH: Floor.HELD, Input.MEANT: Floor.FREE, Input.YIELDED: Floor.FREE},
    Floor.HELD: {Input.MEANT: Floor.FREE, Input.NOT_MEANT: Floor.AGENT, Input.YIELDED: Floor.FREE},
}
"""The same for the floor. `SPEECH` is the input that moves both."""


@dataclass(frozen=True, slots=True)
class TurnPolicy:
    """The consequences that the user's speech has of itself."""

    automatic: bool = True
    """Whether a silence can end the user's turn; if not, only `Session.complete_turn`, the button, `max_utterance_s`
    and a line on which nothing comes do."""
    answer: bool = True
    """Whether a turn that is over is answered; if not, only when `Session.respond` says so."""
    interrupt: bool = True
    """Whether speech over a reply can stop it before the user's turn is over."""


AUTOMATIC: Final = TurnPolicy()
"""The policy of a client that asks for no other."""
