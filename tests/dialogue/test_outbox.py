"""Events on their way out."""

import asyncio

import pytest

from tests.dialogue.calling import SETTINGS, calling
from tests.scripted import Script
from voice_agent.dialogue.events import (
    Event,
    Pong,
    ResponseEnded,
    SessionError,
    TurnTimeline,
)
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.outbox import AT_ONCE, MOST_BYTES, ClientTooSlow
from voice_agent.dialogue.session import Session, open_session

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("plain_evidence")]


async def test_a_session_whose_events_nobody_takes_ends() -> None:
    async with open_session(Script().engines(), SETTINGS, SessionOptions()) as session:
        for _ in range(MOST_BYTES // 1000 + 1):
            session._outbox.put(SessionError("code", "x" * 1000))
        with pytest.raises(ClientTooSlow):
            await anext(session.events())


async def test_a_client_that_asks_for_more_than_it_reads_is_made_to_wait() -> None:
    async with open_session(Script().engines(), SETTINGS, SessionOptions()) as session:
        asking = asyncio.create_task(_ask(session, 100_000))
        await asyncio.sleep(1)
        assert not asking.done()
        events = session.events()
        assert [await anext(events) for _ in range(100_000)] == [Pong(n, 0.0) for n in range(100_000)]
        await asking


async def _ask(session: Session, times: int) -> None:
    for n in range(times):
        await session.room()
        session.report(Pong(n, 0.0))


async def test_a_subscriber_that_fails_fails_nothing() -> None:
    seen: list[Event] = []

    def show(event: Event) -> None:
        seen.append(event)
        raise ZeroDivisionError

    async with calling(Script()) as caller:
        caller.session.subscribe(show)
        caller.session.read("hello")
        assert (await caller.until(ResponseEnded)).reason == "completed"
        await caller.until(TurnTimeline)
    assert seen == caller.events


async def test_other_sessions_have_their_turn_while_much_is_read_and_asked() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with open_session(Script().engines(), SETTINGS, SessionOptions()) as session:
        others = asyncio.create_task(take_turns())
        await _ask(session, 1000)
        assert turns >= 1000 // AT_ONCE - 2
        asked, events = turns, session.events()
        for _ in range(1000):
            await anext(events)
        assert turns - asked >= 1000 // AT_ONCE - 2
        others.cancel()
