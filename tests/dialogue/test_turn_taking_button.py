"""Push to talk, by example."""

import pytest

from tests.dialogue.turns import SETTINGS, agent_speaking, new, speak, stay_silent, without
from voice_agent.audio import ms_to_samples
from voice_agent.dialogue.decisions import (
    Answer,
    AskIfThere,
    Complete,
    Discard,
    InferEndOfTurn,
    Interrupt,
    Onset,
    Pause,
    Prepare,
    TranscribeInterim,
)
from voice_agent.dialogue.turn_taking import (
    TurnTaking,
)

pytestmark = pytest.mark.usefixtures("plain_evidence_throughout")


def test_while_the_button_is_held_no_silence_ends_the_turn() -> None:
    turns = new()
    assert turns.push_to_talk(True) == []
    assert without(speak(turns, 500), TranscribeInterim) == [Onset(0)]
    assert stay_silent(turns, 120) + turns.transcribed("I would") == [Prepare(ms_to_samples(500))]
    assert stay_silent(turns, 3000) == []
    assert without(speak(turns, 500), TranscribeInterim) == [Onset(ms_to_samples(3620))]
    assert stay_silent(turns, 500) + turns.transcribed("") == [Prepare(ms_to_samples(4120))]


def test_its_release_ends_the_turn_at_once() -> None:
    turns = new()
    turns.push_to_talk(True)
    speak(turns, 500)
    assert turns.push_to_talk(False)[0] == Prepare(ms_to_samples(500))
    assert turns.transcribed("hello") == [Complete(), Answer()]
    turns.push_to_talk(True)
    speak(turns, 500)
    stay_silent(turns, 200)
    assert without(turns.push_to_talk(False), InferEndOfTurn) == []  # the transcript is on its way
    assert turns.transcribed("hello") == [Complete(), Answer()]
    turns.push_to_talk(True)
    speak(turns, 500)
    stay_silent(turns, 200)
    turns.transcribed("hello")
    assert Complete() in turns.push_to_talk(False)


def test_a_release_without_words_is_forgotten_at_once_and_one_that_failed_is_owed_an_apology() -> None:
    for text, decisions in (("", [Discard()]), (None, [Complete(), Answer()])):
        turns = new()
        turns.push_to_talk(True)
        speak(turns, 500)
        turns.push_to_talk(False)
        assert turns.transcribed(text) == decisions


def test_a_release_with_nothing_said_changes_nothing() -> None:
    turns = new()
    turns.push_to_talk(True)
    stay_silent(turns, 500)
    assert turns.push_to_talk(False) == []
    # What follows is judged by its silence, as ever.
    assert without(speak(turns, 500), TranscribeInterim) == [Onset(ms_to_samples(500))]
    stay_silent(turns, 200)
    assert turns.transcribed("hello") == []
    assert Complete() in stay_silent(turns, 600)


@pytest.mark.parametrize("late_ms", [40, 60, 100, 140])
def test_sound_that_was_under_way_at_the_release_ends_no_other_turn(late_ms: int) -> None:
    turns = new()
    turns.push_to_talk(True)
    speak(turns, 500)
    heard = turns.push_to_talk(False) + speak(turns, late_ms) + stay_silent(turns, 60)
    heard += turns.transcribed("hello")
    assert without(heard, InferEndOfTurn) == [Prepare(ms_to_samples(500)), Complete(), Answer()]
    speak(turns, 500)
    stay_silent(turns, 200)
    assert turns.transcribed("and more") == []
    assert Complete() in stay_silent(turns, 600)


def test_sound_that_begins_in_the_midst_of_a_release_ends_no_other_turn() -> None:
    turns = new()
    turns.push_to_talk(True)
    speak(turns, 40)
    assert turns.push_to_talk(False) == []
    assert speak(turns, 60) == [Onset(0)]
    stay_silent(turns, 200)
    assert turns.transcribed("oh") == []
    assert Complete() in stay_silent(turns, 600)


def test_pressed_again_before_the_answer_the_utterance_goes_on() -> None:
    turns = new()
    turns.push_to_talk(True)
    speak(turns, 500)
    turns.push_to_talk(False)
    turns.push_to_talk(True)
    assert turns.transcribed("I would like") == []
    assert without(speak(turns, 500), TranscribeInterim) == [Onset(ms_to_samples(500))]
    assert turns.push_to_talk(False)[0] == Prepare(ms_to_samples(1000))
    assert turns.transcribed("I would like tea") == [Complete(), Answer()]


@pytest.mark.parametrize("barge_in", [True, False])
def test_the_button_stops_the_agent_and_nothing_is_weighed(barge_in: bool) -> None:
    turns = TurnTaking(SETTINGS.model_copy(update={"barge_in": barge_in}), speech_threshold=0.5)
    turns.agent_takes_floor()
    assert turns.push_to_talk(True) == [Interrupt()]
    assert turns.push_to_talk(True) == []
    assert without(speak(turns, 300), TranscribeInterim) == [Onset(0)]
    turns.agent_takes_floor()  # an answer to something typed
    assert without(speak(turns, 20), TranscribeInterim) == [Interrupt()]
    turns.push_to_talk(False)
    turns.agent_takes_floor()
    assert turns.transcribed("Yeah.") == [Interrupt(), Complete(), Answer()]


def test_the_button_decides_for_an_agent_that_was_only_paused() -> None:
    turns = agent_speaking()
    assert Pause() in speak(turns, 100)
    assert turns.push_to_talk(True) == [Interrupt()]


def test_an_endless_utterance_is_ended_though_the_button_is_held() -> None:
    turns = new()
    turns.push_to_talk(True)
    assert Prepare(ms_to_samples(5000)) in speak(turns, 5000)
    speak(turns, 200)
    assert turns.transcribed("and so on") == [Complete(), Answer()]
    turns.agent_takes_floor()
    assert without(speak(turns, 40), TranscribeInterim) == [Onset(ms_to_samples(5000)), Interrupt()]
    turns.push_to_talk(False)
    assert turns.transcribed("and on") == [Complete(), Answer()]


def test_who_holds_the_button_is_not_asked_whether_they_are_there() -> None:
    turns = agent_speaking()
    turns.agent_yields_floor()
    stay_silent(turns, 9000)
    turns.push_to_talk(True)
    assert stay_silent(turns, 60_000) == []
    turns.push_to_talk(False)
    assert stay_silent(turns, 9980) == []
    assert stay_silent(turns, 20) == [AskIfThere()]
