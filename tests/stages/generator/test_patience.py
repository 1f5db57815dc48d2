"""How long is waited for a reply, on virtual time."""

import asyncio

import pytest

from voice_agent.stages.generator.deltas import Delta, TextDelta, ThoughtDelta, ToolCallDelta
from voice_agent.stages.generator.failures import SilenceError
from voice_agent.stages.generator.patience import Patience

TEXT, THOUGHT, CALL = TextDelta("Hi"), ThoughtDelta("Hm"), ToolCallDelta(0, None, None, "{")

# What comes after how many seconds of waiting (the last again and again), when waiting is over, and why.
ROWS: dict[str, tuple[list[tuple[float, Delta]], float, str]] = {
    "nothing": ([(99, TEXT)], 10, "nothing for 10 s .*FIRST"),
    "nothing after a text": ([(9, TEXT), (99, TEXT)], 9 + 5, "nothing for 5 s .*TOKEN"),
    "nothing after a call": ([(9, CALL), (99, TEXT)], 9 + 5, "nothing for 5 s .*TOKEN"),
    "nothing after a thought": ([(2, THOUGHT), (99, TEXT)], 2 + 5, "nothing for 5 s .*TOKEN"),
    "nothing after a late thought": ([(9, THOUGHT), (99, TEXT)], 12, "only thoughts for 12 s .*TURN"),
    "thoughts": ([(4, THOUGHT)], 12, "only thoughts for 12 s .*TURN"),
    "thoughts after a text": ([(9, TEXT), (4, THOUGHT)], 9 + 12, "only thoughts for 12 s .*TURN"),
    "thoughts and texts": ([(4, THOUGHT), (4, TEXT), (4, THOUGHT), (4, TEXT), (99, TEXT)], 16 + 5, "TOKEN"),
}


# Nobody listens to thoughts, so that there the listener can't be slow.
LISTENERS = [
    (row, listener_s)
    for row, (pieces, _, _) in ROWS.items()
    for listener_s in ((0.0,) if isinstance(pieces[0][1], ThoughtDelta) else (0.0, 100.0))
]


@pytest.mark.looptime
@pytest.mark.parametrize(("row", "listener_s"), LISTENERS)
async def test_waiting_is_over(row: str, listener_s: float) -> None:
    pieces, seconds, why = ROWS[row]
    clock = asyncio.get_running_loop().time
    turn_at, waited, number = clock() + 12, 0.0, 0
    patience = Patience(first=(10, "first"), token=(5, "token"), turn=(12, "turn"), turn_at=turn_at)
    with pytest.raises(SilenceError, match=why):
        while True:
            after_s, delta = pieces[min(number, len(pieces) - 1)]
            number, began = number + 1, clock()
            try:
                async with patience.wait():
                    await asyncio.sleep(after_s)
            finally:
                waited += clock() - began
            if not isinstance(delta, ThoughtDelta):
                await asyncio.sleep(listener_s)  # a slow listener is not a slow model
            patience.heard(delta)
    assert waited == pytest.approx(seconds)


@pytest.mark.looptime
async def test_a_turn_that_began_earlier_is_over_earlier() -> None:
    clock = asyncio.get_running_loop().time
    patience = Patience(first=(10, "first"), token=(5, "token"), turn=(12, "turn"), turn_at=clock() + 3)
    with pytest.raises(SilenceError, match=r"nothing for 12 s .*TURN"):
        async with patience.wait():
            await asyncio.sleep(99)
    assert clock() == pytest.approx(3)


@pytest.mark.looptime
async def test_a_time_out_of_the_connection_is_not_taken_for_silence() -> None:
    clock = asyncio.get_running_loop().time
    patience = Patience(first=(10, "first"), token=(5, "token"), turn=(12, "turn"), turn_at=clock() + 12)
    with pytest.raises(TimeoutError):
        async with patience.wait():
            raise TimeoutError("the handshake timed out")
