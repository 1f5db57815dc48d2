"""The embedded language model: llama.cpp behind the `openai` client."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import SecretStr

from voice_agent.config import LlmSettings, ModelsSettings
from voice_agent.errors import StageError
from voice_agent.models import catalog, ensure
from voice_agent.stages.generator.deltas import Delta
from voice_agent.stages.generator.llamacpp_server import SLOTS, LlamaCppServer, Slots
from voice_agent.stages.generator.openai_api import OpenAIGenerator
from voice_agent.stages.generator.request import Request

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


class LlamaCppGenerator:
    """A GGUF model under an embedded llama.cpp, which is started again after a crash."""

    model: str
    instructions: str

    def __init__(self, settings: LlmSettings, models: ModelsSettings) -> None:
        self.model = settings.model or EMBEDDED_MODEL
        self.instructions = settings.system_prompt or SMALL_SYSTEM_PROMPT
        self._settings = settings.model_copy(
            update={
                "model": self.model,
                "system_prompt": self.instructions,
                "extra_body": {**NO_LOOPS, **settings.extra_body},
                "temperature": SMALL_TEMPERATURE if settings.temperature is None else settings.temperature,
            }
        )
        self._models = models
        self._server: LlamaCppServer | None = None
        self._client: OpenAIGenerator | None = None
        self._slots = Slots(SLOTS)
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """See `Generator`."""
        await self.close()  # of an attempt before
        gguf = await asyncio.to_thread(self._weights)
        self._server = LlamaCppServer(
            gguf,
            name=self.model,
            context_tokens=self._settings.context_tokens,
            threads=self._settings.threads,
        )
        await self._running(self._server)

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """See `Generator`."""
        if self._server is None:
            raise StageError("generator", "the embedded language model is not started, or closed already")
        client = await self._running(self._server)
        with self._slots.take(request.messages) as slot:
            async with aclosing(client.stream(request, {"id_slot": slot})) as deltas:
                async for delta in deltas:
                    yield delta

    async def close(self) -> None:
        """See `Generator`."""
        client, server = self._client, self._server
        self._client = self._server = None
        if client:
            await client.close()
        if server:
            await server.close()

    async def _running(self, server: LlamaCppServer) -> OpenAIGenerator:
        """The client of the server, which is started first if it does not run."""
        async with self._starting:
            if self._client and server.running:
                return self._client
            if self._client:
                log.error("llama.cpp ended by itself; starting it again")
                await self._client.close()
            await server.start()
            endpoint = {
                "base_url": server.base_url,
                "api_key": SecretStr(server.api_key),
                "model": self.model,
            }
            # llama.cpp says that it keeps the connection, and closes it after each stream: a request that comes
            # at once goes into the void. Another connection on loopback costs nothing.
            self._client = OpenAIGenerator(self._settings.model_copy(update=endpoint), keep_alive_s=0)
            # Each slot reads the instructions now, so that the first turn there finds them read.
            await self._client.start([{"id_slot": slot, "max_tokens": 1} for slot in range(SLOTS)])
            return self._client

    def _weights(self) -> Path:
        """The GGUF file that the settings name, fetched if need be."""
        name = self.model
        if name.endswith(".gguf"):
            if not (file := Path(name).expanduser()).is_file():
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
