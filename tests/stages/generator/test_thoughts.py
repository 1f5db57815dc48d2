"""A reasoning model's thoughts are not for the user, however they are marked and wherever the pieces end."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stages.generator.serving import HELLO, PROMPTLY_S, Answer, asking, finish, reply, says, serving
from voice_agent.stages.generator.deltas import Retract, TextDelta
from voice_agent.stages.generator.markers import mark_of, unfinished
from voice_agent.stages.generator.thoughts import ThoughtFilter


def read(pieces: Iterable[str], *, opened: bool = False, whole: bool = True) -> Answer:
    reading, answer = ThoughtFilter(opened=opened), Answer()
    for piece in pieces:
        for delta in reading.feed(piece):
            answer.take(delta)
        if reading.ended:
            break
    for delta in reading.end(whole=whole):
        answer.take(delta)
    return answer


HARMONY = "<|channel|>analysis<|message|>They greet me.<|end|><|start|>assistant<|channel|>final<|message|>"
MARKED = [
    *(f"<{name}>They greet me.</{name}>" for name in ("think", "thinking", "thought", "reasoning", "seed:think")),
    "<THINK>They greet me.</Think>",
    "They greet me</think>",
    "They greet me </think>",
    '<think time="3">They greet me.</think>',
    "<think effort=low budget='2'>They greet me.</think>",
    "< think >They greet me.</ think >",
    "<antThinking>They greet me.</antThinking>",
    "<inner_monologue>They greet me.</inner_monologue>",
    "&lt;think&gt;They greet me.&lt;/think&gt;",
    "<think/>",
    "<think />",
    '<function=foo>{"a":1}</function>',
    '<tool_call>\n<function=foo>\n{"a": "</s>"}\n</function>\n</tool_call>',
    "<thinking>They. <reflection>Do they?</reflection> They do.</thinking>",
    "<think>They <think>greet</think> me.</think>",
    "<think>I'd <tool_call>{}</tool_call> greet.</think>",
    "<think>They ask of <s> and </s> and [INST].</think>",
    "<think>They greet me.</thinking>",
    "[THINK]They greet me.[/THINK]",
    "◁think▷They greet me.◁/think▷",
    "<|begin_of_thought|>They greet me.<|end_of_thought|><|begin_of_solution|>",
    "<|START_THINKING|>They greet me.<|END_THINKING|><|START_RESPONSE|>",
    "<|channel>thought\nThey greet me.<channel|>",
    HARMONY,
    f"<|start|>assistant{HARMONY}",
    "<think>They</think><think> greet me.</think>",
    "<tool_call>They greet me.</tool_call>",
    "<|channel|>commentary to=functions.greet <|constrain|>json<|message|>They greet me.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>",
    "<|start|>assistant to=functions.greet<|channel|>commentary<|message|>They greet me.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>",
    "They greet me.</think>",
    "They greet me.</seed:think>",
    "They greet me.[/THINK]",
    "They <think>greet</think> me.</think>",
    "<think>They <think>greet</think> me.</think>",
]  # fmt: skip


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("marked", MARKED)
@pytest.mark.parametrize("between", ["", "\n\n"])
def test_only_the_answer_is_for_the_user(marked: str, between: str, opened: bool) -> None:
    text = f"{marked}{between}Hello, <b>you</b>."
    for pieces in ([text], list(text), [marked, between, "Hello, <b>you</b>."]):
        assert read(pieces, opened=opened).text == "Hello, <b>you</b>."


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "<think>",
                "</think>",
                "<",
                "th",
                "a b",
                " ",
                "k>",
                "<|",
                "end|>",
                "[/THINK]",
                "<|channel|>",
                "\n",
                "`",
                ". ",
                "</s>",
                "<tool_call>",
                "{",
                "&lt;think a=1&gt;",
            ]
        ),
        max_size=8,
    ),
    st.booleans(),
    st.data(),
)
def test_it_does_not_matter_where_the_pieces_end(parts: list[str], opened: bool, data: st.DataObject) -> None:
    text = "".join(parts)
    whole = read([text], opened=opened)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    cut = read(pieces, opened=opened)
    assert (cut.text, cut.thought) == (whole.text, whole.thought)
    assert sum(isinstance(delta, Retract) for delta in cut.deltas) <= 1


MENTIONS = [
    "You close it with </think> at its end. That is all.",
    "You close it with `</think>`. That is all.",
    "Write this: `Done. </think>`. That is all.",
    "Like so:\n```\nDone.\n</think>\n```\nThat is all.",
    "Write <think> before the thought. Then the answer follows. It is simple.",
    "Write <think> and </think> around it. It is simple.",
    "Between <think></think> stands the thought.",
    "In HTML, <s> strikes text and </s> ends it. The tag is old.",
    "The prompt is put in [INST] and [/INST] tags. Then the model answers.",
    "[TOOL_CALLS] is a marker of Mistral. It comes before a call.",
    "Hermes uses <tool_call> for it. It is a tag.",
    "The tag &lt;think&gt; opens it. That is all.",
    "Gemma ends with <end_of_turn> each time. That is all.",
    "It struck a word. <s>Old</s> is gone now.",
    "It goes like this.\n<think> comes first. Then the answer follows.",
]


@pytest.mark.parametrize("text", MENTIONS)
def test_a_mark_that_is_only_mentioned_is_text(text: str) -> None:
    for pieces in ([text], list(text)):
        answer = read(pieces)
        assert (answer.text, answer.retracted, answer.thought in text) == (text, "", True)


def test_the_marks_of_a_thought_may_be_mentioned_after_it() -> None:
    for pieces in (text := "thoughts</think>You close it with </think> at its end.", list(text)):
        answer = read(pieces, opened=True)
        assert (answer.text, answer.thought) == ("You close it with </think> at its end.", "thoughts")
        assert Retract() not in answer.deltas


@pytest.mark.parametrize(
    "thought", ["The user quotes `</think>`. So", "They ask of `<think>`.", "A stray ` is here."]
)
def test_a_mark_mentioned_in_the_code_of_a_thought_is_part_of_it(thought: str) -> None:
    for pieces in ([text := f"<think>{thought}</think>Hello."], list(text)):
        answer = read(pieces)
        assert (answer.text, answer.thought, answer.retracted) == ("Hello.", thought, "")


@pytest.mark.parametrize("thought", ["So I greet", "So I greet \U0001f60a", "So I greet:"])
def test_a_closing_mark_at_the_end_of_a_line_ends_a_thought_without_a_full_stop(thought: str) -> None:
    for pieces in ([text := f"{thought}</think>\n\nHello."], list(text)):
        answer = read(pieces)
        assert (answer.text, answer.retracted) == ("Hello.", thought)


def test_the_shell_of_an_answer_is_not_said() -> None:
    assert read(["I say: <answer>Hello.</answer>"]).text == "I say: Hello."


def test_a_reply_is_taken_back_once() -> None:
    answer = read(["I should greet.</think>Hello.\n</think>How are you?</think>Well."])
    assert (answer.text, answer.retracted) == ("Hello.\nHow are you?Well.", "I should greet.")
    assert answer.deltas.count(Retract()) == 1


@pytest.mark.parametrize("marked", [marked for marked in MARKED if marked.startswith(("<", "&"))])
def test_what_the_endpoint_marks_whole_takes_nothing_back(marked: str) -> None:
    assert Retract() not in read([f"{marked}Good morning."]).deltas


def test_a_mark_mentioned_in_a_thought_does_not_keep_the_answer_back() -> None:
    assert read(["<think>The tag <think> is asked for.</think>Hello."]).text == "Hello."


@pytest.mark.parametrize("mark", ["</s>", "</think>", "[INST]", "<eos>", "</s><|im_end|>", "</s>\n"])
def test_a_mark_at_the_very_end_is_not_said(mark: str) -> None:
    assert read(list(f"Hello{mark}")).text == "Hello"


@pytest.mark.parametrize("mark", ["<tool_call>", "[TOOL_CALLS]", "<tool_call>\n"])
def test_a_call_is_not_said_though_it_comes_amid_a_sentence(mark: str) -> None:
    text = f'Let me see {mark}{{"name": "weather"}}'
    assert read(list(text)).text == read([text]).text == "Let me see "


def test_the_holding_back_has_an_end() -> None:
    reading = ThoughtFilter()
    assert reading.feed('<think of it, "') == [TextDelta('<think of it, "')]
    assert reading.feed("<" * 400 + " ") and reading.feed("u") == [TextDelta("< u")]


def test_text_that_is_no_thought_is_held_back_no_longer_than_it_could_become_one() -> None:
    reading = ThoughtFilter()
    said = [reading.feed(piece) for piece in ("a <", "b> <thi", "s is> c", " <|", " d", " [", "1]")]
    assert said == [[TextDelta(text)] for text in ("a ", "<b> ", "<this is> c", " ", "<| d", " ", "[1]")]


@pytest.mark.parametrize("text", ["Hello.", "x < y", "a [b] c", "1 <2", "<b>bold</b>", "| pipe |", "<think"])
def test_ordinary_text_passes_as_it_comes(text: str) -> None:
    reading = ThoughtFilter()
    given_on = "".join(delta.text for delta in reading.feed(text) if isinstance(delta, TextDelta))
    assert text.startswith(given_on) and len(text) - len(given_on) == unfinished(text)


@pytest.mark.parametrize("token", ["<|anything|>", "<|im_end|>", "<think>", "◁/think▷"])
def test_each_beginning_of_a_marker_may_become_one(token: str) -> None:
    mark_of(token)
    assert all(unfinished(f"Hi {token[:n]}") == n for n in range(1, len(token)))


def test_a_thought_that_nothing_opened_is_taken_back_once_the_answer_begins() -> None:
    reading = ThoughtFilter()
    assert reading.feed("So I should greet.") == [TextDelta("So I should greet.")]
    assert reading.feed("</think>") == []
    assert reading.feed("\n\n") == []
    assert reading.feed("Hello.") == [Retract(), TextDelta("Hello.")]
    assert reading.opened_unseen


@pytest.mark.parametrize("text", ["Hello.</think>", "Hello.</think>\n", "Hello.</think><|im_end|>"])
def test_a_closing_marker_at_the_end_takes_nothing_back(text: str) -> None:
    answer = read(list(text))
    assert (answer.text, answer.retracted) == ("Hello.", "")


def test_a_closing_marker_at_the_beginning_takes_nothing_back() -> None:
    answer = read(["</think>", "\n\nHello."])
    assert answer.deltas == [TextDelta("Hello.")]


def test_a_known_reply_that_does_not_think_this_time_is_given_at_its_end() -> None:
    reading = ThoughtFilter(opened=True)
    assert not any(isinstance(delta, TextDelta) for delta in reading.feed("Hello."))
    assert reading.end(whole=True) == [TextDelta("Hello.")]
    assert reading.opened_unseen is False
    assert read(["Let me see"], opened=True, whole=False).text == ""  # the tokens were used up, or it was cut


async def test_an_endpoint_that_closes_thoughts_it_never_opened_is_known_from_the_start() -> None:
    thinks = says("So I should ", "greet.", "</think>", "Hello.")
    async with serving(thinks) as endpoint, asking(endpoint) as generator:
        first = await reply(generator.stream(HELLO))
        second = await reply(generator.stream(HELLO))
        assert (first.text, first.retracted) == ("Hello.", "So I should greet.")
        assert (second.text, second.retracted, second.thought) == ("Hello.", "", "So I should greet.")
        endpoint.handlers[:] = [says("Good ", "day.")]
        assert (await reply(generator.stream(HELLO))).texts == ["Good day."]  # held back, for once
        assert (await reply(generator.stream(HELLO))).texts == ["Good ", "day."]


async def test_it_is_known_though_nobody_reads_on_once_the_thought_is_taken_back() -> None:
    thinks = says("So I should ", "greet.", "</think>", "Hello.")
    async with serving(thinks) as endpoint, asking(endpoint) as generator:
        async with asyncio.timeout(PROMPTLY_S), aclosing(generator.stream(HELLO)) as deltas:
            async for delta in deltas:
                if delta == Retract():
                    break
            else:
                pytest.fail("nothing was taken back")
        second = await reply(generator.stream(HELLO))
    assert (second.text, second.retracted) == ("Hello.", "")


async def test_a_call_is_an_answer_too() -> None:
    call = {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": "{}"}}]}
    thinks = says("I should look.", "</think>", call)
    async with serving(thinks) as endpoint, asking(endpoint) as generator:
        first = await reply(generator.stream(HELLO))
        second = await reply(generator.stream(HELLO))
    assert (first.text, first.retracted, first.calls) == ("", "I should look.", [("c1", "weather", "{}")])
    assert (second.text, second.retracted, second.calls) == ("", "", [("c1", "weather", "{}")])


async def test_the_warm_up_shows_it_before_the_first_user() -> None:
    thinks = says("So I should greet.", "</think>", "Hello.")
    async with serving(thinks) as endpoint, asking(endpoint) as generator:
        await generator.start()
        answer = await reply(generator.stream(HELLO))
    assert (answer.text, answer.retracted) == ("Hello.", "")


async def test_a_known_thought_that_uses_up_the_tokens_is_not_said() -> None:
    thinks, long = says("Hm.", "</think>", "Hello."), says("Let me see", finish("length"))
    async with serving(thinks, long) as endpoint, asking(endpoint) as generator:
        await generator.start()
        answer = await reply(generator.stream(HELLO))
    assert answer.text == ""
    assert answer.end and answer.end.reason == "length"
