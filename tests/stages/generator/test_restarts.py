"""The embedded language model that ends, and does not come back: how soon it is tried again, and who is told.

Its process is a script here; test_llamacpp.py does the same with llama.cpp.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.scripted import Script
from tests.stages.generator.serving import HELLO, PROMPTLY_S, reply, says, serving
from voice_agent.config import LlmSettings, ModelsSettings
from voice_agent.errors import StageError
from voice_agent.stages.generator import restarts
from voice_agent.stages.generator.llamacpp import LlamaCppGenerator
from voice_agent.stages.generator.restarts import BROKEN_AFTER, PAUSES_S, SETTLED_S, Restarts


def pauses(times: int, fail: Callable[[Restarts], None]) -> list[float]:
    counted, found = Restarts(), []
    for _ in range(times):
        fail(counted)
        found.append(counted.pause_s)
    return found


FAILURES: dict[str, Callable[[Restarts], None]] = {
    "not starting": Restarts.did_not_start,
    "ending soon": lambda counted: counted.ended(SETTLED_S / 2),
}


@pytest.mark.parametrize("row", FAILURES)
def test_the_pauses_grow_and_stay_at_the_longest(row: str) -> None:
    found = pauses(len(PAUSES_S) + 3, FAILURES[row])
    assert found[0] == 0
    assert found[: len(PAUSES_S)] == list(PAUSES_S)
    assert all(before < after for before, after in pairwise(PAUSES_S))
    assert found[-3:] == [PAUSES_S[-1]] * 3


def test_what_ran_for_long_is_started_again_at_once() -> None:
    assert pauses(5, lambda counted: counted.ended(SETTLED_S)) == [0] * 5


def test_several_failures_in_a_row_and_no_fewer_are_told_from_a_crash() -> None:
    counted = Restarts()
    found = [counted.broken]
    for _ in range(BROKEN_AFTER):
        counted.did_not_start()
        found.append(counted.broken)
    assert found == [*[False] * BROKEN_AFTER, True]
    counted.ended(SETTLED_S)
    assert not counted.broken


class ScriptedProcess:
    """In place of `LlamaCppServer`: each start does the next thing of a script, and then again the last."""

    last_words = "none"
    api_key = "secret"
    running = True

    def __init__(self, base_url: str, *script: Exception | None) -> None:
        self.base_url = base_url
        self.starts = 0
        self.end = asyncio.Event()
        self.script: Iterator[Exception | None] = iter(script)
        self._next: Exception | None = None

    def __call__(self, *_: object, **__: object) -> "ScriptedProcess":
        return self

    async def start(self) -> None:
        self._next = next(self.script, self._next)
        self.starts += 1
        await asyncio.sleep(0)
        if self._next:
            raise self._next

    async def ended(self) -> int:
        await self.end.wait()
        self.end.clear()
        return -9

    async def close(self) -> None:
        pass


def embedded(monkeypatch: pytest.MonkeyPatch, process: ScriptedProcess, gguf: Path) -> LlamaCppGenerator:
    gguf.touch()
    monkeypatch.setattr("voice_agent.stages.generator.llamacpp.LlamaCppServer", process)
    return LlamaCppGenerator(LlmSettings(model=str(gguf), turn_timeout_s=PROMPTLY_S), ModelsSettings())


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    return tmp_path / "parrot.gguf"


@pytest.fixture
async def url(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Where the process serves; and nobody waits between two attempts."""
    monkeypatch.setattr(restarts, "PAUSES_S", (0.0,) * len(PAUSES_S))
    async with serving(says("Hi.")) as endpoint:
        yield endpoint.url


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(PROMPTLY_S):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0)


GONE = StageError("generator", "llama.cpp could not load it: parrot.gguf")


async def test_one_that_does_not_come_back_is_not_healthy_and_says_why_until_it_does(
    monkeypatch: pytest.MonkeyPatch, gguf: Path, url: str
) -> None:
    process = ScriptedProcess(url, None, GONE)
    generator = embedded(monkeypatch, process, gguf)
    engines = replace(Script().engines(), generator=generator)
    assert engines.hung is None
    await generator.start()
    assert engines.hung is None
    process.end.set()
    await until(lambda: not generator.healthy)
    assert process.starts >= BROKEN_AFTER
    assert (
        engines.hung and "times in a row" in engines.hung and "could not load it: parrot.gguf" in engines.hung
    )
    assert "thread" not in engines.hung
    process.script = iter([None])
    await until(lambda: generator.healthy)
    assert (await reply(generator.stream(HELLO))).text == "Hi."
    assert engines.hung is None
    await generator.close()


async def test_a_crash_that_is_over_at_once_leaves_it_healthy(
    monkeypatch: pytest.MonkeyPatch, gguf: Path, url: str
) -> None:
    process = ScriptedProcess(url, None)
    generator = embedded(monkeypatch, process, gguf)
    await generator.start()
    process.end.set()
    await until(lambda: process.starts == 2)
    assert generator.healthy
    assert (await reply(generator.stream(HELLO))).text == "Hi."
    await generator.close()


@pytest.mark.parametrize("error", [FileNotFoundError("no certificates"), RuntimeError()])
async def test_a_fault_that_was_not_foreseen_ends_no_attempts(
    monkeypatch: pytest.MonkeyPatch, gguf: Path, url: str, error: Exception
) -> None:
    process = ScriptedProcess(url, None, error, None)
    generator = embedded(monkeypatch, process, gguf)
    await generator.start()
    process.end.set()
    await until(lambda: process.starts == 3)
    assert (await reply(generator.stream(HELLO))).text == "Hi."
    assert generator.healthy
    await generator.close()


async def test_one_that_is_not_started_again_is_not_healthy_and_says_so(
    monkeypatch: pytest.MonkeyPatch, gguf: Path, url: str
) -> None:
    process = ScriptedProcess(url, None)

    async def lost() -> int:
        raise RuntimeError("the event loop lost it")

    monkeypatch.setattr(process, "ended", lost)
    generator = embedded(monkeypatch, process, gguf)
    with suppress(StageError):
        await generator.start()
    await until(lambda: not generator.healthy)
    assert "restart the server" in generator.ailment and "lost it" in generator.ailment
    await generator.close()
