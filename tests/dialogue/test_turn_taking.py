"""Whose turn it is, by example."""

import pytest

from tests.dialogue.turns import SETTINGS, hear, new, speak, stay_silent, without
from voice_agent.audio import ms_to_samples
from voice_agent.dialogue import turn_taking
from voice_agent.dialogue.decisions import (
    Answer,
    Complete,
    Discard,
    InferEndOfTurn,
    Onset,
    Prepare,
    TranscribeInterim,
)
from voice_agent.dialogue.end_of_turn import Evidence
from voice_agent.dialogue.floor import FLOOR_TRANSITIONS, TRANSITIONS, Floor, Input, State, TurnPolicy
from voice_agent.dialogue.turn_taking import (
    NO_WORDS_MS,
    TurnTaking,
)

pytestmark = pytest.mark.usefixtures("plain_evidence_throughout")


def test_an_utterance_with_words_is_committed_once_the_evidence_says_that_it_is_over() -> None:
    turns = new()
    stay_silent(turns, 1000)
    assert without(speak(turns, 800), TranscribeInterim) == [Onset(ms_to_samples(1000))]
    assert without(stay_silent(turns, 120), InferEndOfTurn) == [Prepare(ms_to_samples(1800))]
    assert turns.transcribed("hello") == []
    assert without(stay_silent(turns, 460), InferEndOfTurn) == []
    assert without(stay_silent(turns, 20), InferEndOfTurn) == [Complete(), Answer()]
    assert turns.state is State.LISTENING


def test_the_detector_is_asked_as_the_silence_grows_and_its_answer_is_weighed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[float | None] = []

    def weigh(evidence: Evidence) -> float:
        seen.append(evidence.audio)
        return evidence.audio or 0.0

    monkeypatch.setattr(turn_taking, "probability", weigh)
    turns = new()
    speak(turns, 500)
    assert InferEndOfTurn() in stay_silent(turns, 160)
    turns.transcribed("hello")
    assert turns.scored(0.3) == []
    assert turns.scored(1.0) == [Complete(), Answer()]
    assert seen[0] is None and seen[-1] == 1.0
    speak(turns, 500)
    stay_silent(turns, 20)
    assert turns.scored(1.0) == []  # about another silence
    stay_silent(turns, 200)
    assert seen[-1] is None


def test_the_words_the_pauses_and_what_was_asked_are_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Evidence] = []

    def weigh(evidence: Evidence) -> float:
        seen.append(evidence)
        return 0.0

    monkeypatch.setattr(turn_taking, "probability", weigh)
    turns = new()
    turns.agent_said = "What is your number?"
    speak(turns, 400)
    stay_silent(turns, 320)
    speak(turns, 200)
    stay_silent(turns, 200)
    turns.transcribed("zero one")
    assert seen[-1] == Evidence(
        silence_ms=200,
        speech_ms=920,
        audio=None,
        text="zero one",
        agent_said="What is your number?",
        pauses_ms=(320,),
    )


def test_a_late_transcript_is_waited_for() -> None:
    turns = new()
    speak(turns, 800)
    assert Complete() not in stay_silent(turns, 3000)
    assert turns.transcribed("hello") == [Complete(), Answer()]


def test_an_utterance_without_words_ends_quietly() -> None:
    turns = new()
    speak(turns, 300)
    stay_silent(turns, NO_WORDS_MS - 100)
    assert turns.transcribed("") == []
    assert without(stay_silent(turns, 100), InferEndOfTurn) == [Discard()]


def test_an_utterance_that_could_not_be_transcribed_is_answered_with_an_apology() -> None:
    turns = new()
    speak(turns, 300)
    stay_silent(turns, 700)
    assert turns.transcribed(None) == [Complete(), Answer()]


def test_a_click_shorter_than_the_start_is_no_utterance() -> None:
    turns = new()
    assert speak(turns, 40) + stay_silent(turns, 1000) == []


def test_speech_that_goes_on_after_a_pause_is_the_same_utterance() -> None:
    turns = new()
    speak(turns, 500)
    stay_silent(turns, 300)
    turns.transcribed("I would")
    opened = turns.opened
    assert without(speak(turns, 600), TranscribeInterim) == [Onset(ms_to_samples(800))]
    assert turns.opened == opened
    # The transcript was of the first half: it must not end the turn.
    assert without(stay_silent(turns, 2000), InferEndOfTurn, TranscribeInterim) == [
        Prepare(ms_to_samples(1400))
    ]
    assert turns.transcribed("I would like tea") == [Complete(), Answer()]


def test_a_stale_transcript_does_not_count_while_the_user_speaks() -> None:
    turns = new()
    speak(turns, 500)
    assert turns.transcribed("hello") == []
    assert Complete() not in stay_silent(turns, 2000)


def test_live_words_are_asked_for_while_the_user_speaks_one_look_at_a_time() -> None:
    turns = new()
    assert speak(turns, 2000).count(TranscribeInterim()) == 1
    turns.interim("what is")
    assert speak(turns, 2000).count(TranscribeInterim()) == 1


def test_an_endless_utterance_is_ended_and_what_follows_is_a_new_one() -> None:
    turns = new()
    heard = speak(turns, 5000)
    assert without(heard, TranscribeInterim, InferEndOfTurn) == [Onset(0), Prepare(ms_to_samples(5000))]
    assert without(speak(turns, 500), InferEndOfTurn) == []
    assert turns.transcribed("and so on") == [Complete(), Answer()]
    assert speak(turns, 100) == [Onset(ms_to_samples(5000))]


def test_speech_that_has_begun_goes_on_a_little_below_the_threshold() -> None:
    turns = new()
    assert hear(turns, 500, 0.4) == []
    speak(turns, 100)
    assert without(hear(turns, 1000, 0.4), TranscribeInterim) == []
    assert Prepare(ms_to_samples(1600)) in hear(turns, 300, 0.3)


def test_a_turn_can_be_completed_from_outside() -> None:
    turns = TurnTaking(SETTINGS, 0.5, policy=TurnPolicy(automatic=False))
    speak(turns, 800)
    stay_silent(turns, 3000)
    assert turns.transcribed("hello") == []  # no silence ends it
    assert turns.complete() == [Complete(), Answer()]
    assert turns.complete() == []  # there is none


def test_a_turn_need_not_be_answered() -> None:
    turns = TurnTaking(SETTINGS, 0.5, policy=TurnPolicy(answer=False))
    speak(turns, 800)
    stay_silent(turns, 700)
    assert turns.transcribed("hello") == [Complete()]


def test_the_tables_name_every_state() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(FLOOR_TRANSITIONS) == set(Floor)
    inputs = {given for row in TRANSITIONS.values() for given in row}
    inputs |= {given for row in FLOOR_TRANSITIONS.values() for given in row}
    assert inputs == set(Input)


def test_what_is_said_while_an_utterance_that_was_ended_is_transcribed_belongs_to_the_next() -> None:
    turns = new()
    speak(turns, 5000)  # as long as one may be
    speak(turns, 600)
    stay_silent(turns, 60)  # a dip
    speak(turns, 300)
    assert turns.transcribed("and so on") == [Complete(), Answer()]
    assert without(speak(turns, 100), TranscribeInterim) == [Onset(ms_to_samples(5000))]
    assert turns.opened == ms_to_samples(5000)


def test_a_sound_that_dies_down_after_an_utterance_that_was_ended_is_no_part_of_the_next() -> None:
    turns = new()
    speak(turns, 5000)
    speak(turns, 100)
    assert Complete() in turns.transcribed("and so on")
    stay_silent(turns, 2000)
    assert without(speak(turns, 100), TranscribeInterim) == [Onset(ms_to_samples(7100))]
