"""The embedded language model: llama.cpp behind the `openai` client."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import SecretStr

from voice_agent.config import LlmSettings, ModelsSettings
from voice_agent.errors import StageError, VoiceAgentError
from voice_agent.models import catalog, ensure
from voice_agent.stages.generator.deltas import Delta
from voice_agent.stages.generator.failures import is_broken
from voice_agent.stages.generator.llamacpp_server import SLOTS, LlamaCppServer
from voice_agent.stages.generator.openai_api import OpenAIGenerator
from voice_agent.stages.generator.reply import is_output
from voice_agent.stages.generator.request import Request
from voice_agent.stages.generator.restarts import Restarts
from voice_agent.stages.generator.slots import Slots

log = logging.getLogger(__name__)

SMALL_SYSTEM_PROMPT: Final = (
    "You are a friendly voice assistant on the phone. Reply in one short sentence. "
    "Never use lists, markdown, emoji or code."
)
"""For models of a few hundred million parameters. Told only to be helpful and brief, Qwen2.5-Coder-0.5B answered
5 of 12 spoken questions with a list; told this (but for the emoji), and with `NO_LOOPS`, none."""

SMALL_TEMPERATURE: Final = 0.3
NO_LOOPS: Final[Mapping[str, Any]] = MappingProxyType(
    {"dry_multiplier": 0.8, "dry_allowed_length": 3, "dry_penalty_last_n": 1024}
)
"""llama.cpp's DRY sampler: a small model that has said a thing twice goes on saying it, turn after turn. It
makes going on with a sequence that is already there less likely the longer it is. Three tokens are allowed, for
names. Chosen by reading one conversation of 12 turns, not by search."""

EMBEDDED_MODEL: Final = "qwen2.5-coder-0.5b-instruct"
"""The smallest of the catalogue whose replies make sense. SmolLM2-135M is heard half a
second sooner on two cores (docs/latency.md), but what it says is seldom an answer."""

NOTICED_S: Final = 0.5
"""How much later than its connections the end of a process may be noticed."""
KEPT_SLOTS: Final = SLOTS // 2
"""For replies that are due; the others are for prepared ones too."""
ATTEMPTS: Final = 2
"""Times that a turn is asked: once more, if llama.cpp ended under the first. A third would as well."""


class LlamaCppGenerator:
    """A GGUF model under an embedded llama.cpp, which is started again as soon as it ends by itself.

    One task owns the process, whatever becomes of the turns that wait for it.
    """

    model: str
    instructions: str
    destination: str

    def __init__(self, settings: LlmSettings, models: ModelsSettings) -> None:
        self.model = settings.model or EMBEDDED_MODEL
        self.instructions = settings.system_prompt or SMALL_SYSTEM_PROMPT
        self.destination = f"conversations stay on this machine (embedded llama.cpp, {self.model})"
        self._settings = settings.model_copy(
            update={
                "model": self.model,
                "system_prompt": self.instructions,
                "extra_body": {**NO_LOOPS, **settings.extra_body},
                "temperature": SMALL_TEMPERATURE if settings.temperature is None else settings.temperature,
            }
        )
        self._models = models
        self._slots = Slots(SLOTS, kept=KEPT_SLOTS)
        self._server: LlamaCppServer | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._client: asyncio.Future[OpenAIGenerator] | None = None
        """Of the process that runs, or of the next to; an error where that could not be started."""
        self._trouble = ""
        """Why there is none, in words for whoever waited in vain."""
        self._restarts = Restarts()

    @property
    def healthy(self) -> bool:
        """See `Checked` of `engines.py`. What runs is healthy, however often it had to be started."""
        if self._keeper is None or self._client is None:
            return True  # not started, or closed: nothing is known to be wrong
        runs = self._client.done() and not self._client.exception()
        return not self._keeper.done() and (runs or not self._restarts.broken)

    @property
    def ailment(self) -> str:
        """See `Explained` of `engines.py`."""
        if self._keeper and self._keeper.done():
            return f"the embedded language model is not started again; restart the server. {self._trouble}"
        return (
            f"the embedded language model failed {self._restarts.failures} times in a row, and is tried again every "
            f"{self._restarts.pause_s:g} s. {self._trouble}"
        )

    async def start(self) -> None:
        """See `Generator`."""
        await self.close()  # of an attempt before
        log.info("%s", self.destination)
        self._client = client = asyncio.get_running_loop().create_future()
        self._restarts = Restarts()
        self._keeper = asyncio.create_task(self._keep(), name="llama.cpp's keeper")
        try:
            await asyncio.wait({client})  # the keeper bounds it
            client.result()
        except BaseException:
            await self.close()
            raise

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """See `Generator`."""
        turn_at = asyncio.get_running_loop().time() + self._settings.turn_timeout_s
        for attempt in range(1, ATTEMPTS + 1):
            await self._running(turn_at)  # whoever waits for a restart is in no slot's way
            began = False
            async with self._slots.take(request.messages, request.need, until=turn_at) as slot:
                running = await self._running(turn_at)
                deltas = running.result().stream(request, {"id_slot": slot}, turn_at=turn_at)
                try:
                    async with aclosing(deltas):
                        async for delta in deltas:
                            began = began or is_output(delta)
                            yield delta
                    return
                except StageError as error:
                    if await self._is_running(running, error):
                        raise
                    if began or attempt == ATTEMPTS:
                        what = "in the middle of the reply" if began else "twice before the reply began"
                        raise StageError("generator", f"llama.cpp ended {what}: {self._trouble}") from error

    async def close(self) -> None:
        """See `Generator`. Works at any time, also while it starts."""
        keeper, client = self._keeper, self._client
        self._keeper = self._client = None
        if client and not client.done():
            client.set_exception(
                StageError("generator", "the embedded language model was closed while it started")
            )
        if keeper:
            keeper.cancel()
            await asyncio.wait({keeper})  # it ends the process, in bounded time

    async def _running(self, turn_at: float) -> "asyncio.Future[OpenAIGenerator]":
        """The client of the process that runs, which is waited for, if need be until `turn_at`.

        Raises:
            StageError: it could not be started, or not in time.
        """
        client = self._client
        if client is None:
            raise StageError("generator", "the embedded language model is not started, or closed already")
        now = asyncio.get_running_loop().time()
        await asyncio.wait({client}, timeout=max(0.0, turn_at - now))
        if not client.done():
            raise StageError(
                "generator",
                f"llama.cpp, which is being started again, was not ready within {self._settings.turn_timeout_s:g} s "
                f"(VOICE_AGENT_LLM__TURN_TIMEOUT_S). {self._trouble}",
            )
        client.result()
        return client

    async def _is_running(self, client: "asyncio.Future[OpenAIGenerator]", error: StageError) -> bool:
        """Whether the process that `client` speaks to is still there after `error`."""
        if self._client is client and self._server and is_broken(error):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._server.ended(), NOTICED_S)
        await asyncio.sleep(0)  # the keeper notices first
        return self._client is client

    async def _keep(self) -> None:
        """Start llama.cpp, and do so again whenever it ends, until this is cancelled."""
        server: LlamaCppServer | None = None
        try:
            gguf = await asyncio.to_thread(self._weights)
            self._server = server = LlamaCppServer(
                gguf,
                name=self.model,
                context_tokens=self._settings.context_tokens,
                threads=self._settings.threads,
            )
            await self._serve(server)
        except VoiceAgentError as error:
            self._give_up(error)
        except Exception as error:
            log.exception("llama.cpp can't be kept running")
            self._give_up(StageError("generator", f"llama.cpp can't be kept running: {error}"))
        finally:
            if server:
                await server.close()

    async def _serve(self, server: LlamaCppServer) -> None:
        """Raises what keeps it from starting the first time; later it is tried again, whatever goes wrong."""
        clock = asyncio.get_running_loop().time
        client: OpenAIGenerator | None = None
        ran = False
        try:
            while True:
                try:
                    await server.start()
                    if client:
                        await client.close()
                    client = self._client_of(server)
                    # Each slot reads the instructions now, so that the first turn there finds them read.
                    await client.warm_up([{"id_slot": slot, "max_tokens": 1} for slot in range(SLOTS)])
                except Exception as error:
                    if not ran:
                        raise
                    if not isinstance(error, VoiceAgentError):
                        log.exception("llama.cpp could not be started, for a reason that was not foreseen")
                    self._trouble = str(error) or repr(error)
                    self._restarts.did_not_start()
                else:
                    ran, begun = True, clock()
                    assert self._client
                    self._client.set_result(client)
                    code = await server.ended()
                    self._client = asyncio.get_running_loop().create_future()
                    self._trouble = f"It ended by itself (code {code}); its last words: {server.last_words}"
                    self._restarts.ended(clock() - begun)
                pause = self._restarts.pause_s
                log.error("llama.cpp is started again in %g s. %s", pause, self._trouble)
                await asyncio.sleep(pause)
        finally:
            if client:
                await client.close()

    def _client_of(self, server: LlamaCppServer) -> OpenAIGenerator:
        endpoint = {"base_url": server.base_url, "api_key": SecretStr(server.api_key)}
        # llama.cpp says that it keeps the connection, and closes it after each stream: a request that comes
        # at once goes into the void. Another connection on loopback costs nothing.
        return OpenAIGenerator(self._settings.model_copy(update=endpoint), keep_alive_s=0)

    def _give_up(self, error: VoiceAgentError) -> None:
        self._trouble = str(error)
        if self._client and not self._client.done():
            self._client.set_exception(error)

    def _weights(self) -> Path:
        """The GGUF file that the settings name, fetched if need be."""
        name = self.model
        if name.endswith(".gguf"):
            if not (file := Path(name).expanduser()).exists():
                raise StageError("generator", f"VOICE_AGENT_LLM__MODEL={name}: no such file")
            return file
        offered = {entry.name: entry.files[0].path for entry in catalog().values()}
        offered = {entry: file for entry, file in offered.items() if file.endswith(".gguf")}
        if name not in offered:
            raise StageError(
                "generator",
                f"VOICE_AGENT_LLM__MODEL={name}: the embedded models are {', '.join(offered)}, or a path to "
                "a .gguf file; for an API's model set VOICE_AGENT_LLM__BASE_URL or OPENAI_API_KEY",
            )
        return ensure(name, directory=self._models.dir, offline=self._models.offline) / offered[name]
