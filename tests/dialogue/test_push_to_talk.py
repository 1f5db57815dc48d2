"""A turn that lasts as long as a button is held."""

import asyncio

import pytest

from tests.dialogue.calling import STORY, calling
from tests.scripted import Script, silence, speech
from voice_agent.dialogue.events import (
    ResponseAudio,
    ResponseEnded,
    ResponseStarted,
    TurnTimeline,
    UserTranscript,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("plain_evidence")]


async def test_while_the_button_is_held_no_silence_ends_the_turn_and_its_release_does() -> None:
    script = Script()
    script.transcriber.texts = ["I would like", "I would like tea"]
    async with calling(script) as caller:
        assert caller.session.idle
        caller.session.push_to_talk(True)
        assert not caller.session.idle
        await caller.say(speech(500), silence(5000), speech(500))
        assert not caller.final()
        released = asyncio.get_running_loop().time()
        caller.session.push_to_talk(False)
        timeline = (await caller.until(TurnTimeline)).timeline
        assert caller.session.idle
    assert caller.final() == [UserTranscript(1, "I would like tea", final=True)]
    assert timeline.steps()["end_of_turn"] == pytest.approx(1000 * script.transcriber.delay_s, abs=21)
    assert timeline.last_speech == pytest.approx(released, abs=0.02)


async def test_what_was_prepared_in_a_pause_goes_out_when_the_button_is_released() -> None:
    script = Script()
    async with calling(script) as caller:
        caller.session.push_to_talk(True)
        await caller.say(speech(500), silence(2000))
        assert script.synthesizer.said == ["Hello to you."]
        assert not caller.all(ResponseStarted)
        caller.session.push_to_talk(False)
        await asyncio.sleep(0)
        assert caller.all(ResponseAudio)
        await caller.until(ResponseEnded)
    assert len(script.generator.asked) == 1


async def test_the_button_stops_the_reply_at_once() -> None:
    script = Script()
    script.generator.replies = [STORY]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(silence(1000))
        caller.session.push_to_talk(True)
        ended = await caller.until(ResponseEnded)
        caller.session.push_to_talk(False)
        await caller.say(silence(5000))
    assert ended.reason == "interrupted"
    assert len(caller.final()) == 1  # nothing was said with the button held, and nothing was answered
    assert len(caller.all(ResponseStarted)) == 1


async def test_sounds_without_words_are_forgotten_when_the_button_is_released() -> None:
    script = Script()
    script.transcriber.texts = [""]
    async with calling(script) as caller:
        caller.session.push_to_talk(True)
        await caller.say(speech(500))
        caller.session.push_to_talk(False)
        assert await caller.until(UserTranscript) == UserTranscript(1, "", final=True)
        assert caller.session.idle
