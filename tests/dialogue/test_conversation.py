"""What the language model sees of the history."""

from itertools import pairwise
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.dialogue.conversation import CHARS_PER_TOKEN, Conversation
from voice_agent.stages.generator.request import Message


def contents(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in conversation.messages()]


def test_it_begins_with_the_system_prompt() -> None:
    conversation = Conversation("be brief", 1000)
    conversation.add_user("hi")
    assert contents(conversation) == [("system", "be brief"), ("user", "hi")]


def test_user_messages_without_an_answer_between_become_one() -> None:
    conversation = Conversation("", 1000)
    conversation.add_user("I'd like")
    conversation.add_assistant("")
    conversation.add_user("a coffee")
    assert contents(conversation)[1:] == [("user", "I'd like a coffee")]


def test_what_was_said_to_nobody_is_not_kept() -> None:
    conversation = Conversation("", 1000)
    conversation.add_assistant("Sorry?")
    assert contents(conversation)[1:] == []


def test_a_history_is_taken_as_if_it_had_been_said_here() -> None:
    conversation = Conversation(
        "",
        1000,
        [
            Message("assistant", "Hello!"),
            Message("user", "I'd like"),
            Message("user", "a coffee"),
            Message("assistant", "Here it is."),
            Message("assistant", "Anything else?"),
        ],
    )
    assert contents(conversation)[1:] == [
        ("user", "I'd like a coffee"),
        ("assistant", "Here it is. Anything else?"),
    ]
    assert (conversation.unanswered, conversation.agent_said) == ("", "Here it is. Anything else?")
    conversation.add_user("no")
    assert (conversation.unanswered, conversation.agent_said) == ("no", "")


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.integers(1, 400)), max_size=60))
def test_a_long_history_is_cut_to_the_budget(said: list[tuple[Literal["user", "assistant"], int]]) -> None:
    conversation = Conversation("system", 100, [Message(role, "x" * length) for role, length in said])
    conversation.add_user("so")
    kept = contents(conversation)
    assert kept[1][0] == "user" and kept[-1][1].endswith("so")
    assert all(before != after for (before, _), (after, _) in pairwise(kept))
    assert sum(len(content) for _, content in kept) <= 100 * CHARS_PER_TOKEN or len(kept) == 2


@given(st.lists(st.integers(1, 400), max_size=60), st.integers(20, 200))
def test_it_stays_within_its_budget_and_keeps_the_latest(lengths: list[int], tokens: int) -> None:
    conversation = Conversation("system", tokens)
    for turn, length in enumerate(lengths):
        latest = f"{turn}" + "u" * length
        conversation.add_user(latest)
        roles = [role for role, _ in contents(conversation)]
        sizes = [len(content) for _, content in contents(conversation)]
        assert contents(conversation)[-1] == ("user", latest)
        assert roles[1] == "user"
        assert sum(sizes) <= tokens * CHARS_PER_TOKEN or len(sizes) == 2
        conversation.add_assistant("a" * length)
