"""What the agent says of itself: fillers, questions, apologies."""

import asyncio

import pytest

from tests.dialogue.calling import calling
from tests.scripted import Script, silence, speech
from voice_agent.dialogue.events import (
    ResponseAudio,
    ResponseEnded,
    ResponseStarted,
    SessionEnded,
    TurnTimeline,
)
from voice_agent.errors import StageError

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


async def test_a_cough_after_a_reply_is_no_answer() -> None:
    script = Script()
    script.transcriber.texts = ["hello", ""]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseEnded)
        await caller.say(silence(2000), speech(200), silence(10_000))
        assert (await caller.until(ResponseEnded, 2)).reason == "completed"
        await caller.say(silence(10_500))
        assert await caller.until(SessionEnded) == SessionEnded("quiet")
    assert script.synthesizer.said[1:] == ["Are you still there?", "Goodbye."]


async def test_who_never_speaks_is_asked_and_let_go() -> None:
    async with calling(Script()) as caller:
        await caller.say(silence(10_500))
        await caller.until(ResponseEnded)
        await caller.say(silence(10_500))
        assert await caller.until(SessionEnded) == SessionEnded("quiet")


async def test_a_typed_answer_to_the_question_is_one() -> None:
    script = Script()
    async with calling(script) as caller:
        caller.session.read("hello")
        await caller.until(ResponseEnded)
        await caller.say(silence(10_500))
        await caller.until(ResponseEnded, 2)
        caller.session.read("yes I am")
        await caller.until(ResponseEnded, 3)
        await caller.say(silence(10_500))
        await caller.until(ResponseEnded, 4)
    assert script.synthesizer.said[1::2] == ["Are you still there?", "Are you still there?"]
    assert not any("still there" in message.content for asked in script.generator.asked for message in asked)


@pytest.mark.parametrize("how", ["the button", "an interrupt", "typing"])
async def test_the_goodbye_can_be_stopped_in_any_way(how: str) -> None:
    async with calling(Script()) as caller:
        await caller.say(silence(10_500))
        await caller.until(ResponseEnded)
        await caller.say(silence(10_000))
        await caller.until(ResponseAudio, 2)
        match how:
            case "the button":
                caller.session.push_to_talk(True)
                await caller.say(speech(300))
                caller.session.push_to_talk(False)
                await caller.say(silence(1000))
            case "an interrupt":
                caller.session.interrupt()
            case "typing":
                caller.session.read("wait")
        await caller.say(silence(3000))
        assert not caller.all(SessionEnded)


async def test_a_filler_that_meets_an_interrupt_shows_nothing_after_the_end() -> None:
    script = Script()
    script.generator.delay_s = 60.0
    script.synthesizer.delay_s = 1.0
    async with calling(script) as caller:
        caller.session.read("hello")
        await asyncio.sleep(1.6)  # the filler is being made
        assert script.synthesizer.said == ["Let me think."]
        caller.session.interrupt()
        await caller.say(silence(5000))
    after = caller.events[caller.events.index(caller.all(ResponseEnded)[0]) + 1 :]
    assert [type(event) for event in after] == [TurnTimeline]
    assert (script.generator.running, script.synthesizer.running) == (0, 0)


async def test_an_apology_for_a_transcript_is_not_part_of_the_conversation() -> None:
    script = Script()
    script.transcriber.texts = ["hello", StageError("transcriber", "out of memory"), "are you there"]
    async with calling(script) as caller:
        for turn in range(3):
            await caller.ask()
            await caller.until(ResponseEnded, turn + 1)
    assert [message.content for message in script.generator.asked[-1]][1:] == [
        "hello",
        "Hello to you.",
        "are you there",
    ]
