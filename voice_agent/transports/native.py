"""The native wire, `WS /ws`: binary PCM and JSON both ways. `docs/protocol.md` describes it to its users."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Final, cast

import numpy as np
from fastapi import WebSocket, status

from voice_agent.agent import Agent
from voice_agent.audio import Pcm16
from voice_agent.dialogue.events import Pong, ResponseAudio, ResponseMade, SessionEnded, SessionError
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.session import Session
from voice_agent.stages.generator.request import Message
from voice_agent.transports.availability import unavailable
from voice_agent.transports.closing import (
    MAX_MESSAGE,
    Closed,
    exchange,
    hold,
    receive,
    receive_all,
    sending,
)
from voice_agent.transports.native_messages import (
    BadMessage,
    ClientMessage,
    Interrupt,
    PartOfStart,
    Ping,
    Played,
    PushToTalk,
    Start,
    Stop,
    Text,
    decode,
    encode,
    is_blank,
    to_json,
)
from voice_agent.transports.pace import Pace

GREETING_S: Final = 2.0
"""How long a client may take to send its first message, and another `start` where one was wrong."""

MAX_STARTS: Final = 5
"""How many wrong ones are answered."""


async def serve(socket: WebSocket, agent: Agent) -> None:
    """Hold one conversation over a socket that was not yet accepted, and close it."""

    async def tell(end: Closed) -> None:
        if end.close_code != status.WS_1000_NORMAL_CLOSURE:
            await socket.send_text(encode(SessionError(end.code, str(end))))

    await hold(socket, lambda: _converse(socket, agent), tell)


async def _converse(socket: WebSocket, agent: Agent) -> None:
    start, early = await _greet(socket, agent)
    async with agent.session(_options(start)) as session:
        async with sending():
            await socket.send_text(_ready(session))
        await exchange(agent, _read(socket, session, early), _write(socket, session))


async def _greet(socket: WebSocket, agent: Agent) -> tuple[Start, list[str | bytes]]:
    """How the client wants the session; and what it sent already that is for the session.

    A `start` with something wrong in it is answered, and another waited for; what comes meanwhile is kept. If none
    comes, the session begins with all else that the last one said.

    Raises:
        Closed: a session can't begin with that.
    """
    refused: PartOfStart | None = None
    early: list[str | bytes] = []
    starts = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(GREETING_S) as limit:
            while starts < MAX_STARTS and sum(map(len, early)) <= MAX_MESSAGE:
                message = await receive(socket)
                try:
                    start = _start(message, agent)
                except BadMessage as bad:
                    await socket.send_text(bad.as_json())
                    continue
                match start:
                    case Start():
                        return start, early
                    case PartOfStart():
                        refused, starts = start, starts + 1
                        for fault in start.wrong:
                            await socket.send_text(fault.as_json())
                        limit.reschedule(asyncio.get_running_loop().time() + GREETING_S)
                    case None:
                        early.append(message)
                        if not refused:
                            break
    if not refused:
        return Start(), early
    if not refused.usable:
        raise Closed(
            status.WS_1008_POLICY_VIOLATION,
            "no_start",
            f"no start that could be used came within {GREETING_S:.0f} s: {refused.wrong[0]}",
        )
    return refused.usable, early


def _start(message: str | bytes, agent: Agent) -> Start | PartOfStart | None:
    """The options of the session in a message; None if it is about something else.

    Raises:
        BadMessage: it can't be taken.
    """
    wrong: tuple[BadMessage, ...] = ()
    match decode(message):
        case Start() as start:
            pass
        case PartOfStart(Start() as start, wrong):
            pass
        case PartOfStart() as nothing:
            return nothing
        case _:
            return None
    missing = tuple(unavailable(agent, start.voice, start.language, start.instructions))
    wrong += tuple(BadMessage(choice.code, choice.reason, choice.field) for choice in missing)
    if not wrong:
        return start
    return PartOfStart(start.model_copy(update={choice.field: None for choice in missing}), wrong)


def _options(start: Start) -> SessionOptions:
    return SessionOptions(
        input_rate=start.input_rate,
        output_rate=start.output_rate,
        instructions=start.instructions,
        voice=start.voice,
        language=start.language,
        eagerness=start.eagerness,
        history=tuple(Message(said.role, said.text) for said in start.history if not is_blank(said.text)),
    )


async def _read(socket: WebSocket, session: Session, early: list[str | bytes]) -> None:
    """Take messages until the client stops or goes; no more of them than what answers them has room."""
    pace = Pace(session.options.input_rate)
    going = True
    while going:
        messages = early or await receive_all(socket, unhurried=session.idle)
        early = []
        for message in _joined(messages):
            await session.room()
            try:
                going = going and await _take(session, pace, decode(message))
            except BadMessage as bad:
                session.report(SessionError(bad.code, str(bad)))


def _joined(messages: Sequence[str | bytes]) -> Iterator[str | bytes]:
    """The messages, audio that follows on audio put together: what is heard at once is heard at little more cost."""
    for is_audio, run in groupby(
        messages, lambda message: isinstance(message, bytes) and len(message) % 2 == 0
    ):
        if is_audio:
            yield b"".join(cast(Iterator[bytes], run))
        else:
            yield from run


async def _take(session: Session, pace: Pace, message: ClientMessage | PartOfStart | Pcm16) -> bool:
    """Do what a message asks; whether the conversation goes on."""
    match message:
        case np.ndarray():
            async for piece in pace.pieces(message):
                await session.hear(piece)
        case Played():
            session.played(message.response, message.ms)
        case Text():
            session.read(message.text)
        case PushToTalk():
            session.push_to_talk(message.pressed)
        case Interrupt():
            session.interrupt()
        case Ping():
            session.report(Pong(message.id, session.now_ms))
        case Start() | PartOfStart():
            raise BadMessage(
                "late_start", "start: the session has begun; start goes first, on a new connection"
            )
        case Stop():
            return False
    return True


async def _write(socket: WebSocket, session: Session) -> None:
    """Send the session's events as they come."""
    async for event in session.events():
        if isinstance(event, ResponseMade):
            continue  # this wire tells when it was played
        if isinstance(event, SessionEnded) and event.reason == "busy":
            raise Closed(
                status.WS_1013_TRY_AGAIN_LATER,
                "server_full",
                "as many conversations go on as can be served; try again later",
            )
        async with sending():
            if isinstance(event, ResponseAudio):
                await socket.send_bytes(event.pcm.astype("<i2", copy=False).tobytes())
            else:
                await socket.send_text(encode(event))
        if isinstance(event, SessionEnded):
            raise Closed(
                status.WS_1000_NORMAL_CLOSURE, event.reason, f"the agent ended the session: {event.reason}"
            )


def _ready(session: Session) -> str:
    return to_json(
        {
            "type": "ready",
            "session": session.id,
            "input_rate": session.options.input_rate,
            "output_rate": session.options.output_rate,
        }
    )
