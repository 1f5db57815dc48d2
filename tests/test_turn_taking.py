"""Who has the floor, by example and by property."""

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.audio import FRAME, FRAME_MS, ms_to_samples
from voice_agent.config import TurnSettings
from voice_agent.turn_taking import (
    TRANSITIONS,
    Commit,
    Decision,
    Drop,
    Input,
    Interrupt,
    Onset,
    Pause,
    State,
    TurnTaking,
)

SETTINGS = TurnSettings(start_ms=60, stop_ms=200, endpoint_ms=600, barge_in_ms=240, max_utterance_s=5)


def turn_taking() -> TurnTaking:
    return TurnTaking(SETTINGS, speech_threshold=0.5)


def hear(turns: TurnTaking, ms: int, probability: float) -> list[Decision]:
    return [decision for _ in range(ms // FRAME_MS) for decision in turns.frame(probability)]


def speak(turns: TurnTaking, ms: int) -> list[Decision]:
    return hear(turns, ms, 0.9)


def stay_silent(turns: TurnTaking, ms: int) -> list[Decision]:
    return hear(turns, ms, 0.0)


def test_an_utterance_with_words_is_committed_after_the_endpoint_silence() -> None:
    turns = turn_taking()
    stay_silent(turns, 1000)
    assert speak(turns, 800) == [Onset(ms_to_samples(1000))]
    assert stay_silent(turns, 200) == [Pause(ms_to_samples(1800))]
    assert turns.transcribed(words=True) == []
    assert stay_silent(turns, 380) == []
    assert stay_silent(turns, 20) == [Commit()]
    assert turns.state is State.LISTENING


def test_a_late_transcript_is_waited_for() -> None:
    turns = turn_taking()
    speak(turns, 800)
    assert Commit() not in stay_silent(turns, 3000)
    assert turns.transcribed(words=True) == [Commit()]


def test_an_utterance_without_words_ends_quietly() -> None:
    turns = turn_taking()
    speak(turns, 300)
    stay_silent(turns, 300)
    turns.transcribed(words=False)
    assert stay_silent(turns, 400) == [Drop()]


def test_a_click_shorter_than_the_start_is_no_utterance() -> None:
    turns = turn_taking()
    assert speak(turns, 40) + stay_silent(turns, 1000) == []


def test_speech_that_goes_on_after_a_pause_is_the_same_utterance() -> None:
    turns = turn_taking()
    speak(turns, 600)
    stay_silent(turns, 300)
    turns.transcribed(words=True)
    opened = turns.opened
    assert speak(turns, 600) == [Onset(ms_to_samples(900))]
    assert turns.opened == opened
    # The transcript was of the first half: it must not end the turn.
    assert stay_silent(turns, 2000) == [Pause(ms_to_samples(1500))]
    assert turns.transcribed(words=True) == [Commit()]


def test_a_stale_transcript_does_not_count_while_the_user_speaks() -> None:
    turns = turn_taking()
    speak(turns, 600)
    assert turns.transcribed(words=True) == []
    assert stay_silent(turns, 2000) == [Pause(ms_to_samples(600))]


def test_speech_over_the_agent_interrupts_it_once() -> None:
    turns = turn_taking()
    turns.agent_takes_floor()
    assert speak(turns, 220) == [Onset(0)]
    assert speak(turns, 500) == [Interrupt()]


def test_a_short_sound_over_the_agent_does_not_interrupt_it() -> None:
    turns = turn_taking()
    turns.agent_takes_floor()
    heard = speak(turns, 200) + stay_silent(turns, 400)
    heard += turns.transcribed(words=False) + stay_silent(turns, 400)
    assert Interrupt() not in heard
    assert heard[-1] == Drop()


def test_short_words_over_the_agent_interrupt_it_when_they_are_answered() -> None:
    turns = turn_taking()
    turns.agent_takes_floor()
    speak(turns, 200)
    stay_silent(turns, 600)
    assert turns.transcribed(words=True) == [Interrupt(), Commit()]


def test_an_endless_utterance_is_ended_and_what_follows_is_a_new_one() -> None:
    turns = turn_taking()
    heard = speak(turns, 5000)
    assert heard == [Onset(0), Pause(ms_to_samples(5000))]
    assert speak(turns, 500) == []
    assert turns.transcribed(words=True) == [Commit()]
    assert speak(turns, 100) == [Onset(ms_to_samples(5000))]


def test_speech_that_has_begun_goes_on_a_little_below_the_threshold() -> None:
    turns = turn_taking()
    assert hear(turns, 500, 0.4) == []
    speak(turns, 100)
    assert hear(turns, 1000, 0.4) == []
    assert hear(turns, 300, 0.3) == [Pause(ms_to_samples(1600))]


def test_the_table_names_every_state() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(set(row) <= set(Input) for row in TRANSITIONS.values())


Step = tuple[str, float]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), st.sampled_from([0.0, 0.1, 0.4, 0.6, 1.0])),
        st.tuples(st.sampled_from(["words", "none", "takes", "yields"]), st.just(0.0)),
        # Runs make every state reachable within a short list.
        st.tuples(st.sampled_from(["speech", "silence"]), st.floats(20, 1500)),
    ),
    max_size=60,
)


def take(turns: TurnTaking, step: Step) -> list[Decision]:
    kind, value = step
    match kind:
        case "frame":
            return turns.frame(value)
        case "words" | "none":
            return turns.transcribed(words=kind == "words")
        case "takes":
            turns.agent_takes_floor()
        case "yields":
            turns.agent_yields_floor()
        case "speech" | "silence":
            return hear(turns, int(value), float(kind == "speech"))
    return []


def replay(script: list[Step]) -> list[Decision]:
    turns = turn_taking()
    return [decision for step in script for decision in take(turns, step)]


@given(steps)
def test_the_same_samples_give_the_same_decisions(script: list[Step]) -> None:
    assert replay(script) == replay(script)


@given(steps)
def test_decisions_come_in_an_order_that_makes_sense(script: list[Step]) -> None:
    kinds = [type(decision) for decision in replay(script) if not isinstance(decision, Interrupt)]
    may_follow: dict[type | None, set[type]] = {
        None: {Onset},
        Onset: {Pause},
        Pause: {Onset, Commit, Drop},
        Commit: {Onset},
        Drop: {Onset},
    }
    for before, after in zip([None, *kinds], kinds, strict=False):
        assert after in may_follow[before]


@given(steps)
def test_positions_lie_in_the_past_and_move_forward(script: list[Step]) -> None:
    turns, latest = turn_taking(), 0
    for step in script:
        for decision in take(turns, step):
            if isinstance(decision, Onset | Pause):
                assert latest <= decision.at <= turns.now
                assert decision.at % FRAME == 0
                latest = decision.at


@given(steps)
def test_the_agent_is_interrupted_only_while_it_has_the_floor(script: list[Step]) -> None:
    turns, has_floor = turn_taking(), False
    for step in script:
        has_floor = step[0] == "takes" or (has_floor and step[0] != "yields")
        for decision in take(turns, step):
            if isinstance(decision, Interrupt):
                assert has_floor
                has_floor = False
