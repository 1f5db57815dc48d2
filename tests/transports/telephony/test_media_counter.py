"""Which audio is new."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.transports.telephony.media_counter import REPEATS, MediaCounter


def heard(numbers: list[int]) -> list[int]:
    counter = MediaCounter()
    return [number for number in numbers if counter.is_new(number)]


@pytest.mark.parametrize("first", [0, 1, 7, 10**18])
def test_numbers_that_go_on_are_heard(first: int) -> None:
    numbers = list(range(first, first + 200))
    assert heard(numbers) == numbers


def test_what_comes_twice_or_late_is_not() -> None:
    assert heard([1, 2, 2, 3, 5, 4, 6, 1, 7]) == [1, 2, 3, 5, 6, 7]


def test_one_that_jumps_changes_nothing() -> None:
    numbers = [1, 2, 10**18, 3, 4, -(10**18), 5]
    assert heard(numbers) == numbers
    assert heard([*numbers, 4, 5]) == numbers


@pytest.mark.parametrize("anew", [1, 10**9])
def test_a_count_that_begins_anew_is_followed(anew: int) -> None:
    before, after = list(range(1000, 1200)), list(range(anew, anew + 200))
    assert heard([*before, *after, after[-1]]) == before + after


def test_who_does_not_count_is_heard() -> None:
    assert len(heard([1] * 1000)) == 1000 - REPEATS


@given(st.lists(st.integers(-(10**19), 10**19) | st.integers(-50, 5000), max_size=300))
def test_nothing_that_is_sent_deafens_a_call(numbers: list[int]) -> None:
    counter = MediaCounter()
    passed_over = in_a_row = 0
    for number in numbers:
        in_a_row = 0 if counter.is_new(number) else in_a_row + 1
        passed_over = max(passed_over, in_a_row)
    assert passed_over <= REPEATS
