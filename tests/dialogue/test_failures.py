"""What engines, models and clients can do to a session, and how it goes on."""

import pytest

from tests.dialogue.calling import SETTINGS, calling
from tests.scripted import Script, silence, speech
from voice_agent.dialogue.events import (
    ResponseEnded,
    ResponseStarted,
    SessionError,
)
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.outbox import MOST_BYTES, ClientTooSlow
from voice_agent.dialogue.session import open_session
from voice_agent.errors import StageError

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("plain_evidence")]


async def test_a_prepared_reply_that_fails_is_heard_of_only_if_it_was_due() -> None:
    script = Script()
    script.transcriber.texts = ["well", "well yes"]
    script.generator.replies = [StageError("generator", "no route to host"), "Fine."]
    async with calling(script) as caller:
        await caller.say(speech(500), silence(540), speech(500), silence(800))
        await caller.until(ResponseEnded)
    assert not caller.all(SessionError)


async def test_a_failing_model_is_heard_of_and_the_session_goes_on() -> None:
    script = Script()
    failure = StageError("generator", "no route to host")
    script.generator.replies = [failure, failure, "Fine now."]
    async with calling(script) as caller:
        await caller.ask()
        ended = await caller.until(ResponseEnded)
        await caller.ask()
        await caller.until(ResponseEnded, 2)
    assert caller.all(SessionError) == [SessionError("generator_failed", "no route to host")]
    assert ended.reason == "failed"
    assert "Sorry" in script.synthesizer.said[0]
    assert caller.audio_ms("resp_1") > 0
    assert caller.all(ResponseEnded)[1].reason == "completed"


async def test_an_empty_reply_is_a_failure() -> None:
    script = Script()
    script.generator.replies = [" ", " "]
    async with calling(script) as caller:
        await caller.ask()
        assert (await caller.until(ResponseEnded)).reason == "failed"
    assert caller.all(SessionError)[0].code == "generator_failed"


async def test_a_failing_voice_is_heard_of_and_the_session_goes_on() -> None:
    script = Script()
    script.synthesizer.error = StageError("synthesizer", "out of memory")
    async with calling(script) as caller:
        await caller.ask()
        assert (await caller.until(ResponseEnded)).reason == "failed"
        assert caller.all(SessionError) == [SessionError("synthesizer_failed", "out of memory")]
        script.synthesizer.error = None
        await caller.ask()
        assert (await caller.until(ResponseEnded, 2)).reason == "completed"


async def test_a_failing_transcriber_is_heard_of_and_the_session_goes_on() -> None:
    script = Script()
    script.transcriber.texts = [StageError("transcriber", "took too long"), "hello"]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseEnded)
        await caller.ask()
        await caller.until(ResponseEnded, 2)
    assert caller.all(SessionError) == [SessionError("transcriber_failed", "took too long")]
    assert "Sorry" in script.synthesizer.said[0]
    assert [event.turn for event in caller.all(ResponseStarted)] == [1, 2]
    assert [event.turn for event in caller.final()] == [2]


async def test_a_session_whose_events_nobody_takes_ends() -> None:
    async with open_session(Script().engines(), SETTINGS, SessionOptions()) as session:
        for _ in range(MOST_BYTES // 1000 + 1):
            session._outbox.put(SessionError("code", "x" * 1000))
        with pytest.raises(ClientTooSlow):
            await anext(session.events())
