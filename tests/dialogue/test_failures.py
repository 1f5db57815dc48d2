"""What engines can do to a session, and how it goes on."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tests.dialogue.calling import ENDPOINT_MS, calling
from tests.scripted import Script, silence, speech
from voice_agent.dialogue.events import (
    ResponseAudio,
    ResponseEnded,
    ResponseStarted,
    SessionError,
    TurnTimeline,
)
from voice_agent.dialogue.manners import PHRASES
from voice_agent.dialogue.replying import Reply
from voice_agent.errors import AudioError, StageError
from voice_agent.speculation import Speculation
from voice_agent.stages.generator.deltas import Delta, Finish, TextDelta

SORRY = PHRASES["en"].no_answer

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
    assert [(event.turn, bool(event.text)) for event in caller.final()] == [(1, False), (2, True)]


@pytest.mark.parametrize("error", [ZeroDivisionError("what?"), TimeoutError("its own"), AudioError("odd")])
@pytest.mark.parametrize("stage", ["transcriber", "endpoint", "synthesizer", "generator"])
async def test_an_engine_may_fail_in_a_way_that_nobody_foresaw(stage: str, error: Exception) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    async def failing_stream(*_: object, **__: object) -> AsyncGenerator[Delta, None]:
        raise error
        yield Finish("stop")

    script = Script()
    async with calling(script) as caller:
        with pytest.MonkeyPatch.context() as patch:
            match stage:
                case "transcriber":
                    patch.setattr(script.transcriber, "transcribe", fail)
                case "endpoint":
                    patch.setattr(script.endpoint, "score", fail)
                case _:
                    patch.setattr(getattr(script, stage), "stream", failing_stream)
            await caller.ask()
            await caller.until(ResponseEnded)
            assert [event.code for event in caller.all(SessionError)] == [f"{stage}_failed"]
        await caller.ask()
        assert (await caller.until(ResponseEnded, 2)).reason == "completed"


async def test_a_fault_of_ours_ends_the_reply_and_not_the_session() -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    script = Script()
    async with calling(script) as caller:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Reply, "text", fail)
            await caller.ask()
            await caller.until(ResponseEnded, 2)
        await caller.ask()
        assert (await caller.until(ResponseEnded, 3)).reason == "completed"
    assert [event.code for event in caller.all(SessionError)] == ["internal_error"]
    assert " ".join(script.synthesizer.said) == f"{SORRY} Hello to you."


@pytest.mark.parametrize("interrupted_at_ms", [0, 20, 500, 960, 980, 5000])
async def test_a_reply_with_a_chunk_that_is_not_spoken_can_be_interrupted(interrupted_at_ms: int) -> None:
    """The last word's share of a chunk without any audio is not a division by zero."""
    script = Script()
    script.generator.replies = [[TextDelta("Have a nice day! "), TextDelta("😊"), Finish("stop")], "Bye."]
    async with calling(script) as caller:
        caller.session.read("thank you")
        await caller.until(ResponseAudio)
        await caller.say(silence(interrupted_at_ms))
        caller.session.interrupt()
        await caller.until(ResponseEnded)
        caller.session.read("bye")
        assert (await caller.until(ResponseEnded, 2)).reason == "completed"


async def test_responses_that_end_before_they_begin_are_not_under_way_for_ever() -> None:
    script = Script(speculation=Speculation(2))
    async with calling(script) as caller:
        for _ in range(10):  # each ends the one before, which has not had a turn on the loop
            caller.session.read("hello")
        await caller.until(ResponseEnded, 10)
        await caller.say(speech(500), silence(ENDPOINT_MS - 20))
        assert script.synthesizer.said[-1] == "Hello to you."
        assert caller.all(ResponseStarted)[-1].response == "resp_10"  # it is prepared, not due
    assert not script.speculation._under_way


@pytest.mark.parametrize("stage", ["transcriber", "endpoint", "synthesizer", "generator"])
async def test_an_engine_that_never_answers_is_not_waited_for_for_ever(stage: str) -> None:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def hanging_stream(*_: object, **__: object) -> AsyncGenerator[Delta, None]:
        await asyncio.Event().wait()
        yield Finish("stop")

    script = Script()
    async with calling(script) as caller:
        with pytest.MonkeyPatch.context() as patch:
            match stage:
                case "transcriber":
                    patch.setattr(script.transcriber, "transcribe", hang)
                case "endpoint":
                    patch.setattr(script.endpoint, "score", hang)
                case _:
                    patch.setattr(getattr(script, stage), "stream", hanging_stream)
            await caller.ask()
            reason = (await caller.until(ResponseEnded)).reason
            assert reason == ("completed" if stage in ("transcriber", "endpoint") else "failed")
            await caller.say(silence(1000))
            # The detector is not waited for: the words and the silence decide.
            failed = [] if stage == "endpoint" else [f"{stage}_failed"]
            assert [event.code for event in caller.all(SessionError)] == failed
        before = len(caller.all(ResponseEnded))
        await caller.say(speech(500), silence(1500))
        assert (await caller.until(ResponseEnded, before + 1)).reason == "completed"


async def test_a_timeline_stays_as_it_was_told() -> None:
    script = Script()
    async with calling(script) as caller:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Reply, "text", lambda _: 1 / 0)
            caller.session.read("hello")
            await caller.until(TurnTimeline, 2)
    assert [event.timeline.response for event in caller.all(TurnTimeline)] == ["resp_1", "resp_2"]
