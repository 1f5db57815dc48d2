"""Audio that does not come, and clients that send nothing."""

import asyncio

import numpy as np
import pytest

from tests.dialogue.calling import SETTINGS, STORY, calling
from tests.scripted import Script, silence, speech
from voice_agent.config import ServerSettings
from voice_agent.dialogue.events import (
    ResponseAudio,
    ResponseEnded,
    ResponsePaused,
    ResponseResumed,
    SessionEnded,
    SpeechStopped,
    UserTranscript,
)
from voice_agent.dialogue.options import SessionOptions

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("plain_evidence")]


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
async def test_audio_that_stops_while_the_reply_is_paused_is_decided_within_a_second(rate: int) -> None:
    """Pulling a headset's plug does this: the click is the barge-in."""
    script = Script()
    script.generator.replies = [STORY * 3]
    script.transcriber.texts = ["tell me a story", ""]
    async with calling(script, SessionOptions(input_rate=rate)) as caller:
        await caller.say(speech(500, rate), silence(800, rate))
        await caller.until(ResponseAudio)
        await caller.say(silence(500, rate), speech(100, rate))
        assert caller.all(ResponsePaused)
        await asyncio.sleep(1.0)
        assert caller.all(ResponseResumed)
        assert (await caller.until(ResponseEnded)).reason == "completed"


async def test_audio_that_stops_in_mid_utterance_ends_the_turn() -> None:
    script = Script()
    script.transcriber.texts = ["what time is it"]
    async with calling(script) as caller:
        await caller.say(speech(1000))
        await asyncio.sleep(1.2)
        assert caller.final() == [UserTranscript(1, "what time is it", final=True)]
        assert (await caller.until(ResponseEnded)).reason == "completed"


async def test_a_line_that_stalls_for_half_a_second_ends_nothing() -> None:
    script = Script()
    script.transcriber.texts = ["I would like a cup of tea"]
    async with calling(script) as caller:
        await caller.say(speech(1000))
        await asyncio.sleep(0.6)
        await caller.session.hear(speech(600))  # what was held up
        await caller.say(speech(400), silence(800))
        await caller.until(ResponseEnded)
    assert len(caller.all(SpeechStopped)) == 1
    assert len(caller.final()) == 1


@pytest.mark.parametrize("burst_ms", [250, 500, 1000])
async def test_a_client_that_sends_audio_in_bursts_is_heard(burst_ms: int) -> None:
    script = Script()
    script.transcriber.texts = ["what time is it"]
    async with calling(script) as caller:
        audio = np.concatenate([silence(1000), speech(3000), silence(3000)])
        for burst in np.array_split(audio, len(audio) * 1000 // 16_000 // burst_ms):
            await asyncio.sleep(burst_ms / 1000)
            await caller.session.hear(burst)
        await caller.until(ResponseEnded)
    assert [event.ms for event in caller.all(SpeechStopped)] == [4000]
    assert len(caller.final()) == 1


async def test_a_client_that_sends_nothing_is_let_go() -> None:
    settings = SETTINGS.model_copy(update={"server": ServerSettings(idle_s=30)})
    clock = asyncio.get_running_loop().time
    async with calling(Script(), settings=settings) as caller:
        begun = clock()
        assert await caller.until(SessionEnded) == SessionEnded("idle")
        assert clock() - begun == pytest.approx(30)
        caller.session.read("too late")  # before the transport has closed
        caller.session.respond()
        await caller.say(speech(500), silence(1000))
        assert caller.session.idle
    async with calling(Script(), settings=settings) as caller:
        begun = clock()
        await asyncio.sleep(20)
        caller.session.read("hello")
        await caller.until(SessionEnded)
        assert clock() - begun == pytest.approx(50)
    async with calling(Script(), settings=settings) as caller:
        await caller.say(silence(9000))
        assert not caller.all(SessionEnded)


async def test_a_line_that_breaks_after_a_burst_is_decided_soon() -> None:
    """The burst is what was held back, and no piece after which the next is due only as much later."""
    script = Script()
    script.generator.replies = [STORY * 3]
    script.transcriber.texts = ["tell me a story", ""]
    async with calling(script) as caller:
        await caller.say(speech(500), silence(800))
        await caller.until(ResponseAudio)
        await caller.session.hear(np.concatenate([silence(8000), speech(100)]))
        await caller.until(ResponsePaused)
        await asyncio.sleep(2.0)
        assert caller.all(ResponseResumed)


async def test_a_line_that_dribbles_while_the_reply_is_paused_is_waited_for_no_longer_than_a_second() -> None:
    """A frame each 0.6 s: none is missing for long, and counting them would take half a minute."""
    clock = asyncio.get_running_loop().time
    script = Script()
    script.generator.replies = [STORY * 3]
    script.transcriber.texts = ["tell me a story", ""]
    async with calling(script) as caller:
        await caller.say(speech(500), silence(800))
        await caller.until(ResponseAudio)
        await caller.say(silence(500), speech(60))
        await caller.until(ResponsePaused)
        paused = clock()

        async def dribble() -> None:
            while True:
                await asyncio.sleep(0.6)
                await caller.session.hear(speech(20))

        dribbling = asyncio.create_task(dribble())
        await caller.until(ResponseResumed)
        assert clock() - paused <= 1.05
        dribbling.cancel()
