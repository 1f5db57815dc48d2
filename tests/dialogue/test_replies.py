"""What a language model can say, and what becomes of it in a session."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from tests.dialogue.calling import ENDPOINT_MS, SETTINGS, calling
from tests.scripted import Script, silence, speech
from voice_agent.dialogue.events import (
    EndReason,
    ResponseAudio,
    ResponseEnded,
    ResponseMade,
    ResponseText,
    SessionError,
)
from voice_agent.dialogue.manners import PHRASES
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.replying import SHARES
from voice_agent.dialogue.responder import MOST_DISCARDED
from voice_agent.errors import ContextTooLong, StageError
from voice_agent.speculation import Speculation
from voice_agent.stages.generator.deltas import Delta, Finish, Retract, TextDelta, ThoughtDelta, ToolCallDelta
from voice_agent.stages.generator.request import Message
from voice_agent.urgency import Urgency

SORRY = PHRASES["en"].no_answer

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("plain_evidence")]


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
    "a whole sentence, and the line held open": (
        [TextDelta("All is done. "), TextDelta("The last sentence."), 1000.0],
        "failed",
        f"All is done. The last sentence.{SORRY}",
        "",
    ),
    "signs of no width, and signs without words, for ever": (
        [*(step for _ in range(2000) for step in (TextDelta("\u200b"), TextDelta("👍"), 0.5))],
        "failed",
        "",
        "",
    ),
    "signs of no width": ([TextDelta("\u200b\u200b"), Finish("stop")], "failed", "", ""),
    "only thoughts": ([ThoughtDelta("Hello."), Finish("stop")], "failed", SORRY, SORRY),
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
    assert ended.reason == reason
    assert not shown or "".join(texts) == shown
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


async def test_the_model_is_told_how_urgent_a_reply_is_and_when_that_changes() -> None:
    script = Script(speculation=Speculation(4))
    script.generator.delay_s = 5.0  # it is due long before there is a word
    async with calling(script) as caller:
        await caller.say(speech(500), silence(ENDPOINT_MS - 20))
        (need,) = script.generator.needs
        assert need
        urgencies = [need.urgency]
        await caller.say(silence(200))
        urgencies.append(need.urgency)
    assert urgencies == [Urgency.PREPARED, Urgency.DUE]
    assert len(script.generator.asked) == 1


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
    assert len(script.generator.asked) == 4
    assert not caller.all(SessionError)
    assert [event.heard for event in caller.all(ResponseEnded)] == ["", "So I should. And"] * 2


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


async def test_the_model_is_free_once_it_has_written_though_the_reply_goes_on() -> None:
    script = Script()
    script.generator.delay_s = 0.0
    sentences = [f"This is sentence number {number} of a long reply. " for number in range(8)]
    script.generator.replies = [[*map(TextDelta, sentences), Finish("stop")]]
    async with calling(script) as caller:
        caller.session.read("hello")
        await caller.until(ResponseAudio)
        assert script.generator.running == 0
        ended = await caller.until(ResponseEnded)
    assert ended.heard_ms > 15_000 and ended.heard == "".join(sentences).strip()


async def test_a_text_that_was_cut_short_is_spoken_up_to_its_last_whole_sentence() -> None:
    script = Script()
    script.generator.delay_s = 0.0
    script.generator.replies = [
        [TextDelta("Well, as you know, it is sunny today. It is warm, too. And then"), Finish("length")]
    ]
    async with calling(script) as caller:
        caller.session.read("hello")
        ended = await caller.until(ResponseEnded)
    assert (ended.reason, ended.heard) == (
        "completed",
        "Well, as you know, it is sunny today. It is warm, too.",
    )
