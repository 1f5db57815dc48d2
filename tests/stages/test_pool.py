"""An engine's threads: who goes first, and what becomes of one that hangs."""

import logging
import math
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest
from prometheus_client import REGISTRY

from voice_agent.stages import pool as pool_module
from voice_agent.stages.pool import MOST_LOST, Job, Pool, PoolClosedError
from voice_agent.urgency import Need, Urgency

WAIT_S = 10
"""Longer than anything here takes: a test that comes to this has failed."""

LIMIT_S = 60.0
"""Of a job that is not to hang."""


class Work:
    """Calls for a pool that hold their thread until they are let go, and say in which order they began."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._may_end = threading.Event()
        self._counted = threading.Condition()

    def call(self, name: str) -> Callable[[], str]:
        def run() -> str:
            with self._counted:
                self.begun.append(name)
                self._counted.notify_all()
            assert self._may_end.wait(WAIT_S)
            return name

        return run

    def let_go(self) -> None:
        self._may_end.set()

    def until_begun(self, count: int) -> None:
        with self._counted:
            assert self._counted.wait_for(lambda: len(self.begun) >= count, WAIT_S)


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.let_go()


@pytest.fixture
def one() -> Iterator[Pool]:
    pool = Pool("test", 1)
    yield pool
    end(pool)


def submit(pool: Pool, call: Callable[[], Any], *, background: bool = False) -> Job[Any]:
    need = Need(Urgency.AHEAD, math.inf) if background else None
    return pool.submit(call, limit_s=LIMIT_S, need=need)


def results(jobs: list[Job[Any]]) -> list[Any]:
    return [job.outcome.result(WAIT_S) for job in jobs]


def end(pool: Pool) -> None:
    ended, _ = pool.close()
    ended.result(WAIT_S)


def test_urgent_jobs_go_before_background_ones_that_came_earlier(one: Pool, work: Work) -> None:
    jobs = [submit(one, work.call("running"))]
    work.until_begun(1)
    jobs += [submit(one, work.call(f"background {n}"), background=True) for n in (1, 2)]
    jobs += [submit(one, work.call(f"urgent {n}")) for n in (1, 2)]
    work.let_go()
    results(jobs)
    assert work.begun == ["running", "urgent 1", "urgent 2", "background 1", "background 2"]


@pytest.mark.parametrize("background", [True, False])
def test_what_is_dropped_before_its_turn_never_runs(one: Pool, work: Work, background: bool) -> None:
    running = submit(one, work.call("running"))
    work.until_begun(1)
    dropped = submit(one, work.call("dropped"), background=background)
    last = submit(one, work.call("last"), background=background)
    dropped.drop()
    work.let_go()
    assert results([running, last]) == ["running", "last"]
    assert work.begun == ["running", "last"]


def test_what_is_dropped_is_let_go_of_at_once(one: Pool, work: Work) -> None:
    class Held:
        def __call__(self) -> None: ...

    running = submit(one, work.call("running"))
    work.until_begun(1)
    held = Held()
    gone = weakref.ref(held)
    dropped = submit(one, held)
    del held
    assert gone()
    dropped.drop()
    assert not gone()
    work.let_go()
    results([running])


def test_the_most_urgent_goes_first_as_judged_when_a_thread_is_free(one: Pool, work: Work) -> None:
    running = submit(one, work.call("running"))
    work.until_begun(1)
    now = time.monotonic()
    needs = {
        "ahead, for long": Need(Urgency.AHEAD, now + 60),
        "ahead, nearly dry": Need(Urgency.AHEAD, now + 0.5),
        "prepared": Need(Urgency.PREPARED, now),
        "prepared, then due": Need(Urgency.PREPARED, now),
        "due": Need(Urgency.DUE, now),
        "due before": Need(Urgency.DUE, now - 1),
        "barge-in": Need(Urgency.BARGE_IN, now + 1),
        "likely": Need(Urgency.LIKELY, now),
    }
    jobs = [one.submit(work.call(name), limit_s=LIMIT_S, need=need) for name, need in needs.items()]
    needs["prepared, then due"].urgency, needs["prepared, then due"].by = Urgency.DUE, now + 0.1
    work.let_go()
    results([running, *jobs])
    assert work.begun[1:] == [
        "barge-in",
        "due before",
        "due",
        "prepared, then due",
        "ahead, nearly dry",
        "likely",
        "prepared",
        "ahead, for long",
    ]


def test_work_ahead_of_time_never_takes_the_spare_thread(work: Work) -> None:
    pool = Pool("test", 3, spare=1)
    looks = [submit(pool, work.call(f"background {n}"), background=True) for n in range(3)]
    work.until_begun(2)
    urgent = submit(pool, work.call("urgent"))
    work.until_begun(3)
    assert work.begun[2:] == ["urgent"]
    work.let_go()
    # The third had been passed over, and is not forgotten.
    assert results([*looks, urgent]) == ["background 0", "background 1", "background 2", "urgent"]
    end(pool)


def test_a_background_job_uses_the_only_thread_when_nothing_else_waits(one: Pool, work: Work) -> None:
    work.let_go()
    assert results([submit(one, work.call("background"), background=True)]) == ["background"]


@pytest.mark.parametrize(
    "error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(3), CancelledError()]
)
def test_a_failure_reaches_who_asked_and_ends_nobody(one: Pool, error: BaseException) -> None:
    def fail() -> None:
        raise error

    for background in (True, False):
        failed = submit(one, fail, background=background).outcome.exception(WAIT_S)
        assert isinstance(failed, ValueError | RuntimeError)
        assert str(failed) in (str(error), repr(error))
    assert results([submit(one, lambda: "fine")]) == ["fine"]


def test_a_call_that_runs_out_of_its_iterator_has_failed(one: Pool) -> None:
    failed = submit(one, lambda: next(iter(()))).outcome.exception(WAIT_S)
    assert isinstance(failed, RuntimeError)


def test_closing_fails_what_waits_and_ends_the_threads(work: Work) -> None:
    pool = Pool("test", 1)
    running = submit(pool, work.call("running"))
    work.until_begun(1)
    waiting = [submit(pool, work.call("waiting"), background=background) for background in (True, False)]
    ended, threads = pool.close()
    for job in waiting:
        with pytest.raises(PoolClosedError, match="closed"):
            job.outcome.result(WAIT_S)
    assert not ended.done()
    work.let_go()
    ended.result(WAIT_S)
    assert results([running]) == ["running"]
    assert work.begun == ["running"]
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    with pytest.raises(PoolClosedError, match="closed"):
        submit(pool, lambda: "late")


def test_a_pool_that_was_never_used_ends_at_once() -> None:
    ended, threads = Pool("test", 4).close()
    assert ended.done()
    assert threads == []


class Hanging:
    """A pool with calls that hang until they are let go, on a clock that stands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
        self.now = 0.0
        monkeypatch.setattr(pool_module, "monotonic", lambda: self.now)
        self.pool = Pool("hanging", threads)
        self.threads: list[threading.Thread] = []
        self._go = threading.Event()

    def hang(self, *, limit_s: float = 10.0) -> Job[Any]:
        """Begins a call that hangs."""
        begun = threading.Event()

        def call() -> None:
            self.threads.append(threading.current_thread())
            begun.set()
            assert self._go.wait(WAIT_S)

        job = self.pool.submit(call, limit_s=limit_s)
        assert begun.wait(WAIT_S)
        return job

    def let_go(self) -> None:
        self._go.set()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.pool.look_after()


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    made = Hanging(monkeypatch, 1)
    yield made
    made.let_go()
    end(made.pool)
    for thread in made.threads:
        thread.join(WAIT_S)


def lost(stage: str = "hanging") -> float:
    return REGISTRY.get_sample_value("voice_agent_engine_threads_lost_total", {"stage": stage}) or 0.0


def test_a_thread_that_hangs_is_replaced_counted_and_logged_once(
    hanging: Hanging, caplog: pytest.LogCaptureFixture
) -> None:
    before = lost()
    hanging.hang()
    behind = submit(hanging.pool, threading.current_thread)
    hanging.pass_time(10)
    assert not behind.outcome.done(), "given up too early"
    hanging.pass_time(pool_module.STOP_S)
    assert results([behind]) == results([submit(hanging.pool, threading.current_thread)])
    hanging.pass_time(1000)
    assert lost() == before + 1
    assert hanging.pool.healthy
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "a thread of the hanging hung for over 10 s" in caplog.text


def test_who_waits_is_told_when_to_look_again(hanging: Hanging) -> None:
    assert hanging.pool.look_after() is None
    hanging.hang(limit_s=10)
    hanging.now += 4
    assert hanging.pool.look_after() == pytest.approx(6 + pool_module.STOP_S)


def test_another_request_is_enough_to_notice_it(hanging: Hanging) -> None:
    hanging.hang()
    hanging.now += 11
    assert results([submit(hanging.pool, lambda: "fine")]) == ["fine"]


def test_when_too_many_hang_it_is_unhealthy_and_refuses(hanging: Hanging) -> None:
    for count in range(MOST_LOST):
        assert hanging.pool.healthy, count
        hanging.hang()
        hanging.now += 11
    assert not hanging.pool.healthy
    with pytest.raises(PoolClosedError, match=f"{MOST_LOST} of its threads hang"):
        submit(hanging.pool, lambda: "never")
    assert len(hanging.threads) == MOST_LOST


class ComeBack(logging.Handler):
    """Knows how many threads have come back."""

    def __init__(self) -> None:
        super().__init__()
        self._count = threading.Semaphore(0)

    def emit(self, record: logging.LogRecord) -> None:
        if "has come back" in record.getMessage():
            self._count.release()

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self._count.acquire(timeout=WAIT_S)


def test_threads_that_come_back_are_used_again_and_those_too_many_end(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = ComeBack()
    monkeypatch.setattr(pool_module.log, "handlers", [back])
    for _ in range(MOST_LOST):
        hanging.hang()
        hanging.now += 11
    assert not hanging.pool.healthy
    hanging.let_go()
    back.wait(MOST_LOST)
    assert hanging.pool.healthy
    [survivor] = results([submit(hanging.pool, threading.current_thread)])
    for thread in set(hanging.threads) - {survivor}:
        thread.join(WAIT_S)
    assert [thread for thread in hanging.threads if thread.is_alive()] == [survivor]


def test_without_a_thread_from_the_system_it_refuses_and_goes_on_when_there_is_one(
    one: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", start)
        with pytest.raises(PoolClosedError, match="no thread"):
            submit(one, lambda: "never")
    assert results([submit(one, lambda: "fine")]) == ["fine"]


def test_a_thread_that_hangs_keeps_no_process_from_ending() -> None:
    code = (
        "import threading, time\n"
        "from voice_agent.stages.pool import Pool\n"
        "begun = threading.Event()\n"
        "pool = Pool('x', 1)\n"
        "pool.submit(lambda: (begun.set(), threading.Event().wait()), limit_s=1)\n"
        "assert begun.wait(10)\n"
        "pool.close()\n"
        "print('end')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "end\n", "")


def test_many_jobs_begun_dropped_failed_and_done_leave_no_more_threads_than_there_may_be() -> None:
    before = set(threading.enumerate())
    pool = Pool("test", 3, spare=1)
    jobs = [submit(pool, lambda n=n: 1 // (n % 5), background=n % 2 == 0) for n in range(500)]  # type: ignore[misc]
    for job in jobs[::3]:
        job.drop()
    for job in jobs:
        if not job.outcome.cancelled():
            job.outcome.exception(WAIT_S)
    assert len(set(threading.enumerate()) - before) <= 3
    ended, threads = pool.close()
    ended.result(WAIT_S)
    for thread in threads:
        thread.join(WAIT_S)
    assert set(threading.enumerate()) <= before
