"""Twilio Media Streams, `WS /telephony/twilio`: a phone call, as mu-law within JSON.

`messages.py` has what comes in; `docs/protocol.md` says what is made of it. Twilio takes `media`, `mark` and `clear`
and calls anything else a protocol error (31924), so what goes wrong is logged, and where the call can't go on it is
the reason of the close.
"""

import asyncio
import binascii
import json
import logging
from base64 import b64decode, b64encode
from collections import Counter
from contextlib import suppress
from itertools import count
from typing import Any, Final, get_args

from fastapi import WebSocket, status

from voice_agent.agent import Agent
from voice_agent.audio import Pcm16, frames, ms_to_samples, samples_to_ms, ulaw_decode, ulaw_encode
from voice_agent.config import Eagerness
from voice_agent.dialogue.events import (
    ResponseAudio,
    ResponseEnded,
    ResponsePaused,
    ResponseStarted,
    SessionEnded,
)
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.session import Session
from voice_agent.language import base_language
from voice_agent.transports.availability import unavailable
from voice_agent.transports.closing import Closed, exchange, hold, receive, receive_all, sending
from voice_agent.transports.pace import Pace
from voice_agent.transports.quoting import quoted
from voice_agent.transports.telephony.media_counter import MediaCounter
from voice_agent.transports.telephony.messages import (
    Connected,
    Dtmf,
    Mark,
    Media,
    Message,
    Sound,
    Start,
    Stop,
    Stream,
    Unusable,
    parse,
)

log = logging.getLogger(__name__)

LINE_RATE: Final = 8000
"""Of the telephone network, both ways, hertz; a sample is a byte of mu-law."""

FRAME: Final = LINE_RATE * 20 // 1000
"""Longest audio in one `media` message, samples: 20 ms, as the line itself has it."""

LEAD_MS: Final = 400.0
"""How far ahead of its playback the caller is sent audio. A mark takes a trip over the network to come back, and
until then the audio counts as unplayed: less than that trip and its jitter (100 to 200 ms between continents),
beside a busy moment of this machine, and the line would run dry. More would gain nothing, and be sent twice
whenever a response is paused."""

START_WITHIN_S: Final = 5.0
"""How long after connecting `start` may take; Twilio sends it at once."""

HEARD_WITHIN_S: Final = 2.0
"""How long the last marks are waited for when the agent hangs up: `LEAD_MS`, and a slow network."""


async def serve(socket: WebSocket, agent: Agent) -> None:
    """Hold one call over a socket that was not yet accepted, and close it."""
    await hold(socket, lambda: _converse(socket, agent), _log_end)


async def _log_end(end: Closed) -> None:
    level = logging.INFO if end.close_code == status.WS_1000_NORMAL_CLOSURE else logging.WARNING
    log.log(level, "a call was closed with %d: %s", end.close_code, end)


async def _converse(socket: WebSocket, agent: Agent) -> None:
    stream = await _greet(socket)
    async with agent.session(_options(stream, agent)) as session:
        log.info("call %s, stream %s: session %s", stream.call_sid, stream.stream_sid, session.id)
        call = _Call(socket, session, stream)
        try:
            await exchange(agent, call.listen(), call.speak())
        finally:
            call.log_passed_over()


async def _greet(socket: WebSocket) -> Stream:
    """The stream that the call's `start` describes."""
    try:
        async with asyncio.timeout(START_WITHIN_S):
            while True:
                match parse(await receive(socket)):
                    case Connected():
                        pass
                    case Start(start=stream):
                        return stream
                    case message:
                        raise Unusable("early", f"{message.event} before start")
    except Unusable as unusable:
        why = str(unusable)
    except TimeoutError:
        why = f"no start within {START_WITHIN_S:.0f} s"
    raise Closed(status.WS_1008_POLICY_VIOLATION, "not_twilio", f"Twilio Media Streams is spoken here: {why}")


def _options(stream: Stream, agent: Agent) -> SessionOptions:
    """How the session is to be. A parameter that makes no sense is logged: a call does not fail for it."""
    given = stream.custom_parameters
    chosen = {name: given.get(name) or None for name in ("voice", "language", "instructions", "eagerness")}
    if isinstance(language := chosen["language"], str):
        chosen["language"] = base_language(language)

    def drop(name: str, reason: str) -> None:
        log.warning("call %s: parameter %s; the default is used", stream.call_sid, reason)
        chosen[name] = None

    for choice in unavailable(agent, chosen["voice"], chosen["language"], chosen["instructions"]):
        drop(choice.field, choice.reason)
    if (eagerness := chosen["eagerness"]) not in (None, *get_args(Eagerness)):
        known = ", ".join(get_args(Eagerness))
        drop("eagerness", f"eagerness: there is no {quoted(eagerness)}; known are {known}")
    return SessionOptions(
        input_rate=LINE_RATE,
        output_rate=LINE_RATE,
        instructions=chosen["instructions"],
        voice=chosen["voice"],
        language=chosen["language"],
        lead_ms=LEAD_MS,
        client_pauses=False,
        eagerness=chosen["eagerness"],
    )


class _Call:
    """Both directions of a call that has begun, and what its marks say was heard."""

    def __init__(self, socket: WebSocket, session: Session, stream: Stream) -> None:
        self._socket = socket
        self._session = session
        self._stream_sid = stream.stream_sid
        self._call_sid = stream.call_sid
        self._counter = MediaCounter()
        self._audio = bytearray()
        """Mu-law that came with what is being taken."""
        self._pace = Pace(LINE_RATE)
        self._passed_over: Counter[str] = Counter()
        self._response = ""
        """The response that was sent last."""
        self._position = 0
        """How far into it the audio sent to the caller reaches, samples."""
        self._names = map(str, count(1))
        self._outstanding: dict[str, float] = {}
        """Marks that tell what was heard, each with its position in the response, milliseconds. A `clear` returns
        every mark at once: those are no longer in here, and no name is used twice."""
        self._all_heard = asyncio.Event()

    async def listen(self) -> None:
        """Take messages until the call is over."""
        going = True
        while going:
            for message in await receive_all(self._socket, unhurried=self._session.idle):
                try:
                    going = going and await self._take(parse(message))
                except Unusable as unusable:
                    self._pass_over(unusable)
            audio, self._audio = ulaw_decode(bytes(self._audio)), bytearray()
            async for piece in self._pace.pieces(audio):
                await self._session.hear(piece)

    async def speak(self) -> None:
        """Send what the session says; the rest of its events has no place on a telephone."""
        async for event in self._session.events():
            async with sending():
                match event:
                    case ResponseStarted(response):
                        self._response, self._position = response, 0
                        self._outstanding.clear()
                    case ResponseAudio(_, pcm):
                        await self._play(pcm)
                    case ResponsePaused(_, heard_ms):
                        await self._clear()
                        self._position = ms_to_samples(heard_ms, LINE_RATE)
                    case ResponseEnded(_, reason) if reason != "completed":
                        await self._clear()
            if isinstance(event, SessionEnded):
                await self._wait_until_heard()
                raise Closed(
                    status.WS_1000_NORMAL_CLOSURE, event.reason, f"the agent hung up: {event.reason}"
                )

    def log_passed_over(self) -> None:
        """Of everything that could not be used, how often it came."""
        if self._passed_over:
            kinds = ", ".join(f"{kind} {times}" for kind, times in self._passed_over.items())
            log.warning("call %s: messages passed over: %s", self._call_sid, kinds)

    async def _take(self, message: Message) -> bool:
        """Do what a message asks; whether the call goes on."""
        match message:
            case Media(media=sound):
                self._hear(sound)
            case Mark(mark=mark):
                self._mark_returned(mark.name)
            case Dtmf():  # which key is not logged: people type card numbers
                log.info("call %s: a key was pressed, which has no meaning here", self._call_sid)
            case Connected() | Start():
                raise Unusable("late_start", f"{message.event}: the call has begun")
            case Stop():
                return False
        return True

    def _hear(self, sound: Sound) -> None:
        if sound.track != "inbound":
            raise Unusable("other_track", f"media of track {quoted(sound.track)}: only the caller is heard")
        if sound.chunk is not None and not self._counter.is_new(sound.chunk):
            raise Unusable("late_media", f"media: chunk {quoted(sound.chunk)} has been heard")
        try:
            self._audio += b64decode(sound.payload, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Unusable("bad_base64", f"media: payload: {error}") from None

    def _mark_returned(self, name: str) -> None:
        heard_ms = self._outstanding.pop(name, None)
        if heard_ms is None:
            return  # cleared
        self._session.played(self._response, heard_ms)
        if not self._outstanding:
            self._all_heard.set()

    async def _play(self, pcm: Pcm16) -> None:
        for frame in frames(pcm, FRAME, pad=False):
            await self._send("media", media={"payload": b64encode(ulaw_encode(frame)).decode()})
        self._position += len(pcm)
        name = next(self._names)
        self._outstanding[name] = samples_to_ms(self._position, LINE_RATE)
        await self._send("mark", mark={"name": name})

    async def _clear(self) -> None:
        self._outstanding.clear()
        await self._send("clear")

    async def _wait_until_heard(self) -> None:
        self._all_heard.clear()
        if self._outstanding:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARD_WITHIN_S):
                    await self._all_heard.wait()

    async def _send(self, event: str, **fields: Any) -> None:
        await self._socket.send_text(json.dumps({"event": event, "streamSid": self._stream_sid, **fields}))

    def _pass_over(self, unusable: Unusable) -> None:
        """The first of its kind is logged; a line may bring fifty a second."""
        self._passed_over[unusable.kind] += 1
        if self._passed_over[unusable.kind] == 1:
            log.warning("call %s: passed over: %s", self._call_sid, unusable)
