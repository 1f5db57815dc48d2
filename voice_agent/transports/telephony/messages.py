"""The messages of Twilio Media Streams that come in.

They are those of https://www.twilio.com/docs/voice/media-streams/websocket-messages.
"""

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from voice_agent.transports.quoting import quoted, shortened

Id: TypeAlias = Annotated[str, Field(pattern="^[!-~]{1,128}$")]
"""Twilio's are two letters and 32 hexadecimal digits; carriers that speak its protocol may have others. They are in
every message that goes out and in the log: printable ASCII, without white space, and not long."""


class _Message(BaseModel):
    """Fields that Twilio may add are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")


class MediaFormat(_Message):
    """The only format that there is."""

    encoding: Literal["audio/x-mulaw"]
    sample_rate: Literal[8000]
    channels: Literal[1]


class Stream(_Message):
    """One call's audio."""

    stream_sid: Id
    call_sid: Id = "unknown"
    media_format: MediaFormat
    custom_parameters: Annotated[dict[str, Any], BeforeValidator(lambda given: given or {})] = Field(
        default_factory=dict
    )
    """From the `<Parameter>` elements of the TwiML; Twilio sends strings."""


class Sound(_Message):
    """Audio from the call."""

    payload: str
    """Mu-law in base64."""
    track: str = "inbound"
    """`inbound` is the caller; `outbound` is what the caller is played."""
    chunk: int | None = None
    """Counts the messages of a track, from 1."""


class MarkName(_Message):
    """Which mark."""

    name: str


class Connected(_Message):
    """The socket is open; `start` follows."""

    event: Literal["connected"]


class Start(_Message):
    """The stream begins."""

    event: Literal["start"]
    start: Stream


class Media(_Message):
    """20 ms of audio."""

    event: Literal["media"]
    media: Sound


class Mark(_Message):
    """All audio before this mark was played, or was dropped by a `clear`."""

    event: Literal["mark"]
    mark: MarkName


class Dtmf(_Message):
    """A key was pressed."""

    event: Literal["dtmf"]


class Stop(_Message):
    """The call is over."""

    event: Literal["stop"]


Message: TypeAlias = Annotated[Connected | Start | Media | Mark | Dtmf | Stop, Field(discriminator="event")]
_message: Final[TypeAdapter[Message]] = TypeAdapter(Message)


class Unusable(Exception):  # noqa: N818 - an answer, not a fault
    """A message that can't be used; `kind` says why in one word."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def parse(message: str | bytes) -> Message:
    """Read a message.

    Raises:
        Unusable: nothing that is known here.
    """
    if isinstance(message, bytes):
        raise Unusable("binary", "a binary message; messages are JSON text")
    try:
        return _message.validate_json(message)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
    match detail["type"]:
        case "json_invalid":
            raise Unusable("invalid_json", f"not JSON: {detail['ctx']['error']}")
        case "union_tag_invalid":
            raise Unusable("unknown_event", f"there is no event {quoted(detail['ctx']['tag'])}")
        case "union_tag_not_found" | "model_attributes_type" | "dict_type":
            raise Unusable("unknown_event", "a message is a JSON object with an event")
        case _:
            field = ".".join(shortened(str(part)) for part in detail["loc"][1:])
            raise Unusable("invalid_field", f"{detail['loc'][0]}: {field}: {detail['msg']}")
