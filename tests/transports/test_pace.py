"""How fast audio is heard, on virtual time."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import looptime
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scripted import Script, silence, speech
from voice_agent.audio import Pcm16, ms_to_samples
from voice_agent.config import Settings
from voice_agent.dialogue.end_of_turn import LONGEST_MS
from voice_agent.dialogue.events import UserTranscript
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.session import Session, open_session
from voice_agent.transports.pace import AHEAD_S, LATE_S, PIECE_S, SPEED, Pace

pytestmark = [pytest.mark.looptime, pytest.mark.paced]

RATE = 8000


def audio(seconds: float) -> Pcm16:
    return np.arange(ms_to_samples(seconds * 1000, RATE)).astype(np.int16)


async def hear(pace: Pace, pcm: Pcm16) -> list[tuple[float, Pcm16]]:
    """The pieces, each with the time at which it is heard."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    return [(clock() - begun, piece) async for piece in pace.pieces(pcm)]


async def test_a_whole_call_in_one_message_is_heard_as_it_could_have_been_said() -> None:
    call = audio(60)
    pieces = await hear(Pace(RATE), call)
    assert np.array_equal(np.concatenate([piece for _, piece in pieces]), call)
    heard = 0.0
    for at, piece in pieces:
        heard += len(piece) / RATE
        assert heard <= AHEAD_S + at * SPEED + 1e-3
    assert pieces[-1][0] == pytest.approx((60 - AHEAD_S) / SPEED, abs=PIECE_S)


async def test_audio_in_time_is_never_held_up() -> None:
    pace, clock = Pace(RATE), asyncio.get_running_loop().time
    for _ in range(1000):
        before = clock()
        [(_, piece)] = await hear(pace, audio(0.02))
        assert len(piece) == 160
        assert clock() == before
        await asyncio.sleep(0.0198)  # a sound card whose clock is fast


async def test_what_a_network_held_back_is_heard_at_once() -> None:
    pace, clock = Pace(RATE), asyncio.get_running_loop().time
    await hear(pace, audio(1))
    await asyncio.sleep(LATE_S - 1)
    before = clock()
    assert len(await hear(pace, audio(LATE_S - 2))) == 1
    assert clock() == before


async def test_a_long_silence_on_the_line_is_not_saved_up() -> None:
    pace = Pace(RATE)
    await asyncio.sleep(100 * LATE_S)
    heard_at_once = [piece for at, piece in await hear(pace, audio(2 * LATE_S)) if at == 0]
    assert sum(map(len, heard_at_once)) / RATE == pytest.approx(LATE_S + AHEAD_S, abs=PIECE_S)


async def take_finals(session: Session, said: list[str]) -> None:
    """Keep what the user is taken to have said, turn by turn."""
    async for event in session.events():
        if isinstance(event, UserTranscript) and event.final and event.text:
            said.append(event.text)


async def test_each_turn_of_a_call_that_is_sent_at_once_is_a_turn() -> None:
    script, turns = Script(), 6
    questions = [f"what is {number} and {number}?" for number in range(turns)]
    script.transcriber.texts, script.transcriber.delay_s = list(questions), 0.3
    turn = [speech(1000, RATE), silence(LONGEST_MS + 500, RATE)]
    call = np.concatenate([silence(500, RATE), *turn * turns])
    asked: list[str] = []
    async with open_session(script.engines(), Settings(), SessionOptions(input_rate=RATE)) as session:
        taking = asyncio.create_task(take_finals(session, asked))
        async for piece in Pace(RATE).pieces(call):
            await session.hear(piece)
        await asyncio.sleep(LONGEST_MS / 1000)
        taking.cancel()
    assert asked == questions


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 5)), max_size=8))
def test_nothing_is_lost_or_mixed_up(bursts: list[tuple[float, float]]) -> None:
    async def talk() -> None:
        pace = Pace(RATE)
        for seconds, rest in bursts:
            sent = audio(seconds)
            pieces = [piece async for piece in pace.pieces(sent)]
            assert np.array_equal(np.concatenate([sent[:0], *pieces]), sent)
            await asyncio.sleep(rest)

    run_on_virtual_time(talk())


def run_on_virtual_time(coroutine: Coroutine[Any, Any, None]) -> None:
    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(coroutine)
    finally:
        loop.close()
