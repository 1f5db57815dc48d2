"""What holds of turn-taking whatever comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dialogue.turns import SETTINGS, hear, new, stay_silent
from voice_agent.audio import FRAME, ms_to_samples
from voice_agent.dialogue.decisions import (
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
)
from voice_agent.dialogue.floor import Floor, State
from voice_agent.dialogue.turn_taking import (
    DECIDE_LATEST_MS,
    TurnTaking,
)

pytestmark = pytest.mark.usefixtures("plain_evidence_throughout")


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
            if turns.button_down:
                assert not isinstance(decision, Pause | Resume | InferEndOfTurn | AskIfThere | LetGo)
                if isinstance(decision, Complete | Discard):
                    assert turns.now - turns.opened >= ms_to_samples(1000 * SETTINGS.max_utterance_s)
        assert not (turns.button_down and turns.floor is Floor.HELD)
        assert not (turns._released and (turns.button_down or turns.state is State.LISTENING))


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
