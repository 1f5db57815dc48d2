"""The messages of the native wire, both ways. `docs/protocol.md` describes them to their users."""

import json
import unicodedata
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails, from_json

from voice_agent.audio import RATE, SAMPLE_RATES, Pcm16, SampleRate
from voice_agent.config import Eagerness
from voice_agent.dialogue.events import (
    Event,
    Pong,
    ResponseAudio,
    ResponseEnded,
    ResponseMade,
    ResponsePaused,
    ResponseResumed,
    ResponseStarted,
    ResponseText,
    ResponseTextEnded,
    SessionEnded,
    SessionError,
    SpeechStarted,
    SpeechStopped,
    TurnTimeline,
    UserTranscript,
)
from voice_agent.errors import VoiceAgentError
from voice_agent.transports.availability import MAX_INSTRUCTIONS
from voice_agent.transports.language import Language
from voice_agent.transports.quoting import quoted, shortened

MAX_EXACT: Final = 1 << 53
"""The largest integer up to which JavaScript has every one."""


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: white space, control and format characters (Unicode's Z, Cc and Cf)."""
    return all(unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp", "Zs") for sign in text)


def _not_blank(text: str) -> str:
    if is_blank(text):
        raise ValueError("there is nothing in it but white space")
    return text


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


_EmptyIsUnset: Final = BeforeValidator(lambda value: None if value == "" else value)


class Said(_Message):
    """One message of an earlier conversation."""

    role: Literal["user", "assistant"]
    text: str = Field(min_length=1, max_length=20_000)


class Start(_Message):
    """How the client wants the session; only as its first message."""

    type: Literal["start"] = "start"
    input_rate: SampleRate = RATE
    output_rate: SampleRate = 24_000
    instructions: Annotated[str | None, _EmptyIsUnset] = Field(None, max_length=MAX_INSTRUCTIONS)
    voice: Annotated[str | None, _EmptyIsUnset] = None
    language: Annotated[Language | None, _EmptyIsUnset] = None
    eagerness: Eagerness | None = None
    history: list[Said] = Field(default_factory=list, max_length=500)


class Played(_Message):
    """How much of a response's audio the client has played."""

    type: Literal["played"]
    response: str = Field(max_length=64)
    ms: float = Field(ge=0, allow_inf_nan=False)


class Text(_Message):
    """A typed user message."""

    type: Literal["text"]
    text: Annotated[str, Field(min_length=1, max_length=20_000), AfterValidator(_not_blank)]


class PushToTalk(_Message):
    """The user takes the floor, or lets go of it."""

    type: Literal["push_to_talk"]
    pressed: bool


class Interrupt(_Message):
    """Stop the response that is being spoken."""

    type: Literal["interrupt"]


class Ping(_Message):
    """Asks for the server's time."""

    type: Literal["ping"]
    id: int = Field(ge=-MAX_EXACT, le=MAX_EXACT)


class Stop(_Message):
    """End the session."""

    type: Literal["stop"]


ClientMessage: TypeAlias = Annotated[
    Start | Played | Text | PushToTalk | Interrupt | Ping | Stop, Field(discriminator="type")
]
_client_message: Final[TypeAdapter[ClientMessage]] = TypeAdapter(ClientMessage)


class BadMessage(VoiceAgentError):  # noqa: N818 - an answer, not a fault
    """A message that can't be taken. The session goes on."""

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        """Which field of it is wrong, where one is."""

    def as_json(self) -> str:
        """The `error` that the client is sent."""
        field = {"field": self.field} if self.field else {}
        return to_json({"type": "error", "code": self.code, "message": str(self)} | field)


@dataclass(frozen=True, slots=True)
class PartOfStart:
    """A `start` in which something is wrong."""

    usable: Start | None
    """The rest of it. None where a session can't begin with that: with the wrong rate all that is heard is noise."""
    wrong: tuple[BadMessage, ...]
    """The reasons, one for each field."""


MAX_TOLD: Final = 8
"""Of the wrong fields of a `start`, how many are told."""


def decode(message: str | bytes) -> ClientMessage | PartOfStart | Pcm16:
    """Read a message.

    Raises:
        BadMessage: it can't be taken; the error says why.
    """
    if isinstance(message, str):
        return _parse(message)
    if len(message) % 2:
        raise BadMessage("odd_audio", f"{len(message)} bytes of audio: PCM16 has two bytes a sample")
    return np.frombuffer(message, "<i2").astype(np.int16, copy=False)


def _parse(text: str, *, mend: bool = True) -> ClientMessage | PartOfStart:
    try:
        return _client_message.validate_json(text)
    except ValidationError as error:
        details = error.errors(include_url=False)
    if mend and details[0]["type"] == "json_invalid" and (mended := _without_half_pairs(text)):
        return _parse(mended, mend=False)
    if details[0]["loc"][:1] != ("start",):
        raise _explained(details[0])
    by_field = {str(detail["loc"][1]): _explained(detail) for detail in reversed(details)}
    wrong = tuple(reversed(by_field.values()))[:MAX_TOLD]
    if any(bad.code == "unsupported_rate" for bad in wrong):
        return PartOfStart(None, wrong)
    fields = {name: value for name, value in from_json(text).items() if name not in by_field}
    return PartOfStart(Start.model_validate(fields), wrong)


def _without_half_pairs(text: str) -> str | None:
    """JSON with U+FFFD for every half of a surrogate pair; None if that was not what is wrong.

    JavaScript's strings may hold such halves, of an emoji that was cut in two, and `JSON.stringify` writes them.
    """
    if "\\ud" not in text.lower():
        return None
    try:
        mended = to_json(json.loads(text))
    except (ValueError, RecursionError):
        return None
    return mended if "\ufffd" in mended else None


def _explained(detail: ErrorDetails) -> BadMessage:
    """Pydantic's error, in this wire's words."""
    path = ".".join(shortened(str(part)) for part in detail["loc"])
    field = shortened(str(detail["loc"][1])) if len(detail["loc"]) > 1 else None
    match detail["type"]:
        case "json_invalid":
            return BadMessage("invalid_json", f"not JSON: {detail['ctx']['error']}")
        case "union_tag_invalid":
            tag, known = quoted(detail["ctx"]["tag"]), detail["ctx"]["expected_tags"]
            return BadMessage("unknown_type", f"there is no type {tag}; known are {known}")
        case "union_tag_not_found" | "model_attributes_type" | "dict_type":
            return BadMessage("unknown_type", "a message is a JSON object with a type")
        case _ if field in ("input_rate", "output_rate"):
            rates = ", ".join(str(rate) for rate in SAMPLE_RATES)
            return BadMessage(
                "unsupported_rate",
                f"{path}: {quoted(detail['input'])} Hz is not supported; use {rates}",
                field,
            )
        case "extra_forbidden":
            return BadMessage("invalid_field", f"{path}: unknown field", field)
        case "value_error":
            return BadMessage("invalid_field", f"{path}: {detail['ctx']['error']}", field)
        case _:
            return BadMessage("invalid_field", f"{path}: {detail['msg']}", field)


def encode(event: Event) -> str:
    """An event in this wire's words; audio goes out as a binary message."""
    return to_json(_fields(event))


def to_json(message: dict[str, Any]) -> str:
    """A message as text. Half of a surrogate pair, which no frame can carry, becomes U+FFFD."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _fields(event: Event) -> dict[str, Any]:
    """Of the message that an event becomes."""
    match event:
        case SpeechStarted(ms):
            return {"type": "speech_started", "ms": round(ms)}
        case SpeechStopped(ms):
            return {"type": "speech_stopped", "ms": round(ms)}
        case UserTranscript(turn, text, final):
            return {"type": "transcript", "turn": turn, "text": text, "final": final}
        case ResponseStarted(response, turn):
            return {"type": "response_started", "response": response, "turn": turn}
        case ResponseText(response, text, start_ms):
            return {
                "type": "response_text",
                "response": response,
                "text": text,
                "start_ms": round(start_ms),
            }
        case ResponseTextEnded(response, end_ms):
            return {"type": "response_text_ended", "response": response, "end_ms": round(end_ms)}
        case ResponsePaused(response, heard_ms):
            return {"type": "pause", "response": response, "heard_ms": round(heard_ms)}
        case ResponseResumed(response):
            return {"type": "resume", "response": response}
        case ResponseEnded(response, reason, heard_ms, heard):
            return {
                "type": "response_ended",
                "response": response,
                "reason": reason,
                "heard_ms": round(heard_ms),
                "heard": heard,
            }
        case TurnTimeline(timeline):
            return {
                "type": "timeline",
                "turn": timeline.turn,
                "response": timeline.response,
                "server_ms": round(timeline.last_speech * 1000, 1),
                "steps": timeline.steps(),
            }
        case SessionError(code, message):
            return {"type": "error", "code": code, "message": message}
        case Pong(id, server_ms):
            return {"type": "pong", "id": id, "server_ms": server_ms}
        case SessionEnded(reason):
            return {"type": "ended", "reason": reason}
        case ResponseAudio() | ResponseMade():
            raise TypeError(f"{type(event).__name__} is no message of this wire")
