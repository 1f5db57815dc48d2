"""The embedded llama.cpp: real processes, and (marked `engines`) real weights."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from voice_agent.config import LlmSettings, ModelsSettings
from voice_agent.errors import StageError
from voice_agent.models import ensure
from voice_agent.stages.generator.llamacpp import EMBEDDED_MODEL, LlamaCppGenerator
from voice_agent.stages.generator.llamacpp_server import SLOTS, LlamaCppServer, Slots
from voice_agent.stages.generator.request import Message

PROMPTLY_S = 5.0
"""The service ends within this; so must all that it started."""
REPLY_S = 120.0
"""Bound on a reply by a machine that has other things to do."""

FOREVER = {"ignore_eos": True, "max_tokens": 1900}
"""Far more than is generated while a test runs (1900 tokens took 30 s on an idle machine)."""


def ended(pid: int, within_s: float = PROMPTLY_S) -> bool:
    """Whether the process, which need not be a child, is gone within the time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], within_s)[0])
    finally:
        os.close(handle)


# Slots


def test_a_conversation_comes_back_to_its_slot() -> None:
    slots = Slots(3)
    ann, bob = ["be brief", "I am Ann"], ["be brief", "I am Bob"]
    with slots.take(ann) as first:
        pass
    with slots.take(bob) as second:
        pass
    assert first != second
    with slots.take([*ann, "Hello Ann", "Who am I?"]) as slot:
        assert slot == first
    with slots.take([*bob, "Hello Bob", "Who am I?"]) as slot:
        assert slot == second


def test_a_new_conversation_takes_the_slot_that_is_longest_unused() -> None:
    slots = Slots(2)
    for expected, name in enumerate(["Ann", "Bob"]):
        with slots.take(["be brief", name]) as slot:
            assert slot == expected
    with slots.take(["be brief", "Ann", "Hello", "More"]) as slot:
        assert slot == 0
    with slots.take(["be brief", "Cid"]) as slot:
        assert slot == 1


def test_a_busy_slot_is_left_alone_and_the_server_queues_when_all_are() -> None:
    slots = Slots(2)
    messages = ["be brief", "I am Ann"]
    with slots.take(messages) as first, slots.take(messages) as second, slots.take(messages) as third:
        assert {first, second} == {0, 1}
        assert third == -1
    with slots.take(messages) as slot:
        assert slot in (0, 1)


# The process


async def test_a_file_that_is_no_model_is_refused_in_the_words_of_llama_cpp(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    server = LlamaCppServer(broken)
    with pytest.raises(
        StageError, match=r"(?s)broken\.gguf.*CONTEXT_TOKENS=2048.*error loading model"
    ) as failure:
        await server.start()
    assert failure.value.stage == "generator"
    assert not server.running


async def test_cancelling_the_start_leaves_no_process(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.gguf")  # loading it never ends
    server = LlamaCppServer(tmp_path / "endless.gguf")
    starting = asyncio.create_task(server.start())
    while server.pid is None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    pid = server.pid
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert ended(pid, within_s=0)


OWNER = """
import asyncio, sys
from pathlib import Path
from voice_agent.stages.generator.llamacpp_server import LlamaCppServer

async def main():
    server = LlamaCppServer(Path(sys.argv[1]))
    starting = asyncio.create_task(server.start())
    while server.pid is None:
        await asyncio.sleep(0)
    if sys.argv[2] == "serving":
        await starting
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def killed_owner(gguf: Path, state: str) -> int:
    """Process of a server whose owner was killed in the midst of `state`."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, gguf, state], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    with owner.stdout:
        pid = int(owner.stdout.readline())
        owner.kill()
        owner.wait()
    return pid


def test_the_process_ends_when_its_owner_is_killed_while_it_loads(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.gguf")
    assert ended(killed_owner(tmp_path / "endless.gguf", "loading"))


# With weights


@pytest.fixture(scope="session")
def gguf() -> Path:
    folder = ensure(EMBEDDED_MODEL, directory=ModelsSettings().dir)
    return next(folder.glob("*.gguf"))


@pytest.fixture
async def server(gguf: Path) -> AsyncIterator[LlamaCppServer]:
    async with LlamaCppServer(gguf) as server:
        yield server


@pytest.fixture
async def generator(gguf: Path) -> AsyncIterator[LlamaCppGenerator]:
    generator = LlamaCppGenerator(
        LlmSettings(model=str(gguf), temperature=0, first_token_timeout_s=REPLY_S), ModelsSettings()
    )
    await generator.start()
    yield generator
    await generator.close()


def conversation(generator: LlamaCppGenerator, *turns: str) -> list[Message]:
    roles = ("user", "assistant")
    said = [Message(roles[n % 2], text) for n, text in enumerate(turns)]  # type: ignore[arg-type]
    return [Message("system", generator.instructions), *said]


async def reply(generator: LlamaCppGenerator, *turns: str) -> str:
    async with asyncio.timeout(REPLY_S):
        return "".join([text async for text in generator.stream(conversation(generator, *turns))])


async def timings(server: LlamaCppServer, messages: list[Message], **extra: Any) -> dict[str, Any]:
    """What llama.cpp tells of a reply of one token."""
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
        answer = await client.chat.completions.create(
            model="any",
            messages=[asdict(message) for message in messages],  # type: ignore[misc]
            extra_body={"max_tokens": 1, **extra},
        )
    assert answer.model_extra
    told: dict[str, Any] = answer.model_extra["timings"]
    return told


@pytest.mark.engines
async def test_replies_in_pieces_to_several_at_once(generator: LlamaCppGenerator) -> None:
    async with asyncio.timeout(REPLY_S):
        texts = [t async for t in generator.stream(conversation(generator, "What is the capital of France?"))]
    assert len(texts) > 1
    assert "Paris" in "".join(texts)
    replies = await asyncio.gather(
        *(reply(generator, f"Tell me about the number {n}.") for n in range(SLOTS + 2))
    )
    assert all(replies)


@pytest.mark.engines
async def test_a_later_turn_reads_only_what_is_new_however_many_talk(
    generator: LlamaCppGenerator, server: LlamaCppServer
) -> None:
    slots = Slots(SLOTS)
    talks = [conversation(generator, f"My name is {name}. Who am I?") for name in ("Ann", "Bob", "Cid")]
    read = []
    for talk in talks:
        with slots.take(talk) as slot:
            read.append(await timings(server, talk, id_slot=slot))
    for talk, before in zip(talks, read, strict=True):
        talk += [Message("assistant", "A friend of mine."), Message("user", "Good.")]
        with slots.take(talk) as slot:
            after = await timings(server, talk, id_slot=slot)
        assert after["cache_n"] >= before["cache_n"] + before["prompt_n"] - 2  # all but the end of the prompt
        assert after["prompt_n"] < before["cache_n"] + before["prompt_n"]


@pytest.mark.engines
async def test_leaving_a_reply_frees_its_slot(gguf: Path) -> None:
    settings = LlmSettings(model=str(gguf), extra_body=FOREVER, first_token_timeout_s=REPLY_S)
    generator = LlamaCppGenerator(settings, ModelsSettings())
    await generator.start()
    try:
        for _ in range(SLOTS + 1):  # were they not freed, the last would wait for the first to end
            async with (
                asyncio.timeout(10),
                aclosing(generator.stream(conversation(generator, "Hello!"))) as texts,
            ):
                assert await anext(texts)
    finally:
        await generator.close()


@pytest.mark.engines
async def test_a_conversation_that_is_too_long_is_refused(generator: LlamaCppGenerator) -> None:
    with pytest.raises(StageError, match=r"longer than .* can read"):
        await reply(generator, "word " * 3000)


@pytest.mark.engines
async def test_a_crash_costs_the_reply_and_not_the_next(generator: LlamaCppGenerator) -> None:
    server = generator._server
    assert server and server.pid
    async with aclosing(generator.stream(conversation(generator, "Tell me a long story."))) as texts:
        assert await anext(texts)
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(StageError, match="broke off"):
            async for _ in texts:
                pass
    assert server._process
    await server._process.wait()
    assert await reply(generator, "Hello!")


@pytest.mark.engines
async def test_other_users_of_the_machine_are_kept_out(server: LlamaCppServer) -> None:
    async with httpx2.AsyncClient(base_url=server.base_url) as client:
        answer = await client.post("chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]})
    assert answer.status_code == 401
    assert server.base_url.startswith("http://127.0.0.1:")
    command = await asyncio.to_thread(Path(f"/proc/{server.pid}/cmdline").read_text)
    assert server.api_key not in command


@pytest.mark.engines
async def test_nothing_is_left_after_close(gguf: Path) -> None:
    server = LlamaCppServer(gguf)
    before = asyncio.all_tasks()
    await server.start()
    pid = server.pid
    assert pid
    assert server.running
    await server.close()
    assert ended(pid, within_s=0)
    assert asyncio.all_tasks() == before
    await server.close()


@pytest.mark.engines
def test_the_process_ends_when_its_owner_is_killed(gguf: Path) -> None:
    assert ended(killed_owner(gguf, "serving"))
