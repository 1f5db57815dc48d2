"""A reply that is left costs the next request no new connection: a real server that knows its clients' addresses."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from tests.stages.generator.serving import (
    HELLO,
    PROMPTLY_S,
    Endpoint,
    Hanging,
    asking,
    reply,
    says,
    serving,
)
from voice_agent.stages.generator.deltas import TextDelta
from voice_agent.stages.generator.openai_api import OpenAIGenerator
from voice_agent.stages.generator.spare import AFTER_S, MOST_OPENING, STALE_S, Spare
from voice_agent.urgency import Need, Urgency

PREPARED = replace(HELLO, need=Need(Urgency.PREPARED))


async def touched(endpoint: Endpoint) -> None:
    async with asyncio.timeout(PROMPTLY_S):
        await endpoint.touched.wait()
    endpoint.touched.clear()


async def opened(generator: OpenAIGenerator) -> None:
    """Until what is opened in the background is there."""
    assert generator._spare
    await asyncio.wait_for(asyncio.gather(*generator._spare._opening), PROMPTLY_S)


async def test_a_prepared_reply_that_is_left_leaves_a_connection_for_the_one_that_follows_at_once() -> None:
    talking = Hanging(("One", "two"))
    async with serving(says("Hi."), talking, says("Fine.")) as endpoint, asking(endpoint) as generator:
        await reply(generator.stream(HELLO))
        async with aclosing(generator.stream(PREPARED)) as deltas:
            assert await anext(deltas) == TextDelta("One")
            await touched(endpoint)
            await opened(generator)
        assert (await reply(generator.stream(HELLO))).text == "Fine."
    first, left, after = endpoint.connections
    assert left == first  # the reply's own request comes first
    assert endpoint.touches == [after] != [left]


@pytest.mark.parametrize("said", [(), ("One",)], ids=["before", "amid"])
async def test_any_reply_that_is_left_leaves_a_connection_for_the_next_turn(said: tuple[str, ...]) -> None:
    talking = Hanging(said)
    async with serving(talking, says("Fine.")) as endpoint, asking(endpoint) as generator:
        task = asyncio.create_task(reply(generator.stream(HELLO)))
        await asyncio.wait_for(talking.waiting.wait(), PROMPTLY_S)
        assert not endpoint.touches  # nobody leaves what is due, as a rule
        task.cancel()
        await asyncio.wait({task})
        await touched(endpoint)
        await opened(generator)
        await reply(generator.stream(HELLO))
    assert endpoint.touches == [endpoint.connections[-1]]


async def test_replies_that_are_not_left_share_one_spare_connection() -> None:
    async with serving(says("Hi.")) as endpoint, asking(endpoint) as generator:
        for _ in range(4):
            await reply(generator.stream(PREPARED))
        await opened(generator)
        await reply(generator.stream(PREPARED))
    assert len(endpoint.touches) == 1


async def test_nothing_is_left_after_close_not_even_amid_the_opening() -> None:
    before = asyncio.all_tasks()
    opening, ended = asyncio.Event(), asyncio.Event()

    async def touch() -> None:
        opening.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    spare = Spare(touch)
    spare.left()
    await asyncio.wait_for(opening.wait(), PROMPTLY_S)
    await spare.close()
    assert ended.is_set()
    spare.left()
    spare.begun()
    assert asyncio.all_tasks() == before


@pytest.mark.looptime
async def test_a_spare_connection_is_opened_again_once_it_may_be_gone() -> None:
    opened = 0

    async def touch() -> None:
        nonlocal opened
        opened += 1

    spare = Spare(touch)
    counts = []
    for pause_s in (2 * AFTER_S, STALE_S / 2, STALE_S):
        spare.begun()
        await asyncio.sleep(pause_s)
        counts.append(opened)
    spare.begun()
    await asyncio.sleep(2 * AFTER_S)
    assert [*counts, opened] == [1, 1, 1, 2]


@pytest.mark.looptime
async def test_failures_are_nobodys_concern_and_few_are_tried_at_once() -> None:
    tried = 0

    async def touch() -> None:
        nonlocal tried
        tried += 1
        await asyncio.sleep(1)
        raise OSError("no route")

    spare = Spare(touch)
    for _ in range(9):
        spare.left()
    await asyncio.sleep(2)
    assert tried == MOST_OPENING
    spare.left()
    await asyncio.sleep(2)
    assert tried == MOST_OPENING + 1
    await spare.close()
