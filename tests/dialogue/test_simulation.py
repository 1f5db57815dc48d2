"""An hour of conversation in under a minute: what must hold whatever the caller does and whichever engine fails."""

import re
import time
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dialogue.simulation import LAG_S, Caller, VirtualTimeLoop
from tests.scripted import MS_PER_CHARACTER
from voice_agent.dialogue.events import (
    Event,
    ResponseAudio,
    ResponseEnded,
    ResponsePaused,
    ResponseResumed,
    ResponseStarted,
    ResponseText,
    ResponseTextEnded,
    SessionError,
    UserTranscript,
)
from voice_agent.dialogue.manners import PHRASES
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.turn_taking import DECIDE_LATEST_MS

FILLER = "Let me think. "
APOLOGY = PHRASES["en"].no_answer
WIRES = {
    "a client that pauses": SessionOptions(),
    "a phone line": SessionOptions(input_rate=8000, output_rate=8000, client_pauses=False, lead_ms=400),
}


def converse(seed: int, seconds: float, options: SessionOptions) -> Caller:
    """On a virtual clock of its own: an example of a property test is no coroutine."""
    caller = Caller(seed, options)
    with closing(VirtualTimeLoop()) as loop:
        loop.run_until_complete(caller.converse(seconds))
    return caller


def check(caller: Caller) -> None:
    """The invariants of a conversation."""
    events = [event for _, event in caller.log]
    no_sound_outside_of_a_response(events)
    pauses_and_resumes_alternate(events)
    no_pause_is_long(caller.log)
    nothing_is_answered_while_the_button_is_held(caller)
    every_utterance_with_words_is_answered_or_superseded(events)
    what_was_heard_is_what_was_played(caller)
    the_history_holds_the_words_that_were_heard(caller)
    assert (caller.script.generator.running, caller.script.synthesizer.running) == (0, 0)


def no_sound_outside_of_a_response(events: list[Event]) -> None:
    """At most one response has the floor, and nothing of one comes before its start or after its end."""
    speaking: str | None = None
    for event in events:
        match event:
            case ResponseStarted():
                assert speaking is None
                speaking = event.response
            case (
                ResponseText() | ResponseTextEnded() | ResponseAudio() | ResponsePaused() | ResponseResumed()
            ):
                assert event.response == speaking
            case ResponseEnded():
                assert event.response == speaking
                speaking = None
    assert speaking is None


def pauses_and_resumes_alternate(events: list[Event]) -> None:
    paused = False
    for event in events:
        match event:
            case ResponsePaused():
                assert not paused
                paused = True
            case ResponseResumed():
                assert paused
                paused = False
            case ResponseAudio():
                assert not paused
            case ResponseEnded():
                paused = False


def no_pause_is_long(log: list[tuple[float, Event]]) -> None:
    """It is soon decided whether the agent goes on."""
    paused_at: float | None = None
    for at, event in log:
        match event:
            case ResponsePaused():
                paused_at = at
            case ResponseResumed() | ResponseEnded():
                assert paused_at is None or at - paused_at < DECIDE_LATEST_MS / 1000 + 2 * LAG_S
                paused_at = None


def nothing_is_answered_while_the_button_is_held(caller: Caller) -> None:
    for pressed, released in caller.held:
        for at, event in caller.log:
            assert not (isinstance(event, ResponseStarted) and pressed + LAG_S < at < released), (at, event)


def every_utterance_with_words_is_answered_or_superseded(events: list[Event]) -> None:
    """Its turn has a response, begun before the next thing that the user is known to have said."""
    open_turn: int | None = None
    for event in events:
        match event:
            case UserTranscript(turn, text, final=True) if text:
                assert open_turn is None
                open_turn = turn
            case ResponseStarted(turn=turn) if open_turn is not None:
                assert turn == open_turn
                open_turn = None
    assert open_turn is None


def what_was_heard_is_what_was_played(caller: Caller) -> None:
    for event in (event for _, event in caller.log if isinstance(event, ResponseEnded)):
        # A frame is played before the session hears of the next, and the line holds things up at times.
        played_ms = caller.responses[event.response].played_ms
        assert event.heard_ms == pytest.approx(played_ms, abs=60 + 1000 * LAG_S), event


def the_history_holds_the_words_that_were_heard(caller: Caller) -> None:
    """A reply's share of the history is its text up to the last word played."""
    for played in caller.responses.values():
        if played.remembered is None:
            continue
        reply = played.text.removeprefix(FILLER).removesuffix(APOLOGY)
        bridged_ms = MS_PER_CHARACTER * len(FILLER.strip()) if reply != played.text else 0
        words = [0, *(match.end() for match in re.finditer(r"\S+", reply))]
        kept = max(end for end in words if played.remembered.endswith(reply[:end].strip()))
        heard = min(len(reply), (played.played_ms - bridged_ms) / MS_PER_CHARACTER)
        # Between two sentences there is a space that takes no time, and half a word counts as heard or not.
        if played.played_ms - bridged_ms > 500:
            assert kept == pytest.approx(heard, abs=18 + reply.count(".")), (played, kept, heard)


@pytest.mark.parametrize("wire", WIRES)
def test_an_hour_of_conversation(wire: str) -> None:
    """Half an hour on each wire."""
    begun = time.process_time()
    caller = converse(seed=1, seconds=1800, options=WIRES[wire])
    check(caller)
    events = [event for _, event in caller.log]
    # It was a conversation, and everything happened in it that is to be survived.
    reasons = [event.reason for event in events if isinstance(event, ResponseEnded)]
    assert len(reasons) > 100
    assert {"completed", "interrupted", "failed"} == set(reasons)
    for kind in (ResponsePaused, ResponseResumed, SessionError):
        assert sum(isinstance(event, kind) for event in events) > 2
    assert caller.failing.failures > 20
    assert len(caller.held) > 10
    assert time.process_time() - begun < 30


@given(seed=st.integers(0, 2**32), wire=st.sampled_from(sorted(WIRES)))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_caller_does(seed: int, wire: str) -> None:
    check(converse(seed, seconds=40, options=WIRES[wire]))


def test_the_same_samples_give_the_same_conversation() -> None:
    first, second = (converse(seed=7, seconds=120, options=SessionOptions()).log for _ in range(2))
    assert len(first) == len(second)
    for (at, event), (again_at, again) in zip(first, second, strict=True):
        assert at == pytest.approx(again_at)
        assert type(event) is type(again)
        if isinstance(event, UserTranscript | ResponseText | ResponseStarted | ResponseEnded):
            assert event == again
