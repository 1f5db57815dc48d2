"""Streams that are read as fast as they give, however slowly what they gave is used."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def eager(stream: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The items of `stream`, in order, then what it raised.

    `stream` is over, and what it holds is free, as soon as it has given all. What waits to be taken is bounded by
    nothing but its length. Leaving the iteration closes it.
    """
    waiting: deque[T] = deque()
    news = asyncio.Event()

    async def read() -> None:
        async with aclosing(stream):
            async for item in stream:
                waiting.append(item)
                news.set()

    reading = asyncio.create_task(read())
    reading.add_done_callback(lambda _: news.set())
    try:
        while waiting or not reading.done():
            while waiting:
                yield waiting.popleft()
            news.clear()
            if not reading.done():
                await news.wait()
        reading.result()
    finally:
        reading.cancel()
        await asyncio.wait({reading})
        if not reading.cancelled():
            reading.exception()  # it is known to whoever iterated, or nobody wants to know
