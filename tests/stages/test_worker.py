import asyncio
import threading
from contextlib import aclosing
from typing import Any

import pytest

from voice_agent.errors import SettingsError, StageError
from voice_agent.stages.worker import Worker


@pytest.fixture
async def worker() -> Any:
    worker = Worker("synthesizer", threads=1, timeout_s=5)
    yield worker
    await worker.close()


class Source:
    """A generator that says what became of it, and makes each piece only when it is let."""

    def __init__(self, *, free: bool = True) -> None:
        self.made: list[int] = []
        self.begun = threading.Event()
        self.closed = threading.Event()
        self.go = threading.Event()
        if free:
            self.go.set()

    def pieces(self, count: int) -> Any:
        try:
            for piece in range(count):
                self.begun.set()
                assert self.go.wait(5)
                self.made.append(piece)
                yield piece
        finally:
            self.closed.set()


async def test_gives_every_piece_in_order_from_another_thread(worker: Worker) -> None:
    threads = set()

    def pieces() -> Any:
        for piece in range(5):
            threads.add(threading.get_ident())
            yield piece

    assert [piece async for piece in worker.stream(pieces())] == [0, 1, 2, 3, 4]
    assert threading.get_ident() not in threads


async def test_makes_at_most_one_piece_ahead_of_its_reader(worker: Worker) -> None:
    source = Source()
    async with aclosing(worker.stream(source.pieces(100))) as stream:
        for taken in range(1, 5):
            await anext(stream)
            await worker.run(lambda: None)  # behind the piece that is made ahead, in the same thread
            assert len(source.made) == taken + 1


async def test_streams_that_share_a_thread_take_turns(worker: Worker) -> None:
    order: list[str] = []

    def pieces(name: str) -> Any:
        for _ in range(4):
            order.append(name)
            yield name

    async def read(name: str) -> None:
        async for _ in worker.stream(pieces(name)):
            pass

    await asyncio.gather(read("a"), read("b"))
    assert order == ["a", "b"] * 4


async def test_leaving_closes_the_generator_at_its_next_piece_and_frees_the_thread(worker: Worker) -> None:
    source, stop = Source(), threading.Event()
    pieces = source.pieces(100)
    async with aclosing(worker.stream(pieces, stop)) as stream:
        assert await anext(stream) == 0
        assert not stop.is_set()
    assert stop.is_set()
    await worker.run(lambda: None)
    assert source.closed.is_set()
    assert len(source.made) <= 2


async def test_leaving_does_not_wait_for_the_piece_that_is_being_made(worker: Worker) -> None:
    source = Source(free=False)
    pieces = source.pieces(100)
    reader = asyncio.ensure_future(anext(worker.stream(pieces)))
    await asyncio.to_thread(source.begun.wait, 5)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert not source.closed.is_set()
    source.go.set()
    await worker.run(lambda: None)
    assert source.closed.is_set()
    assert source.made == [0]


async def test_work_that_waits_for_a_thread_is_dropped_when_its_reader_leaves(worker: Worker) -> None:
    first, second = Source(free=False), Source()
    running = asyncio.ensure_future(anext(worker.stream(first.pieces(1))))
    await asyncio.to_thread(first.begun.wait, 5)
    waiting = asyncio.ensure_future(anext(worker.stream(second.pieces(1))))
    await asyncio.sleep(0)  # lets it ask for a thread
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    first.go.set()
    assert await running == 0
    await worker.run(lambda: None)
    assert not second.begun.is_set()


async def test_a_failure_of_the_engine_is_a_stage_error_that_names_it(worker: Worker) -> None:
    def pieces() -> Any:
        yield 1
        raise RuntimeError("out of memory")

    with pytest.raises(StageError, match="synthesizer failed: RuntimeError: out of memory") as caught:
        _ = [piece async for piece in worker.stream(pieces())]
    assert caught.value.stage == "synthesizer"


async def test_an_error_of_this_project_passes_unchanged(worker: Worker) -> None:
    def pieces() -> Any:
        raise SettingsError("no such voice")
        yield 1

    with pytest.raises(SettingsError, match="no such voice"):
        await anext(worker.stream(pieces()))


async def test_no_piece_within_the_time_out_is_a_stage_error() -> None:
    worker, source = Worker("synthesizer", threads=1, timeout_s=0.05), Source(free=False)
    with pytest.raises(StageError, match=r"gave nothing for 0\.05 s"):
        await anext(worker.stream(source.pieces(1)))
    source.go.set()
    await worker.close()
    assert source.closed.is_set()


async def test_close_ends_what_runs_drops_what_waits_and_leaves_no_thread() -> None:
    worker = Worker("closing-test", threads=1, timeout_s=5)
    stop, begun = threading.Event(), threading.Event()

    def until_stopped() -> Any:
        begun.set()
        assert stop.wait(5)
        yield 1

    running = asyncio.ensure_future(anext(worker.stream(until_stopped(), stop)))
    await asyncio.to_thread(begun.wait, 5)
    dropped = Source()
    waiting = asyncio.ensure_future(anext(worker.stream(dropped.pieces(1))))
    await asyncio.sleep(0)  # lets it ask for a thread
    await worker.close()
    assert not dropped.begun.is_set()
    outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
    assert all(isinstance(outcome, StageError) for outcome in outcomes), outcomes
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("closing-test")]
    with pytest.raises(StageError, match="closed"):
        await anext(worker.stream(Source().pieces(1)))
