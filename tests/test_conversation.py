"""What the language model sees of the history."""

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.conversation import CHARS_PER_TOKEN, Conversation


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
