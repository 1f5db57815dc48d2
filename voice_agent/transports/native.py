"""The native wire, `WS /ws`: binary PCM and JSON both ways. `docs/protocol.md` describes it to its users."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

import numpy as np
from fastapi import WebSocket, status
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from voice_agent.agent import Agent
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
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.session import Session
from voice_agent.errors import VoiceAgentError
from voice_agent.stages.generator.request import Message
from voice_agent.transports.closing import Closed, exchange, hold, receive, receive_all, sending

GREETING_S: Final = 2.0
"""How long a client may take to send its first message; then the session begins with the defaults."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Said(_Message):
    """One message of an earlier conversation."""

    role: Literal["user", "assistant"]
    text: str = Field(min_length=1, max_length=20_000)


class Start(_Message):
    """How the client wants the session; only as its first message."""

    type: Literal["start"]
    input_rate: SampleRate = RATE
    output_rate: SampleRate = 24_000
    instructions: str | None = Field(None, max_length=20_000)
    voice: str | None = None
    language: str | None = Field(None, pattern="^[a-z]{2,3}$")
    eagerness: Eagerness | None = None
    history: list[Said] = Field(default_factory=list, max_length=500)


class Played(_Message):
    """How much of a response's audio the client has played."""

    type: Literal["played"]
    response: str
    ms: float = Field(ge=0, allow_inf_nan=False)


class Text(_Message):
    """A typed user message."""

    type: Literal["text"]
    text: str = Field(min_length=1, max_length=20_000)


class PushToTalk(_Message):
    """The user takes the floor, or lets go of it."""

    type: Literal["push_to_talk"]
    pressed: bool


class Interrupt(_Message):
    """Stop the response that is being spoken."""

    type: Literal["interrupt"]


class Ping(_Message):
    """What time is it with you?"""

    type: Literal["ping"]
    id: int


class Stop(_Message):
    """End the session."""

    type: Literal["stop"]


ClientMessage: TypeAlias = Annotated[
    Start | Played | Text | PushToTalk | Interrupt | Ping | Stop, Field(discriminator="type")
]
_client_message: Final[TypeAdapter[ClientMessage]] = TypeAdapter(ClientMessage)


class BadMessage(VoiceAgentError):  # noqa: N818 - an answer, not a fault
    """A message that can't be taken. The session goes on, unless the message was too large to go on after."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


async def serve(socket: WebSocket, agent: Agent) -> None:
    """Hold one conversation over a socket that was not yet accepted, and close it."""

    async def tell(end: Closed) -> None:
        if end.close_code != status.WS_1000_NORMAL_CLOSURE:
            await socket.send_json(_message(SessionError(end.code, str(end))))

    await hold(socket, lambda: _converse(socket, agent), tell)


async def _converse(socket: WebSocket, agent: Agent) -> None:
    options, first = await _greet(socket, agent)
    async with agent.session(options) as session:
        await socket.send_json(_ready(session))
        await exchange(agent, _read(socket, session, first), _write(socket, session))


async def _greet(socket: WebSocket, agent: Agent) -> tuple[SessionOptions, ClientMessage | Pcm16 | None]:
    """How the client wants the session; and its first message, if that was not a `start`."""
    try:
        async with asyncio.timeout(GREETING_S):
            while True:
                try:
                    first = _decode(await receive(socket))
                    return (
                        (_options(first, agent), None)
                        if isinstance(first, Start)
                        else (SessionOptions(), first)
                    )
                except BadMessage as bad:
                    await socket.send_json(_message(SessionError(bad.code, str(bad))))
    except TimeoutError:
        return SessionOptions(), None


def _options(start: Start, agent: Agent) -> SessionOptions:
    if agent.ready:
        voices, languages = agent.engines.synthesizer.voices, agent.engines.transcriber.languages
        if start.voice and start.voice not in voices:
            raise BadMessage(
                "unknown_voice", f"voice: there is no {start.voice!r}; known are {', '.join(voices)}"
            )
        if start.language and start.language not in languages:
            known = ", ".join(languages)
            raise BadMessage(
                "unknown_language", f"language: {start.language!r} is not heard here; known are {known}"
            )
    return SessionOptions(
        input_rate=start.input_rate,
        output_rate=start.output_rate,
        instructions=start.instructions,
        voice=start.voice,
        language=start.language,
        eagerness=start.eagerness,
        history=tuple(Message(said.role, said.text) for said in start.history),
    )


async def _read(socket: WebSocket, session: Session, first: ClientMessage | Pcm16 | None) -> None:
    """Take messages until the client stops or goes."""
    going = first is None or await _take(session, first)
    while going:
        for message in _joined(await receive_all(socket, unhurried=session.idle)):
            try:
                going = going and await _take(session, _decode(message))
            except BadMessage as bad:
                await session.report(SessionError(bad.code, str(bad)))


def _joined(messages: Sequence[str | bytes]) -> Iterator[str | bytes]:
    """The messages, audio that follows on audio put together: what is heard at once is heard at little more cost."""
    for is_audio, run in groupby(
        messages, lambda message: isinstance(message, bytes) and len(message) % 2 == 0
    ):
        if is_audio:
            yield b"".join(cast(Iterator[bytes], run))
        else:
            yield from run


async def _take(session: Session, message: ClientMessage | Pcm16) -> bool:
    """Do what a message asks; whether the conversation goes on."""
    match message:
        case np.ndarray():
            await session.hear(message)
        case Played():
            session.played(message.response, message.ms)
        case Text():
            session.read(message.text)
        case PushToTalk():
            session.push_to_talk(message.pressed)
        case Interrupt():
            session.interrupt()
        case Ping():
            await session.report(Pong(message.id, session.now_ms))
        case Start():
            raise BadMessage(
                "late_start", "start: the session has begun; start goes first, on a new connection"
            )
        case Stop():
            return False
    return True


async def _write(socket: WebSocket, session: Session) -> None:
    """Send the session's events as they come."""
    async for event in session.events():
        async with sending():
            if isinstance(event, ResponseAudio):
                await socket.send_bytes(event.pcm.astype("<i2", copy=False).tobytes())
            elif not isinstance(event, ResponseMade):
                await socket.send_json(_message(event))
        if isinstance(event, SessionEnded):
            raise Closed(
                status.WS_1000_NORMAL_CLOSURE, event.reason, f"the agent ended the session: {event.reason}"
            )


def _decode(message: str | bytes) -> ClientMessage | Pcm16:
    """What a message says.

    Raises:
        BadMessage: it can't be taken; the message says why.
    """
    if isinstance(message, str):
        return _parse(message)
    if len(message) % 2:
        raise BadMessage("odd_audio", f"{len(message)} bytes of audio: PCM16 has two bytes a sample")
    return np.frombuffer(message, "<i2").astype(np.int16, copy=False)


def _parse(text: str) -> ClientMessage:
    try:
        return _client_message.validate_json(text)
    except ValidationError as error:
        detail = error.errors()[0]
    field = ".".join(str(part) for part in detail["loc"])
    match detail["type"]:
        case "json_invalid":
            raise BadMessage("invalid_json", f"not JSON: {detail['ctx']['error']}")
        case "union_tag_invalid":
            raise BadMessage(
                "unknown_type",
                f"there is no type {detail['ctx']['tag']!r}; known are {detail['ctx']['expected_tags']}",
            )
        case "union_tag_not_found" | "model_attributes_type" | "dict_type":
            raise BadMessage("unknown_type", "a message is a JSON object with a type")
        case _ if field.endswith("_rate"):
            rates = ", ".join(str(rate) for rate in SAMPLE_RATES)
            raise BadMessage(
                "unsupported_rate", f"{field}: {detail['input']!r} Hz is not supported; use {rates}"
            )
        case "extra_forbidden":
            raise BadMessage("invalid_field", f"{field}: unknown field")
        case _:
            raise BadMessage("invalid_field", f"{field}: {detail['msg']}")


def _ready(session: Session) -> dict[str, Any]:
    return {
        "type": "ready",
        "session": session.id,
        "input_rate": session.options.input_rate,
        "output_rate": session.options.output_rate,
    }


def _message(event: Event) -> dict[str, Any]:
    """An event in this wire's words."""
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
