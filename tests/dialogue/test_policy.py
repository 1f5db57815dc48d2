"""A session whose settings change while it goes on, and turns that the client completes."""

import asyncio

import pytest

from tests.dialogue.calling import calling
from tests.scripted import Script, silence, speech
from voice_agent.dialogue.events import ResponseAudio, ResponseEnded, ResponseStarted, UserTranscript
from voice_agent.dialogue.floor import TurnPolicy
from voice_agent.dialogue.options import SessionOptions
from voice_agent.errors import SettingsError

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("plain_evidence")]


async def test_a_client_can_complete_the_turns_itself() -> None:
    script = Script()
    script.transcriber.texts = ["I would like", "I would like tea"]
    async with calling(script, SessionOptions(policy=TurnPolicy(automatic=False))) as caller:
        await caller.say(speech(500), silence(2000), speech(500), silence(300))
        assert not caller.final()
        caller.session.complete_turn()
        await asyncio.sleep(0)
        assert caller.final() == [UserTranscript(1, "I would like tea", final=True)]
        assert (await caller.until(ResponseEnded)).reason == "completed"
        caller.session.complete_turn()  # there is none
        await caller.say(silence(1000))
    assert len(caller.final()) == 1


async def test_a_client_can_ask_for_the_answer_itself() -> None:
    script = Script()
    script.transcriber.texts = ["I would like", "a cup of tea"]
    async with calling(script, SessionOptions(policy=TurnPolicy(answer=False))) as caller:
        await caller.ask()
        await caller.ask()
        await caller.say(silence(2000))
        assert not script.generator.asked and not caller.all(ResponseStarted)
        caller.session.respond()
        assert (await caller.until(ResponseEnded)).reason == "completed"
    assert [message.content for message in script.generator.asked[0]][1:] == ["I would like a cup of tea"]
    assert caller.final()[-1] == UserTranscript(1, "I would like a cup of tea", final=True)


async def test_settings_change_for_what_is_said_next() -> None:
    script = Script()
    async with calling(script) as caller:
        caller.session.read("hello")
        await caller.until(ResponseEnded)
        caller.session.change(
            SessionOptions(instructions="Be rude.", voice="two", policy=TurnPolicy(interrupt=False))
        )
        caller.session.read("hello")
        await caller.until(ResponseAudio, 2)
        await caller.say(speech(1000), silence(200))
        assert (await caller.until(ResponseEnded, 2)).reason == "completed"
    assert [asked[0].content for asked in script.generator.asked[:2]] == ["Be brief.", "Be rude."]
    assert len(script.generator.asked[1]) == 4  # the conversation goes on


async def test_the_rates_are_fixed_when_the_session_begins() -> None:
    async with calling(Script()) as caller:
        with pytest.raises(SettingsError, match="input_rate and output_rate"):
            caller.session.change(SessionOptions(input_rate=8000))


async def test_what_was_prepared_before_a_change_is_not_used_after_it() -> None:
    script = Script()
    async with calling(script) as caller:
        await caller.say(speech(500), silence(500))
        assert len(script.generator.asked) == 1
        caller.session.change(SessionOptions(instructions="Be rude."))
        await caller.say(silence(500))
        await caller.until(ResponseEnded)
    assert [asked[0].content for asked in script.generator.asked] == ["Be brief.", "Be rude."]
