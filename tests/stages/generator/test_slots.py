"""A conversation finds the slot where it was read before, and the most urgent request goes first."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.dialogue.simulation.clock import VirtualTimeLoop
from voice_agent.errors import StageError
from voice_agent.stages.generator.slots import LOOK_AGAIN_S, Slots
from voice_agent.urgency import Need, Urgency


async def test_a_conversation_comes_back_to_its_slot() -> None:
    slots = Slots(3)
    ann, bob = ["be brief", "I am Ann"], ["be brief", "I am Bob"]
    async with slots.take(ann) as first:
        pass
    async with slots.take(bob) as second:
        pass
    assert first != second
    async with slots.take([*ann, "Hello Ann", "Who am I?"]) as slot:
        assert slot == first
    async with slots.take([*bob, "Hello Bob", "Who am I?"]) as slot:
        assert slot == second


async def test_a_new_conversation_takes_the_slot_that_is_longest_unused() -> None:
    slots = Slots(2)
    for expected, name in enumerate(["Ann", "Bob"]):
        async with slots.take(["be brief", name]) as slot:
            assert slot == expected
    async with slots.take(["be brief", "Ann", "Hello", "More"]) as slot:
        assert slot == 0
    async with slots.take(["be brief", "Cid"]) as slot:
        assert slot == 1


async def test_a_busy_slot_is_left_alone() -> None:
    slots = Slots(2)
    messages = ["be brief", "I am Ann"]
    async with slots.take(messages) as first, slots.take(messages) as second:
        assert {first, second} == {0, 1}


# The queue, on virtual time


class Queue:
    """Requests for slots, in the order in which they got one."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.begun: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def ask(self, name: str, need: Need | None = None, *, until: float | None = None) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._hold(name, need, until))
        await settled()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.wait({self._tasks[name]})
        await settled()

    async def _hold(self, name: str, need: Need | None, until: float | None) -> None:
        async with self.slots.take([name], need, until=until):
            self.begun.append(name)
            await self._ends[name].wait()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(test)


def prepared(by: float = 0.0) -> Need:
    return Need(Urgency.PREPARED, by)


def test_the_most_urgent_goes_first_and_of_equals_the_one_that_is_wanted_first() -> None:
    async def test() -> None:
        queue = Queue(Slots(1))
        await queue.ask("first")
        await queue.ask("prepared", prepared(1.0))
        await queue.ask("later", Need(Urgency.DUE, 3.0))
        await queue.ask("due", Need(Urgency.DUE, 2.0))
        await queue.ask("prepared before", prepared(0.5))
        for name in ("first", "due", "later", "prepared before"):
            await queue.end(name)
        assert queue.begun == ["first", "due", "later", "prepared before", "prepared"]

    run(test())


def test_what_becomes_due_while_it_waits_goes_first() -> None:
    async def test() -> None:
        queue, need = Queue(Slots(1)), prepared(9.0)
        await queue.ask("first")
        await queue.ask("prepared", prepared(1.0))
        await queue.ask("committed", need)
        need.urgency = Urgency.DUE
        await queue.end("first")
        assert queue.begun == ["first", "committed"]

    run(test())


def test_a_due_request_finds_a_slot_however_many_are_prepared() -> None:
    async def test() -> None:
        queue = Queue(Slots(4, kept=2))
        for n in range(4):
            await queue.ask(f"prepared {n}", prepared(n))
        assert queue.begun == ["prepared 0", "prepared 1"]
        await queue.ask("due")
        await queue.ask("due too")
        assert queue.begun[2:] == ["due", "due too"]
        await queue.end("due")
        await queue.end("prepared 0")
        assert queue.begun[4:] == []  # two are free, and kept
        await queue.end("prepared 1")
        assert queue.begun[4:] == ["prepared 2"]

    run(test())


def test_a_prepared_request_that_becomes_due_takes_a_slot_that_is_kept() -> None:
    async def test() -> None:
        queue, need = Queue(Slots(2, kept=1)), prepared()
        await queue.ask("prepared", prepared())
        await queue.ask("committed", need)
        await asyncio.sleep(10 * LOOK_AGAIN_S)
        assert queue.begun == ["prepared"]
        need.urgency = Urgency.DUE
        await asyncio.sleep(1.5 * LOOK_AGAIN_S)
        assert queue.begun == ["prepared", "committed"]

    run(test())


def test_one_that_leaves_is_off_the_queue_even_as_its_turn_comes() -> None:
    async def test() -> None:
        queue = Queue(Slots(1))
        for name in ("first", "second", "third", "fourth"):
            await queue.ask(name)
        await queue.cancel("second")
        queue._ends["first"].set()
        await asyncio.sleep(0)  # its turn has come, and it knows nothing of it
        assert "third" not in queue.begun and not any(w.messages == ["third"] for w in queue.slots._waiting)
        await queue.cancel("third")
        assert queue.begun == ["first", "fourth"]
        await queue.end("fourth")
        await queue.ask("fifth")
        assert queue.begun == ["first", "fourth", "fifth"]

    run(test())


def test_one_waits_until_its_time_is_up_and_then_says_so() -> None:
    async def test() -> None:
        queue = Queue(Slots(1))
        await queue.ask("first")
        await queue.ask("second", until=15.0)
        with pytest.raises(StageError, match=r"busy with other replies.*TURN_TIMEOUT_S"):
            await queue._tasks["second"]
        assert asyncio.get_running_loop().time() == 15.0
        await queue.end("first")
        await queue.ask("third")
        assert queue.begun == ["first", "third"]

    run(test())


def test_nothing_is_scheduled_once_nobody_waits() -> None:
    async def test() -> None:
        queue = Queue(Slots(2, kept=1))
        await queue.ask("prepared", prepared())
        await queue.ask("waits", prepared())
        await queue.cancel("waits")
        assert queue.slots._look is None

    run(test())
