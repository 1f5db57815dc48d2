"""Who has the floor, by example and by property."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.audio import FRAME, FRAME_MS, ms_to_samples
from voice_agent.config import TurnSettings
from voice_agent.dialogue import turn_taking
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
from voice_agent.dialogue.end_of_turn import Evidence
from voice_agent.dialogue.floor import FLOOR_TRANSITIONS, TRANSITIONS, Floor, Input, State, TurnPolicy
from voice_agent.dialogue.turn_taking import (
    DECIDE_LATEST_MS,
    DECIDE_MS,
    ENOUGH_MS,
    NO_WORDS_MS,
    TurnTaking,
)

SETTINGS = TurnSettings(start_ms=60, stop_ms=120, max_utterance_s=5, quiet_s=10)
ENDPOINT_MS = 600


@pytest.fixture(autouse=True, scope="module")
def plain_evidence() -> Iterator[None]:
    """The turn is over after a fixed silence: what the evidence weighs is another test's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turn_taking, "probability", lambda evidence: float(evidence.silence_ms >= ENDPOINT_MS))
        yield


def new() -> TurnTaking:
    return TurnTaking(SETTINGS, speech_threshold=0.5)


def agent_speaking() -> TurnTaking:
    turns = new()
    turns.agent_takes_floor()
    turns.agent_said = "Once upon a time there was a king."
    return turns


def hear(turns: TurnTaking, ms: int, probability: float) -> list[Decision]:
    return [decision for _ in range(ms // FRAME_MS) for decision in turns.frame(probability)]


def speak(turns: TurnTaking, ms: int) -> list[Decision]:
    return hear(turns, ms, 0.9)


def stay_silent(turns: TurnTaking, ms: int) -> list[Decision]:
    return hear(turns, ms, 0.0)


def without(decisions: list[Decision], *kinds: type[Decision]) -> list[Decision]:
    return [decision for decision in decisions if not isinstance(decision, kinds)]


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


def test_speech_need_not_interrupt() -> None:
    turns = TurnTaking(SETTINGS, 0.5, policy=TurnPolicy(interrupt=False))
    turns.agent_takes_floor()
    assert without(speak(turns, 800), TranscribeInterim) == [Onset(0)]
    assert turns.interim("wait a moment please") == []


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


def test_the_tables_name_every_state() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(FLOOR_TRANSITIONS) == set(Floor)
    inputs = {given for row in TRANSITIONS.values() for given in row}
    inputs |= {given for row in FLOOR_TRANSITIONS.values() for given in row}
    assert inputs == set(Input)


Step = tuple[str, float | str | None]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), st.sampled_from([0.0, 0.1, 0.4, 0.6, 1.0])),
        st.tuples(st.sampled_from(["transcribed", "interim"]), st.sampled_from(["wait", "yeah", "", None])),
        st.tuples(st.sampled_from(["takes", "yields", "presses", "releases"]), st.none()),
        st.tuples(st.just("scored"), st.floats(0, 1)),
        # Runs make every state reachable within a short list.
        st.tuples(st.sampled_from(["speech", "silence"]), st.floats(20, 1500)),
    ),
    max_size=60,
)


def take(turns: TurnTaking, step: Step) -> list[Decision]:
    match step:
        case "frame", float(probability):
            return turns.frame(probability)
        case "transcribed", (str() | None) as text:
            return turns.transcribed(text)
        case "interim", (str() | None) as text:
            return turns.interim(text)
        case "scored", float(score):
            return turns.scored(score)
        case "takes", _:
            turns.agent_takes_floor()
        case "yields", _:
            turns.agent_yields_floor()
        case ((("presses" | "releases") as what), _):
            return turns.push_to_talk(what == "presses")
        case ((("speech" | "silence") as kind), float(ms)):
            return hear(turns, int(ms), float(kind == "speech"))
    return []


def replay(script: list[Step]) -> list[Decision]:
    turns = new()
    return [decision for step in script for decision in take(turns, step)]


@given(steps)
def test_the_same_samples_give_the_same_decisions(script: list[Step]) -> None:
    assert replay(script) == replay(script)


@given(steps)
def test_decisions_about_the_user_come_in_an_order_that_makes_sense(script: list[Step]) -> None:
    users = Onset | Prepare | Complete | Discard
    kinds = [type(decision) for decision in replay(script) if isinstance(decision, users)]
    may_follow: dict[type | None, set[type]] = {
        None: {Onset},
        Onset: {Prepare},
        Prepare: {Onset, Complete, Discard},
        Complete: {Onset},
        Discard: {Onset},
    }
    for before, after in zip([None, *kinds], kinds, strict=False):
        assert after in may_follow[before]


@given(steps)
def test_while_the_button_is_held_nothing_is_weighed_and_no_turn_ends_but_by_its_length(
    script: list[Step],
) -> None:
    turns = new()
    for step in script:
        for decision in take(turns, step):
            if turns.held:
                assert not isinstance(decision, Pause | Resume | InferEndOfTurn | AskIfThere | LetGo)
                if isinstance(decision, Complete | Discard):
                    assert turns.now - turns.opened >= ms_to_samples(1000 * SETTINGS.max_utterance_s)
        assert not (turns.held and turns.floor is Floor.HELD)
        assert not (turns._released and (turns.held or turns.state is State.LISTENING))


@given(steps)
def test_positions_lie_in_the_past_and_move_forward(script: list[Step]) -> None:
    turns, latest = new(), 0
    for step in script:
        for decision in take(turns, step):
            if isinstance(decision, Onset | Prepare):
                assert latest <= decision.at <= turns.now
                assert decision.at % FRAME == 0
                latest = decision.at


@given(steps)
def test_the_agent_is_paused_resumed_and_interrupted_only_where_that_makes_sense(script: list[Step]) -> None:
    turns, floor = new(), Floor.FREE
    for step in script:
        if step[0] in ("takes", "yields"):
            floor = Floor.AGENT if step[0] == "takes" else Floor.FREE
        for decision in take(turns, step):
            match decision:
                case Pause():
                    assert floor is Floor.AGENT
                    floor = Floor.HELD
                case Resume():
                    assert floor is Floor.HELD
                    floor = Floor.AGENT
                case Interrupt():
                    assert floor is not Floor.FREE
                    floor = Floor.FREE
        assert turns.floor is floor


@given(steps)
def test_a_pause_is_always_decided_in_the_end(script: list[Step]) -> None:
    turns = new()
    for step in script:
        take(turns, step)
    stay_silent(turns, DECIDE_LATEST_MS + 1000)
    assert turns.floor is not Floor.HELD
