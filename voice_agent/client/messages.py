"""The server's text messages on the native wire, as a client sees them."""

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from voice_agent.errors import VoiceAgentError


class ServerError(VoiceAgentError):
    """The server refused the session, closed the connection, or sent what the protocol does not allow."""


Id: TypeAlias = int | str


class ServerMessage(BaseModel):
    """A text message from the server; fields that a later version adds are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Ready(ServerMessage):
    """The session has begun; the rates, in hertz, hold for all of it."""

    type: Literal["ready"] = "ready"
    session: Id
    input_rate: int
    output_rate: int


class SpeechStarted(ServerMessage):
    """The server hears the user speak; `ms` counts the audio sent so far."""

    type: Literal["speech_started"] = "speech_started"
    ms: float = 0


class SpeechStopped(ServerMessage):
    """The server hears silence after speech; `ms` counts the audio sent so far."""

    type: Literal["speech_stopped"] = "speech_stopped"
    ms: float = 0


class Transcript(ServerMessage):
    """The user's words in a turn. Final and empty: no words were found, and no response follows."""

    type: Literal["transcript"] = "transcript"
    turn: Id
    text: str
    final: bool = True


class ResponseStarted(ServerMessage):
    """The binary messages from here on are the audio of this response."""

    type: Literal["response_started"] = "response_started"
    response: Id
    turn: Id | None = None


class ResponseText(ServerMessage):
    """The next piece of a response's text, to be appended as it is."""

    type: Literal["response_text"] = "response_text"
    response: Id
    text: str
    start_ms: float | None = None
    """Where its audio begins in the response's; None from older servers."""


class ResponseTextEnded(ServerMessage):
    """All audio of the piece of text before it is made."""

    type: Literal["response_text_ended"] = "response_text_ended"
    response: Id
    end_ms: float
    """Where it ends in the response's audio."""


class ResponseEnded(ServerMessage):
    """A response is over. After any reason but `completed`, what was not yet played is to be dropped."""

    type: Literal["response_ended"] = "response_ended"
    response: Id
    reason: str
    """`completed`, `interrupted`, `failed`, or one that a later version adds."""
    heard_ms: float | None = None
    heard: str | None = None
    """Its text up to the last word that was played; None from older servers."""


class Timeline(ServerMessage):
    """The moments of a turn, milliseconds since the user's last speech sample."""

    type: Literal["timeline"] = "timeline"
    turn: Id | None = None
    response: Id | None = None
    server_ms: float | None = None
    """The last speech sample, on the server's clock."""
    steps: dict[str, float | None]


class Pong(ServerMessage):
    """The answer to a `ping`."""

    type: Literal["pong"] = "pong"
    id: int
    server_ms: float
    """When the server got it, on its clock."""


class Error(ServerMessage):
    """Something went wrong; the session goes on unless the connection is closed next."""

    type: Literal["error"] = "error"
    code: str
    message: str


class Pause(ServerMessage):
    """Stop playing this response, and keep the rest of it."""

    type: Literal["pause"] = "pause"
    response: Id


class Resume(ServerMessage):
    """Go on playing this response from the sample where it was paused."""

    type: Literal["resume"] = "resume"
    response: Id


class Ended(ServerMessage):
    """The agent hangs up; the connection is closed next."""

    type: Literal["ended"] = "ended"
    reason: str


ServerEvent: TypeAlias = (
    Ready
    | SpeechStarted
    | SpeechStopped
    | Transcript
    | ResponseStarted
    | ResponseText
    | ResponseTextEnded
    | ResponseEnded
    | Timeline
    | Error
    | Pong
    | Pause
    | Resume
    | Ended
)
_SERVER_EVENT: Final[TypeAdapter[ServerEvent]] = TypeAdapter(
    Annotated[ServerEvent, Field(discriminator="type")]
)


def parse(text: str) -> ServerEvent | None:
    """A text message of the server; None for a type that this version does not know.

    Raises:
        ServerError: not JSON, or a known type with missing or wrong fields.
    """
    try:
        return _SERVER_EVENT.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "union_tag_invalid":
            return None
        where = ".".join(map(str, first["loc"])) or "message"
        raise ServerError(
            f"the server sent a message outside the protocol ({where}: {first['msg']}): {text[:200]}"
        ) from error
