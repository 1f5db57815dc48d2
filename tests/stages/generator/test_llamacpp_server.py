"""llama.cpp's process: how it starts and ends. (Marked `engines`: with real weights.)"""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from voice_agent.errors import StageError
from voice_agent.stages.generator.llamacpp import SMALL_SYSTEM_PROMPT
from voice_agent.stages.generator.llamacpp_server import SLOTS, LlamaCppServer
from voice_agent.stages.generator.request import Message, Request, body
from voice_agent.stages.generator.slots import Slots

PROMPTLY_S = 5.0
"""The service ends within this; so must all that it started."""


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


@pytest.mark.parametrize("file", ["/proc/self/mem", ".", "none.gguf"])
async def test_a_file_that_can_not_be_read_is_refused(file: str, tmp_path: Path) -> None:
    server = LlamaCppServer(tmp_path / file)
    with pytest.raises(StageError, match=r"llama\.cpp could not load it"):
        await server.start()


async def test_a_process_that_can_not_be_made_is_a_failure_of_the_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    server = LlamaCppServer(Path("any.gguf"))
    with pytest.raises(StageError, match=r"llama\.cpp could not be started.*/nowhere/python"):
        await server.start()


async def test_closing_amid_the_start_leaves_no_process(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.gguf")
    server = LlamaCppServer(tmp_path / "endless.gguf")
    starting = asyncio.create_task(server.start())
    while server.pid is None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    pid = server.pid
    await server.close()
    assert ended(pid, within_s=0)
    with pytest.raises(StageError, match="could not load it"):
        await starting


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


@pytest.fixture
async def server(gguf: Path) -> AsyncIterator[LlamaCppServer]:
    async with LlamaCppServer(gguf) as server:
        yield server


async def timings(server: LlamaCppServer, messages: list[Message], **extra: Any) -> dict[str, Any]:
    """What llama.cpp tells of a reply of one token."""
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
        answer = await client.chat.completions.create(
            model="any",
            messages=[],
            extra_body={**body(Request(tuple(messages))), "max_tokens": 1, **extra},
        )
    assert answer.model_extra
    told: dict[str, Any] = answer.model_extra["timings"]
    return told


GUESTS = " ".join(
    f"House rule number {n}: be kind to guests, and mention the garden when it fits." for n in range(15)
)


@pytest.mark.engines
@pytest.mark.parametrize(
    "instructions", [SMALL_SYSTEM_PROMPT, f"{SMALL_SYSTEM_PROMPT} {GUESTS}"], ids=["short", "long"]
)
async def test_a_later_turn_reads_only_what_is_new_however_many_talk(
    server: LlamaCppServer, instructions: str
) -> None:
    slots = Slots(SLOTS)
    talks = [
        [Message("system", instructions), Message("user", f"My name is {name}. Who am I?")]
        for name in ("Ann", "Bob", "Cid", "Dora", "Eve", "Finn")  # more than there are slots
    ]
    read = []
    for talk in talks:
        async with slots.take(talk) as slot:
            read.append(await timings(server, talk, id_slot=slot))
    for heard in ("A friend of mine.", "You asked me"):
        for n, (talk, before) in enumerate(zip(talks, read, strict=True)):
            talk += [Message("assistant", heard), Message("user", "Good.")]
            async with slots.take(talk) as slot:
                read[n] = await timings(server, talk, id_slot=slot)
            # all but the end of the prompt
            assert read[n]["cache_n"] >= before["cache_n"] + before["prompt_n"] - 2


@pytest.mark.engines
async def test_a_turn_asked_again_while_the_first_one_is_being_left_reads_only_what_is_new(
    server: LlamaCppServer,
) -> None:
    slots = Slots(SLOTS)
    for n in range(SLOTS):  # as at the start
        hello = [Message("system", SMALL_SYSTEM_PROMPT), Message("user", "Hello!")]
        await timings(server, hello, id_slot=n)
    talk = [Message("system", SMALL_SYSTEM_PROMPT), Message("user", "My name is Ann. Who am I?")]
    async with slots.take(talk) as first:
        before = await timings(server, talk, id_slot=first)
    talk += [Message("assistant", "A friend of mine."), Message("user", "Good.")]
    async with slots.take(talk) as slot:
        await timings(server, talk, id_slot=slot)
        async with slots.take(talk) as other:
            after = await timings(server, talk, id_slot=other)
    assert slot == first != other
    assert after["cache_n"] >= before["cache_n"] + before["prompt_n"] - 2


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


@pytest.mark.engines
async def test_an_end_is_told_with_how_it_came(server: LlamaCppServer) -> None:
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)
    async with asyncio.timeout(PROMPTLY_S):
        assert await server.ended() == -signal.SIGKILL
    assert not server.running
