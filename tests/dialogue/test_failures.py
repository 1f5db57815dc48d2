"""What engines and models can do to a session, and how it goes on."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from prometheus_client import REGISTRY

from tests.dialogue.calling import ENDPOINT_MS, SETTINGS, calling
from tests.scripted import Script, silence, speech
from voice_agent.audio import Pcm16
from voice_agent.dialogue.events import (
    EndReason,
    ResponseAudio,
    ResponseEnded,
    ResponseMade,
    ResponseStarted,
    ResponseText,
    SessionError,
    TurnTimeline,
)
from voice_agent.dialogue.manners import PHRASES
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.replying import SHARES, Reply
from voice_agent.dialogue.responder import MOST_DISCARDED
from voice_agent.errors import ContextTooLong, StageError
from voice_agent.stages.generator.deltas import Delta, Finish, Retract, TextDelta, ThoughtDelta, ToolCallDelta
from voice_agent.stages.generator.request import Message
from voice_agent.urgency import Speculation

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


REPLIES: dict[str, tuple[list[Delta | Exception | float], EndReason, str, str]] = {
    # what comes: how it ends, what is shown, what is said
    "an emoji after the words": (
        [TextDelta("Have a nice day! "), TextDelta("😊"), Finish("stop")],
        "completed",
        "Have a nice day! 😊",
        "Have a nice day!",
    ),
    "only an emoji": ([TextDelta("👍"), Finish("stop")], "completed", "👍", ""),
    "a rule between": (
        [TextDelta("One.\n\n---\n\nTwo.\n"), Finish("stop")],
        "completed",
        "One.\n\n---\n\nTwo.\n",
        "One. Two.",
    ),
    "thoughts, and words": (
        [ThoughtDelta("hm"), 3.0, ThoughtDelta("so"), TextDelta("Yes."), Finish("stop")],
        "completed",
        "Let me think. Yes.",
        "Let me think. Yes.",
    ),
    "thoughts until the tokens are used up": (
        [ThoughtDelta("hm"), 3.0, Finish("length")],
        "failed",
        f"Let me think. {SORRY}",
        f"Let me think. {SORRY}",
    ),
    "nothing": ([Finish("stop")], "failed", SORRY, SORRY),
    "white space": ([TextDelta(" \n"), Finish("stop")], "failed", SORRY, SORRY),
    "a call that nobody asked for": (
        [ToolCallDelta(0, "c1", "search", "{}"), Finish("tool_calls")],
        "failed",
        SORRY,
        SORRY,
    ),
    "words, and a call that nobody asked for": (
        [TextDelta("Let me see."), ToolCallDelta(0, "c1", "search", "{}"), Finish("tool_calls")],
        "completed",
        "Let me see.",
        "Let me see.",
    ),
    "withheld": ([Finish("content_filter")], "failed", SORRY, SORRY),
    "withheld in the middle": (
        [TextDelta("Well. "), Finish("content_filter")],
        "completed",
        "Well. ",
        "Well.",
    ),
    "the tokens used up in the middle of a sentence": (
        [TextDelta("It is sunny today. Tomorrow there will"), Finish("length")],
        "completed",
        "It is sunny today. ",
        "It is sunny today.",
    ),
    "the tokens used up in the only sentence": (
        [TextDelta("Tomorrow there will"), Finish("length")],
        "completed",
        "Tomorrow there will",
        "Tomorrow there will",
    ),
    "the tokens used up at the end": (
        [TextDelta("It is sunny. It is warm."), Finish("length")],
        "completed",
        "It is sunny. It is warm.",
        "It is sunny. It is warm.",
    ),
    "a failure in the middle": (
        [TextDelta("It is sunny. "), TextDelta("And"), StageError("generator", "broken off")],
        "failed",
        f"It is sunny. {SORRY}",
        f"It is sunny. {SORRY}",
    ),
    "silence": ([1000.0, TextDelta("Late."), Finish("stop")], "failed", f"Let me think. {SORRY}", ""),
    "silence in the middle": (
        [TextDelta("It is sunny. And "), 1000.0, TextDelta("late."), Finish("stop")],
        "failed",
        f"It is sunny. {SORRY}",
        "",
    ),
    "thoughts without end": (
        [*(ThoughtDelta("hm") if n % 2 else 1.0 for n in range(2000)), Finish("stop")],
        "failed",
        f"Let me think. {SORRY}",
        "",
    ),
    "no finish": ([TextDelta("Yes.")], "completed", "Yes.", "Yes."),
}


@pytest.mark.parametrize("what", REPLIES)
async def test_whatever_the_model_says_the_session_goes_on(what: str) -> None:
    deltas, reason, shown, said = REPLIES[what]
    script = Script()
    script.generator.replies = [deltas, "Fine now."]
    script.generator.delay_s = 0.01
    async with calling(script) as caller:
        clock = asyncio.get_running_loop().time
        begun = clock()
        caller.session.read("hello")
        ended = await caller.until(ResponseEnded)
        assert clock() - begun < SETTINGS.llm.turn_timeout_s + 10
        caller.session.read("and now?")
        assert (await caller.until(ResponseEnded, 2)).reason == "completed"
    texts = [event.text for event in caller.all(ResponseText) if event.response == "resp_1"]
    assert (ended.reason, "".join(texts)) == (reason, shown)
    if said:
        assert " ".join(script.synthesizer.said[:-1]) == said
    assert len(caller.all(SessionError)) == (reason == "failed")
    # Nothing of what the agent says of itself is in what the model is sent next.
    for message in script.generator.asked[1]:
        assert SORRY not in message.content and "Let me think" not in message.content


async def test_a_reply_that_is_empty_for_want_of_tokens_names_the_setting() -> None:
    script = Script()
    script.generator.replies = [[ThoughtDelta("hm"), Finish("length")]]
    async with calling(script) as caller:
        caller.session.read("hello")
        assert "VOICE_AGENT_LLM__MAX_TOKENS" in (await caller.until(SessionError)).message


async def test_a_prepared_request_that_failed_is_made_again_when_it_is_due() -> None:
    script = Script()
    script.generator.replies = [StageError("generator", "429"), "It is noon."]
    async with calling(script) as caller:
        await caller.ask()
        assert (await caller.until(ResponseEnded)).reason == "completed"
    assert not caller.all(SessionError)
    assert script.synthesizer.said == ["It is noon."]


async def test_a_conversation_that_is_too_long_is_asked_again_with_less_of_it() -> None:
    history = tuple(Message(("user", "assistant")[n % 2], f"{n} " + "so " * 30) for n in range(20))
    script = Script()
    too_long = ContextTooLong("generator", "2048 tokens")
    script.generator.replies = [too_long, too_long, "Fine.", "Fine again."]
    async with calling(script, SessionOptions(history=history)) as caller:
        caller.session.read("hello")
        assert (await caller.until(ResponseEnded)).reason == "completed"
        caller.session.read("again")
        assert (await caller.until(ResponseEnded, 2)).reason == "completed"
    lengths = [len(messages) for messages in script.generator.asked]
    assert lengths[0] > lengths[1] > lengths[2] and lengths[3] <= lengths[2] + 2
    assert all(messages[-1].content.endswith(("hello", "again")) for messages in script.generator.asked)
    assert not caller.all(SessionError)


async def test_a_conversation_that_is_too_long_however_little_is_sent_is_a_failure() -> None:
    script = Script()
    script.generator.replies = [ContextTooLong("generator", "2048 tokens")] * 9
    async with calling(script) as caller:
        caller.session.read("hello")
        assert (await caller.until(ResponseEnded)).reason == "failed"
    assert len(script.generator.asked) == len(SHARES)


@pytest.mark.parametrize("stage", ["transcriber", "endpoint", "synthesizer", "generator"])
async def test_an_engine_may_fail_in_a_way_that_nobody_foresaw(stage: str) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    async def failing_stream(*_: object, **__: object) -> AsyncGenerator[Delta, None]:
        raise ZeroDivisionError
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


async def test_ten_pauses_in_an_utterance_ask_the_model_a_few_times_and_once_more_when_it_is_due() -> None:
    script = Script()
    script.transcriber.texts = [f"so {n}" for n in range(20)]
    async with calling(script) as caller:
        for _ in range(10):
            await caller.say(speech(500), silence(500))
        await caller.say(speech(500), silence(800))
        assert (await caller.until(ResponseEnded)).reason == "completed"
        asked = len(script.generator.asked)
        await caller.say(speech(500), silence(ENDPOINT_MS - 20))
        assert len(script.generator.asked) == asked + 1  # the next utterance is prepared for again
    assert MOST_DISCARDED < asked <= MOST_DISCARDED + 2
    assert script.generator.asked[asked - 1][-1].content.startswith("so 1")


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


@pytest.mark.parametrize("error", [ZeroDivisionError("what?"), TimeoutError("its own")])
@pytest.mark.parametrize("stage", ["transcriber", "endpoint", "synthesizer"])
async def test_an_engine_that_fails_as_nobody_foresaw_does_not_end_the_session(
    stage: str, error: Exception
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    async def failing_stream(*_: object, **__: object) -> AsyncGenerator[Pcm16, None]:
        raise error
        yield silence(1)

    script = Script()
    async with calling(script) as caller:
        with pytest.MonkeyPatch.context() as patch:
            name = {"transcriber": "transcribe", "endpoint": "score", "synthesizer": "stream"}[stage]
            patch.setattr(getattr(script, stage), name, failing_stream if stage == "synthesizer" else fail)
            await caller.ask()
            await caller.until(ResponseEnded)
        assert {event.code for event in caller.all(SessionError)} == {f"{stage}_failed"}
        await caller.say(speech(500), silence(1500))
        assert (await caller.until(ResponseEnded, 2)).reason == "completed"


@pytest.mark.parametrize("prepared", [True, False])
async def test_a_thought_that_was_taken_for_the_reply_is_taken_back(prepared: bool) -> None:
    """`So I should greet.</think>Hello.`, of an endpoint whose template opened the thought."""
    script = Script(speculation=Speculation(4 if prepared else 0))
    thought: list[Delta | Exception | float] = [
        TextDelta("So I should greet."),
        Retract(),
        TextDelta("Hello."),
        Finish("stop"),
    ]
    if not prepared:
        thought[1:1] = [TextDelta(" That will do. And "), 2.0]  # by then some of it was heard
    script.generator.replies = [thought, "Hello there.", "Fine."]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseMade)
        ends = len(caller.all(ResponseEnded))
        assert (await caller.until(ResponseEnded, ends + 1)).heard == "Hello there."
        caller.session.read("and now?")
        await caller.until(ResponseEnded, ends + 2)
    assert [event.heard for event in caller.all(ResponseEnded)] == (
        ["Hello there.", "Fine."] if prepared else ["", "Hello there.", "Fine."]
    )
    assert not caller.all(SessionError)
    assert [message.content for message in script.generator.asked[-1]][2:] == ["Hello there.", "and now?"]


async def test_a_conversation_that_fits_is_sent_whole_every_time() -> None:
    """Sums of estimates differ in their last digit by the order in which they are added."""
    script = Script()
    async with calling(script) as caller:
        for turn in range(20):
            caller.session.read("so " * (turn % 5 + 1))
            await caller.until(ResponseEnded, turn + 1)
    assert [len(asked) for asked in script.generator.asked] == [2 + 2 * turn for turn in range(20)]


async def test_one_message_that_was_too_long_does_not_cost_the_rest_of_the_conversation() -> None:
    script = Script()
    too_long = ContextTooLong("generator", "2048 tokens")
    script.generator.replies = [too_long, too_long, too_long, *["Fine."] * 8]
    async with calling(script) as caller:
        for turn in range(8):
            caller.session.read("tell me more of it, please, " * 10)
            await caller.until(ResponseEnded, turn + 1)
    assert len(script.generator.asked[-1]) > 2


async def test_a_reply_that_breaks_off_for_its_length_is_not_begun_anew() -> None:
    script = Script()
    too_long = ContextTooLong("generator", "2048 tokens")
    script.generator.replies = [[TextDelta("The answer is. "), TextDelta("And"), too_long], "Another reply."]
    async with calling(script) as caller:
        caller.session.read("hello")
        assert (await caller.until(ResponseEnded)).reason == "failed"
    assert " ".join(script.synthesizer.said) == f"The answer is. {SORRY}"


async def test_an_endpoint_that_always_takes_its_words_back_is_asked_twice() -> None:
    script = Script()
    script.generator.replies = [[TextDelta("So I should. And"), 0.5, Retract(), Finish("stop")]] * 9
    async with calling(script) as caller:
        caller.session.read("hello")
        await caller.say(silence(9000))
        caller.session.read("hello?")
        await caller.say(silence(9000))
    assert len(script.generator.asked) == 3  # once more, and not again in the same turn
    assert "".join(script.synthesizer.said).count("try again") == 2


async def test_what_failed_before_it_was_due_is_counted_as_such() -> None:
    def counted(outcome: str) -> float:
        return REGISTRY.get_sample_value("voice_agent_prepared_responses_total", {"outcome": outcome}) or 0

    failed, used = counted("failed"), counted("used")
    script = Script()
    script.generator.replies = [StageError("generator", "boom"), "Fine."]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseEnded)
    assert (counted("failed"), counted("used")) == (failed + 1, used)


async def test_a_timeline_stays_as_it_was_told() -> None:
    script = Script()
    async with calling(script) as caller:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Reply, "text", lambda _: 1 / 0)
            caller.session.read("hello")
            await caller.until(TurnTimeline, 2)
    assert [event.timeline.response for event in caller.all(TurnTimeline)] == ["resp_1", "resp_2"]
