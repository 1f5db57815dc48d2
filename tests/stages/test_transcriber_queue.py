import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from voice_agent.stages.transcriber.queue import Queue

WAIT_S = 10
"""Longer than anything here takes: a test that comes to this has failed."""


class Work:
    """Calls for a queue that hold their thread until they are let go, and say in which order they began."""

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
def one() -> Iterator[Queue[str]]:
    queue = Queue[str](1)
    yield queue
    queue.close()


def results(futures: list[Future[str]]) -> list[str]:
    return [future.result(WAIT_S) for future in futures]


def test_whole_utterances_go_before_partial_ones_that_came_earlier(one: Queue[str], work: Work) -> None:
    futures = [one.submit(work.call("running"))]
    work.until_begun(1)
    futures += [one.submit(work.call(f"partial {n}"), partial=True) for n in (1, 2)]
    futures += [one.submit(work.call(f"whole {n}")) for n in (1, 2)]
    work.let_go()
    results(futures)
    assert work.begun == ["running", "whole 1", "whole 2", "partial 1", "partial 2"]


@pytest.mark.parametrize("partial", [True, False])
def test_what_is_cancelled_before_its_turn_never_runs(one: Queue[str], work: Work, partial: bool) -> None:
    running = one.submit(work.call("running"))
    work.until_begun(1)
    dropped = one.submit(work.call("dropped"), partial=partial)
    last = one.submit(work.call("last"), partial=partial)
    assert dropped.cancel()
    work.let_go()
    assert results([running, last]) == ["running", "last"]
    assert work.begun == ["running", "last"]


def test_partial_utterances_never_take_the_last_thread(work: Work) -> None:
    queue = Queue[str](3)
    looks = [queue.submit(work.call(f"partial {n}"), partial=True) for n in range(3)]
    work.until_begun(2)
    whole = queue.submit(work.call("whole"))
    work.until_begun(3)
    assert work.begun[2:] == ["whole"]
    work.let_go()
    # The third had been passed over, and is not forgotten.
    assert results([*looks, whole]) == ["partial 0", "partial 1", "partial 2", "whole"]
    queue.close()


def test_a_partial_utterance_uses_the_only_thread_when_nothing_else_waits(
    one: Queue[str], work: Work
) -> None:
    work.let_go()
    assert one.submit(work.call("partial"), partial=True).result(WAIT_S) == "partial"


def test_a_failure_reaches_who_asked_and_the_queue_goes_on(one: Queue[str]) -> None:
    def fail() -> str:
        raise ValueError("broken")

    for partial in (True, False):
        with pytest.raises(ValueError, match="broken"):
            one.submit(fail, partial=partial).result(WAIT_S)
    assert one.submit(lambda: "fine").result(WAIT_S) == "fine"


def test_closing_fails_what_waits_and_ends_the_threads(work: Work) -> None:
    queue = Queue[str](1)
    running = queue.submit(work.call("running"))
    work.until_begun(1)
    waiting = [queue.submit(work.call("waiting"), partial=partial) for partial in (True, False)]
    closing = threading.Thread(target=queue.close)
    closing.start()
    for future in waiting:
        with pytest.raises(RuntimeError, match="closed"):
            future.result(WAIT_S)
    work.let_go()
    closing.join(WAIT_S)
    assert running.result() == "running"
    assert work.begun == ["running"]
    with pytest.raises(RuntimeError, match="closed"):
        queue.submit(lambda: "late")
