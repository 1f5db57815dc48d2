"""Words that come back: the agent's own, or the user's."""

import re
from difflib import SequenceMatcher
from types import SimpleNamespace

import numpy as np
import pytest
from rapidfuzz.distance import Indel

from voice_agent.dialogue import echo
from voice_agent.dialogue.echo import is_echo_text

SAID = (
    "There are three flights to Boston on Friday. The first leaves at six forty in the morning, the second at noon, "
    "and the last one at a quarter to eight."
)


@pytest.mark.parametrize(
    "heard",
    [
        "The first leaves at six forty in the morning.",
        "three flights to boston on friday",
        "there are free flights to Boston on Friday",
        "and the last one at a quarter to",
        SAID,
    ],
)
def test_words_of_the_agent_are_known_again(heard: str) -> None:
    assert is_echo_text(heard, SAID)


@pytest.mark.parametrize(
    "heard",
    [
        "",
        "Boston",
        "on Friday",
        "at noon",
        "Wait, stop.",
        "no I meant the train to Boston",
        "What about Saturday morning?",
        "the first one please",
        SAID + " No, wait, I would like to go by train instead, on Saturday, if there is one.",
    ],
)
def test_words_of_the_user_are_not(heard: str) -> None:
    assert not is_echo_text(heard, SAID)


def test_nothing_was_said_nothing_comes_back() -> None:
    assert not is_echo_text("is this an echo", "")


WORDS = sorted(set(re.findall(r"\w+", SAID.lower())))


def spoken(count: int, seed: int) -> list[str]:
    """Words in no order."""
    return [str(word) for word in np.random.default_rng(seed).choice(WORDS, count)]


@pytest.mark.parametrize("count", [3, 8, 20, 60, 199, 200, 700])
@pytest.mark.parametrize("at", [0, 1, 1234, -1])
def test_words_of_a_long_reply_are_known_again_wherever_they_were_said(count: int, at: int) -> None:
    said = spoken(2000, seed=1)
    start = at if at >= 0 else len(said) - count
    heard = said[start : start + count]
    heard[2::10] = ["umbrella"] * len(heard[2::10]) if count > 10 else heard[2::10]  # misheard
    assert is_echo_text(" ".join(heard), " ".join(said))


@pytest.mark.parametrize("count", [8, 20, 60, 199, 200, 700])
def test_as_many_words_of_the_same_kind_are_not(count: int) -> None:
    assert not is_echo_text(" ".join(spoken(count, seed=2)), " ".join(spoken(2000, seed=1)))


def test_the_agents_words_and_then_the_users_are_the_users() -> None:
    said = spoken(2000, seed=1)
    assert not is_echo_text(" ".join(said[:300] + spoken(300, seed=2)), " ".join(said))


@pytest.mark.parametrize("heard", [3, 15, 16, 40, 199, 200, 1000, 1900])
@pytest.mark.parametrize("said", [150, 2000])
def test_the_work_is_bounded_whatever_the_lengths(
    monkeypatch: pytest.MonkeyPatch, heard: int, said: int
) -> None:
    """Counted in steps of the bit-parallel subsequence: a letter of the one against 64 of the other. A step takes about
    a nanosecond, a call a third of a microsecond."""
    steps = calls = letters = 0
    compare = Indel.normalized_similarity

    def counting(one: str, other: str) -> float:
        nonlocal steps, calls
        calls += 1
        steps += len(other) * (len(one) // 64 + 1)
        return float(compare(one, other))

    class Closely(SequenceMatcher[str]):
        def __init__(self, isjunk: None, a: str, b: str, autojunk: bool) -> None:
            nonlocal letters
            letters += len(a) + len(b)
            super().__init__(isjunk, a, b, autojunk)

    monkeypatch.setattr(echo, "Indel", SimpleNamespace(normalized_similarity=counting))
    monkeypatch.setattr(echo, "SequenceMatcher", Closely)
    for seed in (1, 2):
        is_echo_text(" ".join(spoken(heard, seed)), " ".join(spoken(said, seed=1)))
    assert steps <= 2 * 2e6
    assert calls <= 2 * 2100
    assert letters <= 2 * 1000
