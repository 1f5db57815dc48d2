"""Speech while the agent speaks, and the silence after it, by example."""

import pytest

from tests.dialogue.turns import SETTINGS, agent_speaking, new, speak, stay_silent, without
from voice_agent.audio import FRAME_MS, ms_to_samples
from voice_agent.dialogue.decisions import (
    Answer,
    AskIfThere,
    Complete,
    Decision,
    Discard,
    InferEndOfTurn,
    Interrupt,
    LetGo,
    Onset,
    Pause,
    Prepare,
    Resume,
    TranscribeInterim,
)
from voice_agent.dialogue.floor import Floor, TurnPolicy
from voice_agent.dialogue.turn_taking import (
    DECIDE_LATEST_MS,
    DECIDE_MS,
    ENOUGH_MS,
    TurnTaking,
)

pytestmark = pytest.mark.usefixtures("plain_evidence_throughout")


def test_the_agent_falls_silent_at_the_users_onset() -> None:
    turns = agent_speaking()
    assert speak(turns, 40) == [Onset(0), Pause()]
    assert turns.floor is Floor.HELD


def test_words_over_the_agent_interrupt_it_as_soon_as_they_are_known() -> None:
    turns = agent_speaking()
    assert TranscribeInterim() in speak(turns, 240)
    assert turns.interim("Wait.") == [Interrupt()]
    assert turns.floor is Floor.FREE
    assert without(speak(turns, 300), TranscribeInterim) == []


def test_a_short_word_that_is_only_known_when_it_is_over_interrupts_too() -> None:
    turns = agent_speaking()
    speak(turns, 180)
    stay_silent(turns, 140)
    assert turns.transcribed("Stop.") == [Interrupt()]
    assert without(stay_silent(turns, 500), InferEndOfTurn) == [Complete(), Answer()]


def test_a_noise_over_the_agent_lets_it_go_on() -> None:
    turns = agent_speaking()
    assert speak(turns, 100) == [Onset(0), Pause()]
    assert without(stay_silent(turns, 140), InferEndOfTurn) == [Prepare(ms_to_samples(100))]
    assert turns.transcribed("") == [Resume()]
    assert without(stay_silent(turns, 600), InferEndOfTurn) == [Discard()]
    assert turns.floor is Floor.AGENT


def test_a_backchannel_lets_it_go_on_and_is_not_answered() -> None:
    turns = agent_speaking()
    speak(turns, 400)
    assert turns.interim("Mm-hmm.") == []
    assert Resume() in stay_silent(turns, 120) + turns.transcribed("Mm-hmm, yeah.")
    assert without(stay_silent(turns, 700), InferEndOfTurn) == [Discard()]


def test_the_same_word_in_reply_to_a_question_is_an_answer() -> None:
    turns = agent_speaking()
    turns.agent_said = "It costs ten dollars. Shall I book it?"
    speak(turns, 300)
    assert turns.interim("Yeah.") == [Interrupt()]


def test_a_long_backchannel_does_not_hold_the_agent_for_longer_than_the_decision_takes() -> None:
    turns = agent_speaking()
    heard = speak(turns, 300) + turns.interim("yeah")
    heard += speak(turns, 300) + turns.interim("yeah yeah")
    assert Resume() in heard
    assert Interrupt() not in heard


def test_words_after_a_backchannel_still_interrupt() -> None:
    turns = agent_speaking()
    speak(turns, 300)
    turns.interim("yeah")
    assert Resume() in speak(turns, 300) + turns.interim("yeah")
    assert Interrupt() in speak(turns, 300) + turns.interim("yeah but wait")


def test_without_an_answer_in_time_speech_that_goes_on_interrupts_and_a_sound_that_ended_does_not() -> None:
    assert Interrupt() in speak(agent_speaking(), DECIDE_LATEST_MS)
    turns = agent_speaking()
    assert Resume() in speak(turns, 100) + stay_silent(turns, DECIDE_LATEST_MS)


def test_who_insists_is_heard_even_if_the_transcriber_finds_no_words() -> None:
    turns = agent_speaking()
    heard: list[Decision] = []
    for _ in range(DECIDE_LATEST_MS // FRAME_MS):
        heard += turns.frame(0.9)
        heard += turns.interim("")
    assert without(heard, TranscribeInterim) == [Onset(0), Pause(), Interrupt()]


def test_a_hum_in_which_a_look_found_no_words_does_not_stop_the_agent() -> None:
    turns = agent_speaking()
    heard = speak(turns, 200) + turns.interim("") + speak(turns, ENOUGH_MS - 180) + turns.interim("")
    heard += stay_silent(turns, DECIDE_MS - ENOUGH_MS - 20)
    assert [decision for decision in heard if isinstance(decision, Pause | Resume)] == [Pause(), Resume()]
    assert Interrupt() not in heard + stay_silent(turns, 300) + turns.transcribed("")
    assert turns.floor is Floor.AGENT


def test_sounds_that_come_and_go_without_words_do_not_stop_the_agent() -> None:
    turns = agent_speaking()
    heard: list[Decision] = []
    for _ in range(DECIDE_LATEST_MS // FRAME_MS // 5 + 1):
        heard += speak(turns, 60) + stay_silent(turns, 40) + turns.interim("")
    assert without(heard, TranscribeInterim) == [Onset(0), Pause(), Resume()]


def test_barge_in_can_be_turned_off() -> None:
    turns = TurnTaking(SETTINGS.model_copy(update={"barge_in": False}), speech_threshold=0.5)
    turns.agent_takes_floor()
    heard = speak(turns, 2000) + turns.interim("stop it")
    assert not {Pause(), Interrupt()} & set(heard)
    # Once it is over it is answered all the same, in place of what was being said.
    stay_silent(turns, 200)
    turns.transcribed("stop it")
    assert without(stay_silent(turns, 500), InferEndOfTurn) == [Interrupt(), Complete(), Answer()]


def test_a_user_who_goes_quiet_is_asked_once_and_then_let_go() -> None:
    turns = agent_speaking()
    assert stay_silent(turns, 60_000) == []
    turns.agent_yields_floor()
    assert stay_silent(turns, 10_000) == [AskIfThere()]
    turns.agent_takes_floor()
    turns.agent_yields_floor()
    assert stay_silent(turns, 10_000) == [LetGo()]
    assert stay_silent(turns, 60_000) == []


def test_a_user_who_answers_is_asked_again_another_time() -> None:
    turns = agent_speaking()
    turns.agent_yields_floor()
    assert AskIfThere() in stay_silent(turns, 10_000)
    speak(turns, 400)
    stay_silent(turns, 700)
    assert turns.transcribed("I am here") == [Complete(), Answer()]
    turns.agent_takes_floor()
    turns.agent_yields_floor()
    assert stay_silent(turns, 10_000) == [AskIfThere()]


def test_who_never_speaks_at_all_is_asked_too() -> None:
    turns = new()
    assert stay_silent(turns, 10_000) == [AskIfThere()]
    turns.agent_takes_floor()
    turns.agent_yields_floor()
    assert stay_silent(turns, 10_000) == [LetGo()]


@pytest.mark.parametrize("text", ["", "mm-hm"])
def test_a_sound_that_is_no_answer_does_not_end_the_wait_for_one(text: str) -> None:
    turns = agent_speaking()
    speak(turns, 400)
    if text:  # over the agent
        turns.interim(text)
    turns.agent_yields_floor()
    if not text:  # a cough in the silence after the reply
        stay_silent(turns, 1000)
        speak(turns, 400)
    stay_silent(turns, 700)
    turns.transcribed("")
    assert AskIfThere() in stay_silent(turns, 10_000)
    turns.agent_takes_floor()
    turns.agent_yields_floor()
    speak(turns, 200)
    stay_silent(turns, 700)
    turns.transcribed("")
    assert LetGo() in stay_silent(turns, 10_000)


def test_a_typed_answer_to_the_question_is_an_answer() -> None:
    turns = agent_speaking()
    turns.agent_yields_floor()
    assert AskIfThere() in stay_silent(turns, 10_000)
    turns.agent_takes_floor()
    turns.agent_yields_floor()
    turns.user_is_there()
    assert stay_silent(turns, 10_000) == [AskIfThere()]


def test_speech_need_not_interrupt() -> None:
    turns = TurnTaking(SETTINGS, 0.5, policy=TurnPolicy(interrupt=False))
    turns.agent_takes_floor()
    assert without(speak(turns, 800), TranscribeInterim) == [Onset(0)]
    assert turns.interim("wait a moment please") == []


def test_a_policy_that_forbids_interruptions_lets_a_held_agent_go_on() -> None:
    turns = agent_speaking()
    assert Pause() in speak(turns, 60)
    turns.policy = TurnPolicy(interrupt=False)
    assert speak(turns, 20) == [Resume()]
