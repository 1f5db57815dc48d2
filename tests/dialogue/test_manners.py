"""What the agent says of itself: fillers, questions, apologies."""

import pytest

from tests.dialogue.calling import calling
from tests.scripted import Script, silence, speech
from voice_agent.dialogue.events import (
    ResponseEnded,
    ResponseStarted,
    SessionEnded,
    TurnTimeline,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("plain_evidence")]


async def test_a_slow_model_is_bridged_once_and_the_history_does_not_hold_it() -> None:
    script = Script()
    script.generator.replies = ["At last.", "Quick."]
    script.generator.delay_s = 3.0
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseEnded)
        script.generator.delay_s = 0.1
        await caller.ask()
        await caller.until(ResponseEnded, 2)
    assert script.synthesizer.said == ["Let me think.", "At last.", "Quick."]
    assert script.generator.asked[1][-2].content == "At last."


async def test_a_user_who_goes_quiet_is_asked_once_and_then_let_go() -> None:
    script = Script()
    script.generator.replies = ["What is your name?"]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseEnded)
        await caller.say(silence(10_500))
        await caller.until(ResponseEnded, 2)
        await caller.say(silence(10_500))
        assert await caller.until(SessionEnded) == SessionEnded("quiet")
    assert script.synthesizer.said[1:] == ["Are you still there?", "Goodbye."]
    assert len(caller.all(TurnTimeline)) == 1  # the agent's own remarks are no turns
    assert caller.events[-1] == SessionEnded("quiet")


async def test_who_answers_the_goodbye_is_not_let_go() -> None:
    script = Script()
    script.transcriber.texts = ["hello", "wait"]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseEnded)
        await caller.say(silence(10_500))
        await caller.until(ResponseEnded, 2)
        await caller.say(silence(10_000))
        await caller.until(ResponseStarted, 3)
        await caller.say(speech(400), silence(800))
        await caller.until(ResponseEnded, 4)
    assert not caller.all(SessionEnded)
