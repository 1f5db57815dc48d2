"""The weighing of evidence at a silence: its bounds, its directions, and what it makes of what people say."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.dialogue.end_of_turn import (
    LONGEST_MS,
    SCORE_AT_MS,
    THRESHOLD,
    Evidence,
    probability,
)
from voice_agent.stages.endpoint import NEUTRAL_AUDIO

TEXTS = (
    st.none()
    | st.text()
    | st.sampled_from(["What time is it?", "um", "I'd like to book a", "Hello.", "5, 5", "..."])
)
SAID = st.text() | st.sampled_from(
    ["", "What is your phone number?", "Would you like that?", "Here you are."]
)
PROBABILITIES = st.none() | st.floats(0, 1)

evidences = st.builds(
    Evidence,
    silence_ms=st.floats(0, 20_000),
    speech_ms=st.floats(0, 60_000),
    audio=PROBABILITIES,
    text=TEXTS,
    agent_said=SAID,
    pauses_ms=st.lists(st.floats(0, 10_000), max_size=16).map(tuple),
)


@given(evidences)
def test_it_is_a_probability_whatever_is_known(evidence: Evidence) -> None:
    assert 0 <= probability(evidence) <= 1


@given(evidences, st.floats(0, 20_000))
def test_it_never_falls_while_the_silence_goes_on(evidence: Evidence, longer: float) -> None:
    after = replace(evidence, silence_ms=evidence.silence_ms + longer)
    assert probability(after) >= probability(evidence)


@given(evidences)
def test_every_wait_ends(evidence: Evidence) -> None:
    assert probability(replace(evidence, silence_ms=LONGEST_MS)) >= max(THRESHOLD.values())


@given(evidences, st.floats(0, 1), st.floats(0, 1))
def test_a_voice_that_sounds_more_finished_never_makes_it_less(
    evidence: Evidence, one: float, other: float
) -> None:
    less, more = (probability(replace(evidence, audio=audio)) for audio in sorted((one, other)))
    assert less <= more


@given(evidences, st.floats(0, 10_000))
def test_a_speaker_who_pauses_longer_is_waited_for_longer(evidence: Evidence, pause: float) -> None:
    assert probability(replace(evidence, pauses_ms=(*evidence.pauses_ms, pause))) <= probability(evidence)


def wait_ms(
    text: str | None, audio: float | None = 0.95, agent_said: str = "", pauses_ms: tuple[float, ...] = ()
) -> float:
    """The silence at which the turn is committed by default."""
    evidence = Evidence(0, 1500, audio, text, agent_said, pauses_ms)
    silences = (20.0 * frame for frame in range(1000))
    return next(ms for ms in silences if probability(replace(evidence, silence_ms=ms)) >= THRESHOLD["auto"])


@pytest.mark.parametrize(
    "text",
    [
        "What time is it?",
        "What is it for?",
        "How old is the Brooklyn Bridge?",
        "Can I have a small latte with soy milk?",
        "Please turn the lights on.",
        "Thanks.",
        "Stop.",
    ],
)
def test_a_finished_sentence_is_answered_within_half_a_second(text: str) -> None:
    assert 250 <= wait_ms(text) <= 500


@pytest.mark.parametrize(
    "text",
    [
        "I'd like to book a",
        "I'd like to book a.",
        "I'd like to book a...",
        "I need a table for two and",
        "So I was thinking, um",
        "It's about my",
        "Well I-",
        "Hello.",
        "Montreal. Montreal.",
        "",
        "...",
    ],
)
def test_words_that_announce_more_are_given_twice_the_time(text: str) -> None:
    assert wait_ms(text) > 2 * wait_ms("Can I have a small latte with soy milk?")


def test_a_voice_that_goes_on_outweighs_words_that_could_be_all() -> None:
    text = "I really like animals."
    assert wait_ms(text, audio=0.02) > 2 * wait_ms(text, audio=0.95)


def test_one_word_is_enough_for_an_answer_and_too_little_to_begin_with() -> None:
    assert wait_ms("Yes.", agent_said="You want two tickets. Is that right?") < 500
    assert wait_ms("Hello.") > 900


@pytest.mark.parametrize(
    "question", ["What's your phone number?", "Could you spell that for me?", "Please tell me the code."]
)
def test_digits_are_given_time_when_they_were_asked_for(question: str) -> None:
    assert wait_ms("It's 4 1 5", agent_said=question) > 900
    assert wait_ms("It's on the back of the card, I think.", agent_said=question) < 500


def test_missing_evidence_makes_the_wait_longer_but_not_long() -> None:
    text = "Can I have a small latte with soy milk?"
    assert wait_ms(text) < wait_ms(text, audio=None) < 1000
    assert wait_ms(text) < wait_ms(None) < 1000
    assert wait_ms(None, audio=None) < 1000


def test_no_detector_is_like_one_that_has_no_opinion() -> None:
    text = "Can I have a small latte with soy milk?"
    assert wait_ms(text, audio=NEUTRAL_AUDIO) <= wait_ms(text, audio=None)


def test_eagerness_trades_delay_for_cut_offs() -> None:
    assert THRESHOLD["high"] < THRESHOLD["auto"] < THRESHOLD["low"] < 1


def test_smart_turn_is_asked_in_the_order_of_the_silence() -> None:
    assert list(SCORE_AT_MS) == sorted(SCORE_AT_MS)
