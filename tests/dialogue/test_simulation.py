"""An hour of conversation in under a minute: what must hold whatever the caller does and whichever engine fails."""

import logging
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dialogue.simulation import WIRES, check, converse
from voice_agent.dialogue.events import (
    ResponseEnded,
    ResponsePaused,
    ResponseResumed,
    ResponseStarted,
    ResponseText,
    SessionEnded,
    SessionError,
    UserTranscript,
)


@pytest.fixture(autouse=True, scope="module")
def _unlogged() -> Iterator[None]:
    """Thousands of failures are drawn."""
    log = logging.getLogger("voice_agent")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    yield
    log.setLevel(before)


@pytest.mark.parametrize("wire", WIRES)
def test_an_hour_of_conversation(wire: str) -> None:
    """Half an hour on each wire."""
    begun = time.process_time()
    conversation = converse(seed=1, seconds=1800, options=WIRES[wire])
    check(conversation)
    # It was a conversation, and everything happened in it that is to be survived.
    events = conversation.events
    reasons = Counter(event.reason for event in events if isinstance(event, ResponseEnded))
    assert reasons.total() > 100
    assert set(reasons) == {"completed", "interrupted", "failed"}
    for kind in (ResponsePaused, ResponseResumed, SessionError):
        assert sum(isinstance(event, kind) for event in events) > 2
    assert any(isinstance(event, SessionEnded) for event in events)
    assert conversation.lots.drawn.keys() == {"fails", "is faulty", "hangs", "is deaf"}
    assert sum(len(held.held) for held in conversation.sessions) > 2
    assert time.process_time() - begun < 30


@given(seed=st.integers(0, 2**32), wire=st.sampled_from(sorted(WIRES)))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_caller_does(seed: int, wire: str) -> None:
    check(converse(seed, seconds=40, options=WIRES[wire]))


def test_the_same_seed_gives_the_same_conversation() -> None:
    first, second = (converse(seed=7, seconds=600, options=WIRES["a client that pauses"]) for _ in range(2))
    assert len(first.sessions) == len(second.sessions)
    for one, other in zip(first.sessions, second.sessions, strict=True):
        assert [(at, type(event)) for at, event, _ in one.log] == [
            (at, type(event)) for at, event, _ in other.log
        ]
        told = (UserTranscript, ResponseText, ResponseStarted, ResponseEnded)
        assert [event for _, event in one.client.read if isinstance(event, told)] == [
            event for _, event in other.client.read if isinstance(event, told)
        ]
