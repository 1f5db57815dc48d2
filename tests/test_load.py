"""How many conversations are admitted, and what one is taken to cost."""

import asyncio
import logging

import pytest

from tests.scripted import Script
from voice_agent.errors import StageError
from voice_agent.load import FULL, REMEMBERED_S, TALKS_FOR_S, Load, processor_s
from voice_agent.rehearsal import ANSWER, QUESTION, rehearse


class Machine:
    """A resource whose use the test decides, and a clock."""

    def __init__(self) -> None:
        self.used_s = self.now = 0.0
        self.load = Load(clock=lambda: self.now)
        self.load.meter({"thing": lambda: self.used_s})

    def rehearse(self, share: float) -> None:
        """One conversation takes this share of the resource."""
        with self.load.rehearsal() as took:
            self.used_s += 10 * share
            took(10)

    async def use(self, share: float, seconds: float) -> None:
        """So much is used for so long."""
        watching = asyncio.create_task(self.load.watch())
        await asyncio.sleep(0.01)
        for _ in range(round(seconds)):
            self.used_s += share
            self.now += 1
            await asyncio.sleep(1)
        watching.cancel()


@pytest.mark.parametrize(("share", "served"), [(0.2, 4), (0.25, 3), (0.5, 1), (0.01, 90)])
def test_as_many_conversations_are_admitted_as_fit(share: float, served: int) -> None:
    machine = Machine()
    machine.rehearse(share)
    assert served * share <= FULL < (served + 1) * share
    admitted = [machine.load.admits(f"session {number}") for number in range(served + 3)]
    assert admitted == [True] * served + [False] * 3
    assert machine.load.full
    assert machine.load.admits("session 0"), "who is inside stays inside"


def test_the_first_is_always_served() -> None:
    machine = Machine()
    machine.rehearse(3.0)
    assert machine.load.admits("only") and not machine.load.admits("other")


def test_a_conversation_that_has_fallen_silent_or_has_ended_makes_room() -> None:
    machine = Machine()
    machine.rehearse(0.4)
    assert machine.load.admits("one") and machine.load.admits("two") and machine.load.full
    machine.now = TALKS_FOR_S - 1
    machine.load.replied("two")
    machine.load.replied("a stranger")
    machine.now = TALKS_FOR_S + 1
    assert not machine.load.full and machine.load.admits("three")
    assert machine.load.full
    machine.load.left("two")
    assert not machine.load.full


@pytest.mark.looptime
@pytest.mark.asyncio
async def test_what_is_measured_counts_where_it_is_more() -> None:
    machine = Machine()
    machine.rehearse(0.2)
    assert machine.load.admits("one")
    await machine.use(1.0, REMEMBERED_S / 5)
    assert not machine.load.full, "a short burst is no load"
    await machine.use(1.0, REMEMBERED_S * 2)
    machine.load.replied("one")
    assert machine.load.admits("one") and not machine.load.admits("two")
    await machine.use(0.1, REMEMBERED_S * 2)
    assert machine.load.admits("two")


def test_a_number_in_the_settings_is_taken_as_it_is() -> None:
    load = Load(2)
    assert [load.admits(name) for name in "abcab"] == [True, True, False, True, True]


def test_where_nothing_was_measured_everybody_is_admitted() -> None:
    load = Load()
    assert all(load.admits(str(number)) for number in range(1000)) and not load.full


@pytest.mark.looptime
@pytest.mark.asyncio
async def test_a_rehearsal_hears_a_question_and_speaks_an_answer() -> None:
    script = Script()
    engines = script.engines()
    await rehearse(engines)
    assert script.synthesizer.said == [QUESTION, ANSWER]
    assert len(script.transcriber.heard) == 1 and not script.generator.asked, "a model elsewhere is not asked"
    assert "processor" in engines.load._cost


@pytest.mark.looptime
@pytest.mark.asyncio
async def test_a_rehearsal_that_fails_leaves_everybody_admitted(caplog: pytest.LogCaptureFixture) -> None:
    script = Script()
    script.synthesizer.error = StageError("synthesizer", "no voice today")
    engines = script.engines()
    with caplog.at_level(logging.WARNING):
        await rehearse(engines)
    assert "no voice today" in caplog.text
    assert engines.load.admits("one") and engines.load.admits("two")


def test_the_processors_are_metered_with_those_of_children() -> None:
    before = processor_s()
    sum(number * number for number in range(300_000))
    assert processor_s() > before
