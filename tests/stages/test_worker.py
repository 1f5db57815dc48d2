import asyncio
import gc
import threading
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from voice_agent.errors import SettingsError, StageError
from voice_agent.stages import pool
from voice_agent.stages import worker as worker_module
from voice_agent.stages.pool import MOST_LOST
from voice_agent.stages.worker import TookTooLongError, Worker

WAIT_S = 10.0
"""Longer than anything here takes: a test that comes to this has failed."""


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
    worker, source, stop = (
        Worker("synthesizer", threads=1, timeout_s=0.05),
        Source(free=False),
        threading.Event(),
    )
    with pytest.raises(TookTooLongError, match=r"gave nothing for 0\.05 s"):
        await anext(worker.stream(source.pieces(1), stop))
    assert stop.is_set()
    source.go.set()
    await worker.close()
    assert source.closed.is_set()


async def test_a_call_that_takes_too_long_is_a_stage_error_and_is_told_to_stop(worker: Worker) -> None:
    stop = threading.Event()
    with pytest.raises(TookTooLongError, match=r"gave nothing for 0\.05 s"):
        await worker.run(lambda: stop.wait(WAIT_S), timeout_s=0.05, stop=stop)
    assert stop.is_set()
    await worker.run(lambda: None)


async def test_loading_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, go = Worker("synthesizer", threads=1, timeout_s=0.01), threading.Event()
    loading = asyncio.ensure_future(worker.load(lambda: go.wait(WAIT_S)))
    await asyncio.sleep(0)  # lets it begin
    with pytest.raises(TookTooLongError):  # by now it would have timed out as well
        await worker.run(lambda: None)
    go.set()
    assert await loading
    monkeypatch.setattr(worker_module, "LOADING_S", 0.05)
    with pytest.raises(TookTooLongError):
        await worker.load(lambda: threading.Event().wait(1))
    await worker.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs is given up at its limit, and not waited for when all is closed."""
    monkeypatch.setattr(pool, "STOP_S", 0.0)
    monkeypatch.setattr(worker_module, "CLOSING_S", 0.05)


class Hang:
    """Calls that hang until the test is over."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __call__(self) -> bool:
        return self.go.wait(60)


@pytest.fixture
def hang() -> Any:
    made = Hang()
    yield made
    made.go.set()


@pytest.mark.usefixtures("impatient")
async def test_a_voice_that_hangs_once_costs_the_others_nothing(hang: Hang) -> None:
    worker = Worker("synthesizer", threads=1, timeout_s=0.05)

    def hangs() -> Any:
        yield hang()

    with pytest.raises(StageError):
        await anext(worker.stream(hangs()))
    assert [piece async for piece in worker.stream(iter_of([1, 2]))] == [1, 2]
    assert worker.healthy
    await worker.close()


@pytest.mark.usefixtures("impatient")
async def test_who_waits_behind_a_thread_that_hangs_gets_one_as_soon_as_that_is_given_up(hang: Hang) -> None:
    worker = Worker("synthesizer", threads=1, timeout_s=WAIT_S)
    hung = asyncio.ensure_future(worker.run(hang, timeout_s=0.05))
    assert await worker.run(lambda: "said") == "said"
    with pytest.raises(TookTooLongError):
        await hung
    await worker.close()


@pytest.mark.usefixtures("impatient")
async def test_a_hung_thread_is_noticed_though_its_reader_has_left(hang: Hang) -> None:
    worker = Worker("synthesizer", threads=1, timeout_s=0.05)
    begun = threading.Event()

    def hangs() -> Any:
        begun.set()
        yield hang()

    reader = asyncio.ensure_future(anext(worker.stream(hangs())))
    await asyncio.to_thread(begun.wait, WAIT_S)
    reader.cancel()
    assert await worker.run(lambda: "said", timeout_s=WAIT_S) == "said"
    await worker.close()


@pytest.mark.usefixtures("impatient")
async def test_an_engine_whose_threads_all_hang_says_so_at_once(hang: Hang) -> None:
    worker = Worker("synthesizer", threads=1, timeout_s=0.02)
    for _ in range(MOST_LOST):
        assert worker.healthy
        with pytest.raises(TookTooLongError):
            await worker.run(hang)
    assert not worker.healthy
    with pytest.raises(StageError, match="the synthesizer is not working: 4 of its threads hang"):
        await worker.run(lambda: None)
    await worker.close()


@pytest.mark.usefixtures("impatient")
async def test_close_does_not_wait_for_a_thread_that_hangs(hang: Hang) -> None:
    worker = Worker("synthesizer", threads=2, timeout_s=WAIT_S)
    hung = asyncio.ensure_future(worker.run(hang))
    assert await worker.run(lambda: "said") == "said"  # by now the other one hangs
    await worker.close()
    await worker.close()
    with pytest.raises(StageError, match="the synthesizer is closed"):
        await hung


def iter_of(pieces: list[Any]) -> Any:
    yield from pieces


async def closed(stream: Any) -> None:
    await stream.aclose()


async def thrown_into(stream: Any) -> None:
    with pytest.raises(ValueError, match="thrown"):
        await stream.athrow(ValueError("thrown"))


async def cancelled_before_its_first_step(stream: Any) -> None:
    task = asyncio.ensure_future(anext(stream))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def read_a_little_and_dropped(stream: Any) -> None:
    async for _ in stream:
        break


async def read_a_little_and_closed(stream: Any) -> None:
    async with aclosing(stream):
        await anext(stream)


async def read_to_its_end(stream: Any) -> None:
    async for _ in stream:
        pass


async def never_read(stream: Any) -> None: ...


@pytest.mark.parametrize(
    "use",
    [
        never_read,
        closed,
        thrown_into,
        cancelled_before_its_first_step,
        read_a_little_and_dropped,
        read_a_little_and_closed,
        read_to_its_end,
    ],
)
async def test_however_a_stream_is_left_nothing_of_it_remains(
    worker: Worker, use: Callable[[Any], Any]
) -> None:
    pieces, stop = iter_of([1, 2, 3]), threading.Event()
    stream = worker.stream(pieces, stop)
    await use(stream)
    del stream
    gc.collect()
    await worker.run(lambda: None)
    assert pieces.gi_frame is None, "not closed"
    assert stop.is_set()
    assert worker._stops == set()


async def test_a_stream_that_was_left_gives_nothing_more(worker: Worker) -> None:
    stream = worker.stream(iter_of([1, 2, 3]))
    assert await anext(stream) == 1
    await stream.aclose()
    assert [piece async for piece in stream] == []


async def test_a_cycle_that_holds_a_stream_is_collected_in_another_thread(worker: Worker) -> None:
    pieces = iter_of([1, 2, 3])
    stream: Any = worker.stream(pieces)
    await anext(stream)
    stream.itself = stream
    del stream
    await worker.run(gc.collect)
    await worker.run(lambda: None)
    assert pieces.gi_frame is None


@pytest.mark.usefixtures("impatient")
async def test_after_many_streams_of_every_fate_there_are_as_many_threads_as_before() -> None:
    before = set(threading.enumerate())
    worker, go = Worker("fates", threads=2, timeout_s=0.02), threading.Event()

    def hangs() -> Any:
        yield go.wait(WAIT_S)

    fates = [never_read, closed, cancelled_before_its_first_step, read_a_little_and_dropped, read_to_its_end]
    for count in range(100):
        await fates[count % len(fates)](worker.stream(iter_of([1, 2, 3])))
    for _ in range(MOST_LOST - 1):
        with pytest.raises(StageError):
            await anext(worker.stream(hangs()))
    assert MOST_LOST - 1 <= len(set(threading.enumerate()) - before) <= 2 + MOST_LOST - 1
    go.set()
    await worker.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT_S)
    assert set(threading.enumerate()) <= before
    assert worker._stops == set()


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
