"""What must hold of every conversation, whatever the caller, the client, the model and the engines did."""

from collections.abc import Iterable
from itertools import pairwise

import pytest

from tests.dialogue.simulation.client import LAG_S
from tests.dialogue.simulation.conversation import Conversation, Held
from voice_agent.dialogue.events import (
    Event,
    ResponseAudio,
    ResponseEnded,
    ResponseMade,
    ResponsePaused,
    ResponseResumed,
    ResponseStarted,
    ResponseText,
    ResponseTextEnded,
    SessionEnded,
    SpeechStarted,
    SpeechStopped,
    UserTranscript,
)
from voice_agent.dialogue.manners import PHRASES
from voice_agent.dialogue.outbox import MOST_BYTES
from voice_agent.dialogue.playback import BEHIND_S, STALLED_S
from voice_agent.hosting import END_WITHIN_S
from voice_agent.stages.generator.request import Message, Request

PHRASE = PHRASES["en"]
APOLOGIES = ("I can't think", "I couldn't")
MANNERS = (
    *APOLOGIES,
    "Sorry, ",
    "Please try again",
    "Please say it again",
    PHRASE.filler,
    PHRASE.still_there,
    PHRASE.goodbye,
)
"""How each piece begins of what the agent says of itself."""
DECIDED_WITHIN_S = 1.0
LARGEST_EVENT = 1 << 20

_OfResponse = (
    ResponseText | ResponseTextEnded | ResponseAudio | ResponseMade | ResponsePaused | ResponseResumed
)


def check(conversation: Conversation) -> None:
    """Everything below. What fails is reproduced by the conversation's seed, wire and length."""
    for held in conversation.sessions:
        events = [event for _, event, _ in held.log]
        told = [event for _, event in held.client.read]
        it_ends_only_as_it_should(held)
        nothing_is_left(held)
        no_sound_outside_of_a_response(events)
        no_sound_outside_of_a_response(told)
        pauses_and_resumes_alternate(events)
        pauses_and_resumes_alternate(told, cut=True)
        no_pause_is_long(held)
        no_response_stands_still(held)
        nothing_is_answered_while_the_button_is_held(held)
        every_utterance_with_words_is_answered_at_once(held)
        what_is_told_as_heard_is_text_up_to_there(events)
        one_apology_is_enough(held)
        assert held.most_waiting <= MOST_BYTES + LARGEST_EVENT
        if held.good:
            what_was_heard_is_what_was_played(held)
        for request in held.requests:
            the_model_is_asked_properly(request, bool(held.asked_at))
    assert not +conversation.lots.under_way, conversation.lots.under_way
    speculation = conversation.engines.speculation
    assert not speculation._under_way
    assert speculation.may_begin()
    assert conversation.interim_from < 60
    assert conversation.unforeseen <= conversation.lots.drawn["is faulty"]


def it_ends_only_as_it_should(held: Held) -> None:
    """By the caller, by `SessionEnded`, or because the client does not read."""
    assert held.failure is None, held.failure
    assert held.ended_after_s <= END_WITHIN_S
    ended = [event.reason for _, event, _ in held.log if isinstance(event, SessionEnded)]
    assert set(ended) <= {"quiet", "idle"}
    assert not held.client.too_slow or held.client.habits.reads == "with pauses" or not held.good


def nothing_is_left(held: Held) -> None:
    assert not held.left, held.left


def no_sound_outside_of_a_response(events: Iterable[Event]) -> None:
    """At most one response has the floor, and nothing of one comes before its start or after its end."""
    speaking: str | None = None
    for event in events:
        match event:
            case ResponseStarted():
                assert speaking is None, event
                speaking = event.response
            case _ if isinstance(event, _OfResponse):
                assert event.response == speaking, event
            case ResponseEnded():
                assert event.response == speaking, event
                speaking = None


def pauses_and_resumes_alternate(events: Iterable[Event], *, cut: bool = False) -> None:
    """With `cut`, what comes before the end of a response that was cut off may be missing."""
    paused = False
    for event in events:
        match event:
            case ResponsePaused():
                assert cut or not paused, event
                paused = True
            case ResponseResumed():
                assert paused, event
                paused = False
            case ResponseAudio():
                assert not paused, event
            case ResponseEnded():
                paused = False


def no_pause_is_long(held: Held) -> None:
    """It is soon decided whether the agent goes on, audio or not."""
    paused_at: float | None = None
    for at, event, _ in held.log:
        match event:
            case ResponsePaused():
                paused_at = at
            case ResponseResumed() | ResponseEnded():
                assert paused_at is None or at - paused_at <= DECIDED_WITHIN_S + 1e-6, (paused_at, at)
                paused_at = None


def no_response_stands_still(held: Held) -> None:
    """Something of it comes within a bound: words, audio, or its end."""
    settings = held.settings
    bound_s = (
        settings.llm.turn_timeout_s
        + 2 * (settings.tts.timeout_s + 2)
        + held.options.lead_ms / 1000
        + BEHIND_S
        + STALLED_S
        + 3
    )
    last: float | None = None
    for at, event, _ in held.log:
        if isinstance(event, ResponseStarted | ResponseEnded | _OfResponse):
            assert last is None or at - last < bound_s, (last, at, event)
            last = None if isinstance(event, ResponseEnded) else at
    if last is not None:
        assert held.ended_at - last < bound_s, (last, held.ended_at)


def nothing_is_answered_while_the_button_is_held(held: Held) -> None:
    """Unless the utterance has reached its greatest length."""
    for pressed, released in held.held:
        for at, event, _ in held.log:
            if isinstance(event, ResponseStarted) and pressed < at < released:
                assert at in held.too_long, (at, event)


def every_utterance_with_words_is_answered_at_once(held: Held) -> None:
    """Its turn has a response, begun before anything else is known of the user; if only to apologize."""
    open_turn: int | None = None
    opened_at = 0.0
    for at, event, options in held.log:
        match event:
            case UserTranscript(turn, text, final=True) if text and options.policy.answer:
                assert open_turn is None, (at, event)
                open_turn, opened_at = turn, at
            case ResponseStarted(turn=turn) if open_turn is not None:
                assert turn == open_turn
                assert at == opened_at
                open_turn = None
    assert open_turn is None


def what_is_told_as_heard_is_text_up_to_there(events: Iterable[Event]) -> None:
    """The beginning of the reply's own words, of which those are in it that were played, and none that were not."""
    chunks: list[tuple[float, str]] = []
    ends: list[float] = []
    for event in events:
        match event:
            case ResponseStarted():
                chunks, ends = [], []
            case ResponseText(_, text, start_ms):
                chunks.append((start_ms, text))
            case ResponseTextEnded(_, end_ms):
                ends.append(end_ms)
            case ResponseEnded():
                own = [(at, text) for at, text in chunks if not text.startswith(MANNERS)]
                whole = "".join(text for _, text in own).strip()
                assert whole.startswith(event.heard), event
                begun = "".join(
                    text for at, text in own if at < event.heard_ms + 1 or event.reason == "completed"
                )
                assert len(event.heard) <= len(begun.strip()), event
                followed = pairwise(own)
                past = "".join(text for (_, text), (at, _) in followed if at < event.heard_ms - 1)
                assert event.heard.startswith(past.strip()), (event, past)


def one_apology_is_enough(held: Held) -> None:
    """Of each kind, for each thing that the user said or the client asked for."""
    said: set[tuple[int, str]] = set()
    turn = 0
    for at, event, _ in held.log:
        if isinstance(event, ResponseStarted):
            turn = event.turn
        match event:
            case UserTranscript(final=True) | SpeechStarted() | SpeechStopped():
                said.clear()
            case ResponseStarted() if at in held.asked_at:
                said.clear()
            case ResponseText(_, text, _) if text.startswith(APOLOGIES):
                assert (turn, text) not in said, event
                said.add((turn, text))


def what_was_heard_is_what_was_played(held: Held) -> None:
    for _, event in held.client.read:
        if isinstance(event, ResponseEnded):
            played_ms = held.client.sounded[event.response].played_ms
            # What is on its way has not been played, and the line holds things up at times.
            assert event.heard_ms == pytest.approx(played_ms, abs=60 + 2 * 1000 * LAG_S), event


def the_model_is_asked_properly(request: Request, by_itself: bool) -> None:
    """System, then user, then in turns; nothing empty; every call with its output; nothing that is mere manners."""
    system, *rest = request.messages
    assert system.role == "system"
    if rest or not by_itself:
        assert rest[0].role == "user", request
    if not by_itself:
        assert rest[-1].role == "user", request
    for message in request.messages:
        assert message.content.strip() or message.tool_calls, request
    for one, other in pairwise(rest):
        assert one.role != other.role or one.role == "tool", request
    _calls_have_outputs(rest)
    for message in rest:
        assert not any(phrase in message.content for phrase in MANNERS), message


def _calls_have_outputs(messages: Iterable[Message]) -> None:
    calls = {call.id for message in messages for call in message.tool_calls}
    assert calls == {message.tool_call_id for message in messages if message.role == "tool"}
