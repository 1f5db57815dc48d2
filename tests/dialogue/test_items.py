"""What the language model sees of what was said."""

from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.config import LlmSettings
from voice_agent.dialogue.items import LEAST_ROOM, AssistantItem, Items, View, token_estimate
from voice_agent.dialogue.options import check_instructions
from voice_agent.dialogue.spoken_text import END, SpokenText
from voice_agent.errors import SettingsError
from voice_agent.stages.generator.request import Message, ToolCall


def contents(view: View) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in view.messages("")[1:]]


def said(*texts: str) -> SpokenText:
    """A response of one second for each text."""
    spoken = SpokenText()
    for text in texts:
        chunk = spoken.begin(text)
        chunk.audio_ms, chunk.whole = 1000, True
    return spoken


def test_it_begins_with_the_instructions() -> None:
    items = Items()
    items.add_user("hi")
    assert items.view().messages("be brief") == (Message("system", "be brief"), Message("user", "hi"))


def test_what_the_user_said_without_hearing_an_answer_is_one_message() -> None:
    items = Items()
    items.add_user("I'd like")
    items.add_assistant(said("Yes? "))
    items.add_user("a coffee")
    assert contents(items.view()) == [("user", "I'd like a coffee")]
    assert items.unanswered == "I'd like a coffee"
    assert [item.id for item in items] == ["item_1", "item_2", "item_3"]  # all that was said is still there


def test_what_was_said_to_nobody_is_not_shown() -> None:
    items = Items()
    items.add_assistant(said("Sorry?")).heard_ms = END
    assert contents(items.view()) == []


def test_a_response_is_what_was_heard_of_it_also_when_that_is_put_back_later() -> None:
    items = Items()
    items.add_user("hi")
    item = items.add_assistant(said("One two. ", "Three four."))
    item.heard_ms = END
    assert contents(items.view())[-1] == ("assistant", "One two. Three four.")
    found = items[item.id]
    assert isinstance(found, AssistantItem)
    found.heard_ms = 1500
    assert contents(items.view())[-1] == ("assistant", "One two. Three")
    with pytest.raises(KeyError):
        items["item_99"]


def test_what_is_asked_beforehand_is_not_kept() -> None:
    items = Items([Message("user", "I'd like")])
    assert contents(items.view("a coffee")) == [("user", "I'd like a coffee")]
    assert contents(items.view()) == [("user", "I'd like")]


def test_a_history_is_taken_as_if_it_had_been_said_here() -> None:
    items = Items(
        [
            Message("assistant", "Hello!"),
            Message("user", "I'd like"),
            Message("user", "a coffee"),
            Message("assistant", "Here it is."),
            Message("assistant", "Anything else?"),
        ]
    )
    assert contents(items.view()) == [
        ("user", "I'd like a coffee"),
        ("assistant", "Here it is. Anything else?"),
    ]
    assert (items.unanswered, items.agent_said) == ("", "Here it is. Anything else?")
    items.add_user("no")
    assert (items.unanswered, items.agent_said) == ("no", "")


def test_a_call_is_shown_with_its_output_or_not_at_all() -> None:
    items = Items([Message("user", "what time is it")])
    items.add_call(call := ToolCall("call_1", "clock", "{}"))
    items.add_call(ToolCall("call_2", "clock", "{}"))
    items.add_output("call_1", "noon")
    items.add_output("call_3", "a stray")
    items.add_assistant(said("It is noon.")).heard_ms = END
    assert items.view().messages("")[1:] == (
        Message("user", "what time is it"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "noon", tool_call_id="call_1"),
        Message("assistant", "It is noon."),
    )


Said = st.tuples(st.sampled_from(["user", "assistant", "call", "system"]), st.integers(1, 400))


@given(st.lists(Said, max_size=60), st.integers(LEAST_ROOM, 400), st.sampled_from(["x", "日", "é", "😊"]))
def test_it_stays_within_its_budget_and_keeps_the_latest(
    script: list[tuple[Literal["user", "assistant", "call", "system"], int]], budget: int, letter: str
) -> None:
    items = Items()
    for n, (role, length) in enumerate(script):
        match role:
            case "user":
                items.add_user(letter * length)
            case "assistant":
                items.add_assistant(said(letter * length)).heard_ms = END
            case "system":
                items.add_system(letter * length)
            case "call":
                items.add_call(ToolCall(f"call_{n}", "f", letter * length))
                items.add_output(f"call_{n}", letter * length)
    items.add_user("so")
    whole, cut = items.view(), items.view().within(budget)
    assert cut.exchanges[-1].messages[-1].content.endswith("so")
    assert len(whole.exchanges) == 1 or len(cut.exchanges) == 1 or cut.tokens <= budget
    if whole.tokens <= budget:
        assert cut == whole
    roles = [message.role for message in cut.messages("")]
    assert roles[1] in ("user", "system")
    assert all(before != after or before in ("system", "tool") for before, after in pairwise(roles))
    calls = {call.id for message in cut.messages("") for call in message.tool_calls}
    assert calls == {message.tool_call_id for message in cut.messages("") if message.role == "tool"}


@given(st.lists(st.integers(1, 400), max_size=60), st.integers(LEAST_ROOM, 200))
def test_what_was_left_out_stays_out(lengths: list[int], budget: int) -> None:
    """So that the model's prompt cache holds: the beginning moves seldom, and far."""
    items, begins, moves = Items(), "", 0
    for turn, length in enumerate(lengths):
        items.add_user(f"{turn} " + "u" * length)
        items.leave_out(budget)
        shown = contents(items.view().within(budget))
        assert shown[-1][1].endswith("u" * min(length, 10))
        if shown[0][1].split()[0] != begins:
            begins, moves = shown[0][1].split()[0], moves + 1
        items.add_assistant(said("a" * length)).heard_ms = END
    assert moves <= 1 + len(lengths)


def test_one_message_that_is_too_long_is_cut_at_its_beginning() -> None:
    items = Items()
    items.add_user("please " * 3000 + "what is the capital of France?")
    cut = items.view().within(200)
    assert cut.tokens <= 200 * 1.1
    [(role, text)] = contents(cut)
    assert role == "user" and text.startswith("please ") and text.endswith("capital of France?")


def test_a_chinese_character_counts_for_more_than_a_letter() -> None:
    assert token_estimate("hello there") == pytest.approx(11 / 3.5)
    assert token_estimate("你好" * 100) >= 200
    assert token_estimate("\ud83d") > 0


def test_instructions_that_leave_no_room_are_refused() -> None:
    settings = LlmSettings(context_tokens=2048, max_tokens=200)
    check_instructions("be brief " * 100, settings)
    with pytest.raises(SettingsError, match=r"10000 characters.*LLM__CONTEXT_TOKENS=2048"):
        check_instructions("x" * 10_000, settings)


def test_what_fits_is_found_without_counting_all_of_a_long_conversation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a history of ten million Chinese characters, counting all again and again took 34 s."""
    counted: list[str] = []

    def noted(text: str) -> float:
        counted.append(text)
        return token_estimate(text)

    items = Items([Message(("user", "assistant")[number % 2], f"{number} " * 20) for number in range(400)])
    view = items.view()
    monkeypatch.setattr("voice_agent.dialogue.items.token_estimate", noted)
    assert len(view.within(300).exchanges) == 2
    assert len(counted) < 20


def test_a_reply_that_is_too_long_is_shortened_and_not_what_it_answers() -> None:
    items = Items([Message("user", "Tell me all."), Message("assistant", "Well, " * 2000)])
    question, reply = items.view().within(100).messages("Be brief.")[1:]
    assert question.content == "Tell me all."
    assert reply.content and View(items.view().within(100).exchanges).tokens <= 110


@pytest.mark.parametrize("budget", [-100, 0, 10, 64, 200])
def test_no_message_is_shortened_to_nothing(budget: float) -> None:
    texts = ("w" * 4000, "*" * 4000, "well " * 800, f"{'well ' * 800}{' ' * 400}")
    for user in texts:
        for assistant in texts:
            items = Items([Message("user", user), Message("assistant", assistant)])
            assert all(
                message.content.strip() for message in items.view().within(budget).messages("Be brief.")
            )
