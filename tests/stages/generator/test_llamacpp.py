"""The embedded language model, which outlives its process. With real weights, but where the file never loads."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.stages.generator.serving import Answer
from tests.stages.generator.test_llamacpp_server import ended
from voice_agent.config import LlmSettings, ModelsSettings
from voice_agent.errors import ContextTooLong, StageError
from voice_agent.stages.generator.deltas import TextDelta
from voice_agent.stages.generator.llamacpp import LlamaCppGenerator
from voice_agent.stages.generator.llamacpp_server import SLOTS
from voice_agent.stages.generator.request import Message, Request

REPLY_S = 60.0
"""Bound on a reply by a machine that has other things to do."""
PATIENT: dict[str, Any] = {"temperature": 0, "first_token_timeout_s": REPLY_S, "turn_timeout_s": REPLY_S}

FOREVER = {"ignore_eos": True, "max_tokens": 1900}
"""Far more than is generated while a test runs (1900 tokens took 30 s on an idle machine)."""


def embedded(gguf: Path, **settings: Any) -> LlamaCppGenerator:
    return LlamaCppGenerator(LlmSettings(model=str(gguf), **{**PATIENT, **settings}), ModelsSettings())


@pytest.fixture
async def generator(gguf: Path) -> AsyncIterator[LlamaCppGenerator]:
    generator = embedded(gguf)
    await generator.start()
    yield generator
    await generator.close()


def conversation(generator: LlamaCppGenerator, *turns: str) -> Request:
    roles = ("user", "assistant")
    said = [Message(roles[n % 2], text) for n, text in enumerate(turns)]  # type: ignore[arg-type]
    return Request((Message("system", generator.instructions), *said))


async def ask(generator: LlamaCppGenerator, *turns: str) -> Answer:
    answer = Answer()
    async with (
        asyncio.timeout(REPLY_S),
        aclosing(generator.stream(conversation(generator, *turns))) as deltas,
    ):
        async for delta in deltas:
            answer.take(delta)
    assert answer.end
    return answer


async def pid_of(generator: LlamaCppGenerator, other_than: int | None = None) -> int:
    """Its process, waited for if need be."""
    async with asyncio.timeout(REPLY_S):
        while True:
            server = generator._server
            if server and server.running and server.pid and server.pid != other_than:
                return server.pid
            await asyncio.sleep(0.01)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(REPLY_S):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# While it loads


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file that never loads."""
    os.mkfifo(tmp_path / "endless.gguf")
    return tmp_path / "endless.gguf"


async def test_closing_amid_the_start_ends_it(endless: Path) -> None:
    generator = embedded(endless)
    before = asyncio.all_tasks()
    starting = asyncio.create_task(generator.start())
    pid = await pid_of(generator)
    await generator.close()
    assert ended(pid, within_s=0)
    with pytest.raises(StageError, match="closed while it started"):
        await starting
    assert asyncio.all_tasks() == before


async def test_cancelling_the_start_ends_it(endless: Path) -> None:
    generator = embedded(endless)
    starting = asyncio.create_task(generator.start())
    pid = await pid_of(generator)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert ended(pid, within_s=0)


async def test_a_turn_waits_for_it_no_longer_than_a_turn_lasts(endless: Path) -> None:
    generator = embedded(endless, turn_timeout_s=0.1)
    starting = asyncio.create_task(generator.start())
    await pid_of(generator)
    with pytest.raises(StageError, match=r"not ready within 0\.1 s \(VOICE_AGENT_LLM__TURN_TIMEOUT_S\)"):
        await ask(generator, "Hello!")
    await generator.close()
    with suppress(StageError):
        await starting


async def test_a_turn_that_leaves_does_not_end_what_loads(endless: Path) -> None:
    generator = embedded(endless)
    starting = asyncio.create_task(generator.start())
    pid = await pid_of(generator)
    turn = asyncio.create_task(ask(generator, "Hello!"))
    await asyncio.sleep(0)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert await pid_of(generator) == pid
    assert not starting.done()
    await generator.close()
    with suppress(StageError):
        await starting


# With weights


@pytest.mark.engines
async def test_replies_in_pieces_to_several_at_once(generator: LlamaCppGenerator) -> None:
    answer = await ask(generator, "What is the capital of France?")
    assert len(answer.texts) > 1
    assert "Paris" in answer.text
    assert answer.end and answer.end.usage and answer.end.usage.completion_tokens >= len(answer.texts) - 1
    replies = await asyncio.gather(
        *(ask(generator, f"Tell me about the number {n}.") for n in range(SLOTS + 2))
    )
    assert all(reply.text for reply in replies)


@pytest.mark.engines
async def test_a_reply_that_reaches_its_limit_says_so(generator: LlamaCppGenerator) -> None:
    asked = conversation(generator, "Tell me a long story.")
    answer = Answer()
    async for delta in generator.stream(Request(asked.messages, max_tokens=3)):
        answer.take(delta)
    assert answer.text
    assert answer.end and answer.end.reason == "length"


@pytest.mark.engines
async def test_leaving_a_reply_frees_its_slot(gguf: Path) -> None:
    generator = embedded(gguf, extra_body=FOREVER)
    await generator.start()
    try:
        for _ in range(SLOTS + 1):  # were they not freed, the last would wait for the first to end
            async with (
                asyncio.timeout(10),
                aclosing(generator.stream(conversation(generator, "Hello!"))) as deltas,
            ):
                assert await anext(deltas)
    finally:
        await generator.close()


@pytest.mark.engines
async def test_a_conversation_that_is_too_long_is_refused(generator: LlamaCppGenerator) -> None:
    with pytest.raises(ContextTooLong, match=r"longer than .* can read"):
        await ask(generator, "word " * 3000)


@pytest.mark.engines
async def test_a_crash_costs_the_reply_and_not_the_next(generator: LlamaCppGenerator) -> None:
    pid = await pid_of(generator)
    async with aclosing(generator.stream(conversation(generator, "Tell me a long story."))) as deltas:
        assert isinstance(await anext(deltas), TextDelta)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(StageError, match=r"llama\.cpp ended in the middle of the reply.*code -9"):
            async for _ in deltas:
                pass
    assert (await ask(generator, "Hello!")).text


@pytest.mark.engines
async def test_it_is_started_again_at_once_though_nobody_asks(generator: LlamaCppGenerator) -> None:
    pid = await pid_of(generator)
    os.kill(pid, signal.SIGKILL)
    again = await pid_of(generator, other_than=pid)
    turn = asyncio.create_task(ask(generator, "Hello!"))
    await asyncio.sleep(0)
    turn.cancel()  # the user goes on speaking
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert (await ask(generator, "Hello!")).text
    assert await pid_of(generator) == again


@pytest.mark.engines
async def test_a_crash_before_the_first_text_costs_no_reply(generator: LlamaCppGenerator) -> None:
    pid = await pid_of(generator)
    os.kill(pid, signal.SIGSTOP)  # it takes the request, and does not answer
    turn = asyncio.create_task(ask(generator, "Hello!"))
    await asyncio.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    assert (await turn).text


@pytest.mark.engines
async def test_a_turn_that_waited_in_vain_for_a_restart_says_so(gguf: Path, endless: Path) -> None:
    generator = embedded(gguf, turn_timeout_s=1.0)
    await generator.start()
    pid = await pid_of(generator)
    assert generator._server
    generator._server._job = replace(generator._server._job, gguf=str(endless))
    os.kill(pid, signal.SIGKILL)
    again = await pid_of(generator, other_than=pid)
    with pytest.raises(
        StageError, match=r"not ready within 1 s .*TURN_TIMEOUT_S.*ended by itself \(code -9\)"
    ):
        await ask(generator, "Hello!")
    await generator.close()
    assert ended(again, within_s=0)


@pytest.mark.engines
async def test_one_whose_file_is_gone_is_not_healthy_until_it_is_back(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voice_agent.stages.generator.restarts.PAUSES_S", (0.0,))
    file = tmp_path / "here.gguf"
    file.symlink_to(gguf)
    generator = embedded(file)
    await generator.start()
    file.unlink()
    os.kill(await pid_of(generator), signal.SIGKILL)
    await until(lambda: not generator.healthy)
    assert "times in a row" in generator.ailment and "could not load it" in generator.ailment
    file.symlink_to(gguf)
    await until(lambda: generator.healthy)
    assert (await ask(generator, "Hello!")).text
    await generator.close()


@pytest.mark.engines
async def test_nothing_is_left_after_close_not_even_amid_a_restart(generator: LlamaCppGenerator) -> None:
    pid = await pid_of(generator)
    os.kill(pid, signal.SIGKILL)
    again = await pid_of(generator, other_than=pid)
    await generator.close()
    assert ended(again, within_s=0)
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"llama.cpp's keeper"})
    with pytest.raises(StageError, match="not started, or closed already"):
        await ask(generator, "Hello!")
