"""An embedded llama.cpp: an OpenAI-compatible server on loopback, in a process of its own.

A process, because llama.cpp holds Python's lock for as long as it loads the weights (1.5 to 6.6 s measured
for 98 MB, with every session of the service standing still), because its server has no stop call, and because
a crash of it should end a reply and not the service. The process ends with its owner in any case: its
standard input is a pipe that closes when the owner dies, and Linux kills it even while it loads.
"""

import asyncio
import json
import logging
import os
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from voice_agent.errors import StageError
from voice_agent.parent import end_with_parent

log = logging.getLogger(__name__)

LOAD_TIMEOUT_S: Final = 120.0
"""Longest wait for the weights; 1.1 GB off a slow disk, on a busy machine, takes a good part of it."""
SLOTS: Final = 4
"""Replies generated at once; each has its own context, and more wait their turn."""
CLOSE_TIMEOUT_S: Final = 5.0
"""Longest wait for a process that was killed; one that hangs in the kernel is left to it."""
CACHE_MIB: Final = 512
"""Bound on what llama.cpp keeps of conversations beside its slots, so that each finds its history read when it comes
back, though another one had its slot. It fills up, also with what nobody comes back for; then the oldest goes. 512 MiB
are 43,000 tokens of Qwen2.5-Coder-0.5B (12 KiB each): 21 conversations of the longest (2048 tokens), 42 half as long.
32 slots instead of 4 would do too, but take 680 MB from the start."""
NEVER: Final = 1.0
"""Share of a prompt above which llama.cpp believes that a slot holds it, and leaves the cache alone; nothing is above
one. By default, as soon as half of what is in the slot is in the prompt too, it takes the slot as it is: with
instructions longer than the conversations, these read their whole history anew at each turn. Of what the slot holds it
uses as much in any case, and it takes from the cache only what is better."""
_TAIL_BYTES: Final = 4096


@dataclass(frozen=True)
class _Job:
    """The configuration of the process, given on its standard input: all users can read a command line."""

    owner: int
    """Its process."""
    gguf: str
    name: str
    api_key: str
    slots: int
    context_tokens: int
    threads: int


def default_threads() -> int:
    """Half of the cores, at most four.

    llama.cpp's threads wait for each other at every layer, spinning. On two cores that something else wanted
    too, two threads gave 2 to 4 tokens a second and took 110 to 210 ms of CPU for each; one gave 27 to 48 and
    took 15 (SmolLM2-135M, interleaved). A lower priority for the process did not pay: at nice 5 Piper beside it
    was no faster and it fell from 20 tokens a second to 8, at nice 10 to 3, which is less than a voice speaks.
    """
    return min(4, max(1, (os.cpu_count() or 1) // 2))


def default_prompt_threads() -> int:
    """Every core, at most four: a prompt is read in few large steps, which wait for each other far less.

    Twenty new tokens of a turn took 200 to 300 ms on two cores, and 350 to 410 on one (Qwen2.5-Coder-0.5B).
    """
    return min(4, os.cpu_count() or 1)


class LlamaCppServer:
    """llama.cpp serving one GGUF file; entering the context starts it, leaving it ends the process."""

    base_url: str
    """Of its OpenAI-compatible API, on a free port of 127.0.0.1. Known after `start`."""

    def __init__(
        self,
        gguf: Path,
        *,
        name: str | None = None,
        context_tokens: int = 2048,
        slots: int = SLOTS,
        threads: int | None = None,
    ) -> None:
        """Serve `gguf` under the model's `name`, with `context_tokens` for each of `slots` conversations."""
        self.api_key: Final = secrets.token_urlsafe()
        """Keeps out the other users of this machine, who reach the port too."""
        self._job = _Job(
            owner=os.getpid(),
            gguf=str(gguf),
            name=name or gguf.stem,
            api_key=self.api_key,
            slots=slots,
            context_tokens=context_tokens,
            threads=threads or default_threads(),
        )
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._tail = b""

    @property
    def running(self) -> bool:
        """Whether the process is there; it is not before `start`, nor after a crash."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The process, where there is one."""
        return self._process.pid if self._process else None

    @property
    def last_words(self) -> str:
        """The end of what the process wrote, in one line."""
        return " ".join(self._tail.decode(errors="replace").split()) or "none"

    async def ended(self) -> int:
        """Wait until the process, which runs, has ended by itself; gives its exit code, negative for a signal."""
        assert self._process
        return await self._process.wait()

    async def start(self) -> None:
        """Load the weights and listen; after a crash, do so again on another port.

        Raises:
            StageError: llama.cpp could not load the file, or ended, or no process could be made; the message
                holds the last it wrote.
        """
        await self.close()
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                self.base_url = await self._launch()
        except TimeoutError:
            await self.close()
            raise self._failure(f"did not load within {LOAD_TIMEOUT_S:.0f} s") from None
        except (OSError, ValueError) as error:
            await self.close()
            raise self._failure(f"could not be started ({error})") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the process. Nothing of it is left when this returns, within bounded time."""
        process, reading = self._process, self._reading
        self._process = self._reading = None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await process.wait()
                if reading:
                    await reading
        except TimeoutError:
            log.error("llama.cpp (process %d) was killed and is still there", process.pid)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _launch(self) -> str:
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", __name__),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            # As this process finds its modules, so does that one, wherever both were started.
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for the service, which may still want a last reply
        )
        assert process.stdin and process.stdout
        reading = self._reading = asyncio.create_task(self._keep_tail(process))
        process.stdin.write(json.dumps(asdict(self._job)).encode() + b"\n")
        line = await process.stdout.readline()
        if not line:
            await process.wait()
            await reading
            raise self._failure("could not load it")
        return f"{json.loads(line)['address'].rstrip('/')}/v1"

    async def _keep_tail(self, process: Process) -> None:
        assert process.stderr
        self._tail = b""
        while written := await process.stderr.read(_TAIL_BYTES):
            self._tail = (self._tail + written)[-_TAIL_BYTES:]

    def _failure(self, what: str) -> StageError:
        return StageError(
            "generator",
            f"llama.cpp {what}: {self._job.gguf}. Is it a whole GGUF file, and is there memory for "
            f"{self._job.slots} times VOICE_AGENT_LLM__CONTEXT_TOKENS={self._job.context_tokens}? "
            f"Its last words: {self.last_words}",
        )


def _serve(job: _Job) -> None:
    """Serve until standard input ends. Runs in the process of its own."""
    end_with_parent(signal.SIGKILL)  # for one that is killed while we load; the pipe does for the rest
    if os.getppid() != job.owner:  # dead already, so that no signal will come
        sys.exit()
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever llama.cpp prints is a message, not the answer

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = job.gguf
    params.model_alias = {job.name}
    params.n_parallel = job.slots
    params.n_ctx = job.slots * job.context_tokens
    params.cache_ram_mib = CACHE_MIB
    params.cache_idle_slots = False  # each is kept when it is next used; before that a copy is of no use
    params.slot_prompt_similarity = NEVER
    params.cpuparams.n_threads = job.threads
    params.cpuparams_batch.n_threads = max(job.threads, default_prompt_threads())
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [job.api_key]
    params.ui = False
    params.verbosity = 1  # errors only
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:  # llama.cpp has written the reason above it
        sys.exit(str(error))
    print(json.dumps({"address": server.listening_address}), file=answer, flush=True)
    sys.stdin.read()
    os._exit(0)  # past the native threads: there is nothing to save


if __name__ == "__main__":
    _serve(_Job(**json.loads(sys.stdin.readline())))
