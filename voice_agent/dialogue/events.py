"""The events that a session tells its client. A transport writes each in its own wire's words.

For the other direction there are no events, but methods of `Session`.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from voice_agent.audio import Pcm16
from voice_agent.dialogue.timeline import Timeline

EndReason = Literal["completed", "interrupted", "failed"]
EndOfSession = Literal["quiet", "idle", "busy"]


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The user began to speak."""

    ms: float
    """Position in the audio received, milliseconds."""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The user fell silent; whether the turn is over is decided later."""

    ms: float
    """Position of the last speech in the audio received, milliseconds."""


@dataclass(frozen=True, slots=True)
class UserTranscript:
    """The user's words. Empty and final: there was sound, but no words, and no response follows."""

    turn: int
    text: str
    final: bool


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    """The agent takes the floor."""

    response: str
    turn: int


@dataclass(frozen=True, slots=True)
class ResponseText:
    """The next chunk of the response, as a screen shows it; its audio follows."""

    response: str
    text: str
    start_ms: float
    """Where its audio begins in the response's."""


@dataclass(frozen=True, slots=True)
class ResponseTextEnded:
    """All audio of the chunk before it is made, though perhaps not yet sent."""

    response: str
    end_ms: float
    """Where it ends in the response's audio."""


@dataclass(frozen=True, slots=True)
class ResponseAudio:
    """The next audio of the response, at the session's output rate."""

    response: str
    pcm: Pcm16


@dataclass(frozen=True, slots=True)
class ResponseMade:
    """All text and audio of the response is made; `ResponseEnded` tells when it was played. Not so of one that ended
    before, nor of one that failed."""

    response: str


@dataclass(frozen=True, slots=True)
class ResponsePaused:
    """Stop playing this response where it is, and keep what is unplayed: the user may have begun to speak."""

    response: str
    heard_ms: float
    """How much of its audio was played by then, milliseconds."""


@dataclass(frozen=True, slots=True)
class ResponseResumed:
    """Go on from the sample where it was paused. To a client that can't pause, all that was unplayed is sent again
    after this."""

    response: str


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """No more of this response comes. After anything but `completed`, what is unplayed is to be dropped."""

    response: str
    reason: EndReason
    heard_ms: float
    """How much of its audio was played, milliseconds."""
    heard: str
    """Its text up to the last word that was played: what the history holds of it."""


@dataclass(frozen=True, slots=True)
class TurnTimeline:
    """The moments of a turn that has ended."""

    timeline: Timeline


@dataclass(frozen=True, slots=True)
class Pong:
    """The time on the server's clock, for a client that asked."""

    id: int
    """The client's."""
    server_ms: float
    """When it was asked."""


@dataclass(frozen=True, slots=True)
class SessionError:
    """Something failed; the session goes on."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The agent hangs up: the last event."""

    reason: EndOfSession
    """`quiet`: the user said nothing for long; `idle`: the client sent nothing for long; `busy`: at the first turn, as
    many conversations went on as can be served."""


Event: TypeAlias = (
    SpeechStarted
    | SpeechStopped
    | UserTranscript
    | ResponseStarted
    | ResponseText
    | ResponseTextEnded
    | ResponseAudio
    | ResponseMade
    | ResponsePaused
    | ResponseResumed
    | ResponseEnded
    | TurnTimeline
    | Pong
    | SessionError
    | SessionEnded
)
