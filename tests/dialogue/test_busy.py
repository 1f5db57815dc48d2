"""A conversation that can't be served is told so, and costs the others nothing."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from tests.dialogue.calling import SETTINGS, Caller
from tests.scripted import Script
from voice_agent.dialogue.events import ResponseEnded, SessionEnded, UserTranscript
from voice_agent.dialogue.manners import PHRASES
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.session import open_session
from voice_agent.engines import Engines
from voice_agent.load import TALKS_FOR_S, Load

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("plain_evidence")]

BUSY = PHRASES["en"].busy


async def begin(stack: AsyncExitStack, engines: Engines) -> Caller:
    caller = Caller(await stack.enter_async_context(open_session(engines, SETTINGS, SessionOptions())))
    listening = asyncio.create_task(caller.listen())
    stack.callback(listening.cancel)
    return caller


def engines_for(most: int, script: Script) -> Engines:
    return replace(script.engines(), load=Load(most, clock=asyncio.get_running_loop().time))


@pytest.mark.parametrize("typed", [False, True])
async def test_one_more_than_can_be_served_hears_that_all_lines_are_busy(typed: bool) -> None:
    script = Script()
    async with AsyncExitStack() as stack:
        engines = engines_for(1, script)
        one, two = await begin(stack, engines), await begin(stack, engines)
        await one.ask()
        if typed:
            two.session.read("hello")
        else:
            await two.ask()
        assert (await two.until(SessionEnded)).reason == "busy"
        assert two.all(ResponseEnded)[0].reason == "completed"
        assert two.all(UserTranscript)[-1].text == "hello", "what was said is shown all the same"
        await one.until(ResponseEnded)
        await one.ask()
        await one.until(ResponseEnded, 2)
        assert not one.all(SessionEnded)
    assert " ".join(script.synthesizer.said).count(BUSY) == 1
    assert len(script.generator.asked) == 2, "none was prepared for whoever can't be served"


async def test_who_speaks_over_the_busy_answer_may_get_a_place_that_is_free_by_then() -> None:
    script = Script()
    async with AsyncExitStack() as stack:
        engines = engines_for(1, script)
        two = await begin(stack, engines)
        async with AsyncExitStack() as first:
            one = await begin(first, engines)
            one.session.read("hello")
            await asyncio.sleep(0.1)
            two.session.read("hello")
            await asyncio.sleep(0.5)
        two.session.read("are you there?")
        await two.until(ResponseEnded, 2)
        assert [ended.reason for ended in two.all(ResponseEnded)] == ["interrupted", "completed"]
        assert not two.all(SessionEnded)


async def test_a_conversation_gives_up_its_place_when_it_has_fallen_silent() -> None:
    script = Script()
    async with AsyncExitStack() as stack:
        engines = engines_for(1, script)
        one, two = await begin(stack, engines), await begin(stack, engines)
        one.session.read("hello")
        await one.until(ResponseEnded)
        await asyncio.sleep(TALKS_FOR_S + 1)
        two.session.read("hello")
        await two.until(ResponseEnded)
        one.session.read("and now?")
        assert (await one.until(SessionEnded)).reason == "busy"
