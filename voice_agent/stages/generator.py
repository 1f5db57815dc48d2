"""Text to text: the `Generator` protocol, and the `openai` client as its one engine.

With no endpoint configured, the same client talks to an embedded llama.cpp (`llamacpp.py`).
"""

import asyncio
import logging
import os
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

import httpx2
import openai

from voice_agent.config import LlmSettings, ModelsSettings
from voice_agent.errors import SettingsError, StageError
from voice_agent.models import catalog, ensure
from voice_agent.stages.llamacpp import SLOTS, LlamaCppServer, Slots

log = logging.getLogger(__name__)

SYSTEM_PROMPT: Final = (
    "You are a friendly voice assistant. The user speaks to you, and your reply is read aloud. "
    "Answer in one or two short, plain sentences, in the user's language. "
    "No lists, markdown, emoji or code. "
    "The user's words come from speech recognition: if they make no sense, ask what was meant."
)

EMBEDDED_MODEL: Final = "smollm2-135m-instruct"
OPENAI_MODEL: Final = "gpt-5.4-mini"
"""For api.openai.com: small, quick, and with no end announced in `openai` 3.54's list of models."""
OPENAI_URL: Final = "https://api.openai.com/v1"

MAX_PAUSE_S: Final = 2.0
"""Longest pause before another attempt: someone is waiting. An endpoint that asks for more is not asked again."""
FIRST_PAUSE_S: Final = 0.1
"""Pause before the second attempt; it doubles with each, and up to half is added at random."""
KEEP_ALIVE_S: Final = 300.0
"""How long an idle connection is kept; the client's own 5 s would cost most turns a TLS handshake."""
WARM_UP_TOKENS: Final = 16
"""Of the reply at start. Read to its end, so that the connection is there for the first user."""

_NO_EXTRA: Final[Mapping[str, Any]] = MappingProxyType({})
_FAILURES: Final = (openai.APIError, TimeoutError, ValueError)
"""What an endpoint can do to us; ValueError is a stream that is not JSON, or not text."""


@dataclass(frozen=True)
class Message:
    """One entry of the conversation as the model reads it."""

    role: Literal["system", "user", "assistant"]
    content: str


class Generator(Protocol):
    """Writes the reply."""

    model: str
    """Known after `start`."""

    async def start(self) -> None:
        """Reach the model and have it write a few words, so that the first user does not pay for it.

        Raises:
            WeightsError: the embedded model's weights can't be had.
            StageError: no endpoint, key or model; the message names the setting.
        """

    def stream(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        """The reply to `messages` in pieces, as they are written.

        Leaving the iteration (`aclose`, cancel) closes the HTTP stream, and the model stops.

        Raises:
            StageError: the endpoint failed or took too long, after the attempts that were due.
        """

    async def close(self) -> None:
        """Let go of connections and processes. Nothing is running afterwards."""


def build_generator(settings: LlmSettings, models: ModelsSettings) -> Generator:
    """The engine that the settings ask for; with `auto` the API where a base URL or a key is set.

    Raises:
        SettingsError: the API is asked for, but neither is set.
    """
    configured = _base_url(settings) or _api_key(settings)
    if settings.engine == "openai" or (settings.engine == "auto" and configured):
        return OpenAIGenerator(settings)
    return LlamaCppGenerator(settings, models)


class OpenAIGenerator:
    """Any endpoint that speaks OpenAI's chat completions."""

    model: str

    def __init__(self, settings: LlmSettings) -> None:
        """Settings come first, then the variables that the `openai` client reads.

        Raises:
            SettingsError: neither a base URL nor a key is set.
        """
        key, url = _api_key(settings), _base_url(settings)
        if not (key or url):
            raise SettingsError(
                "llm.engine is openai, but there is no endpoint: set VOICE_AGENT_LLM__BASE_URL, "
                "or OPENAI_API_KEY for OpenAI's own"
            )
        self._settings = settings
        self._url = url or OPENAI_URL
        self._client = openai.AsyncOpenAI(
            api_key=key or "none",  # an endpoint of one's own often has no key, but the client insists on one
            base_url=self._url,
            max_retries=0,  # its own retries know neither the first token nor how long a person waits
            http_client=openai.DefaultAsyncHttpx2Client(
                timeout=None,  # bounded here, token by token
                limits=httpx2.Limits(keepalive_expiry=KEEP_ALIVE_S),
            ),
            timeout=None,
        )
        self.model = settings.model or (OPENAI_MODEL if url is None else "")
        self._limit = "max_tokens"
        """The name that the endpoint knows it by."""
        self._options: dict[str, Any] = {"temperature": settings.temperature}
        if not settings.model and not url:
            self._options["reasoning_effort"] = "none"

    async def start(self) -> None:
        """See `Generator`."""
        system = Message("system", self._settings.system_prompt or SYSTEM_PROMPT)
        try:
            if not self.model:
                self.model = await self._first_model()
            await self.warm_up([system, Message("user", "Hello!")])
        except _FAILURES as error:
            raise self._explained(error) from error

    async def warm_up(self, messages: Sequence[Message], extra: Mapping[str, Any] = _NO_EXTRA) -> None:
        """A short reply that nobody hears; it also finds out which options the endpoint takes."""
        while True:
            try:
                async with aclosing(self._tokens(messages, WARM_UP_TOKENS, extra)) as tokens:
                    async for _ in tokens:
                        pass
                return
            except openai.BadRequestError as error:
                # Reasoning models of OpenAI's take no temperature, and call the limit by another name.
                if error.param == self._limit == "max_tokens":
                    self._limit = "max_completion_tokens"
                elif error.param is None or self._options.pop(error.param, None) is None:
                    raise

    async def stream(
        self, messages: Sequence[Message], extra: Mapping[str, Any] = _NO_EXTRA
    ) -> AsyncIterator[str]:
        """See `Generator`; `extra` goes into the request's body."""
        attempt = 0
        while True:
            began = False
            spoken = _Spoken()
            try:
                async with aclosing(self._tokens(messages, self._settings.max_tokens, extra)) as tokens:
                    async for token in tokens:
                        began = True
                        if text := spoken.feed(token):
                            yield text
            except _FAILURES as error:
                pause = None if began or attempt == self._settings.retries else _pause(error, attempt)
                if pause is None:
                    raise self._explained(error, began) from error
                log.warning("no reply from %s, trying again: %s", self._url, _reason(error))
                await asyncio.sleep(pause)
                attempt += 1
            else:
                if text := spoken.rest():
                    yield text
                if began and not spoken.any:
                    raise StageError(
                        "generator",
                        f"{self.model} thought until its {self._settings.max_tokens} tokens were gone and said "
                        "nothing: raise VOICE_AGENT_LLM__MAX_TOKENS, or turn its reasoning off with "
                        "VOICE_AGENT_LLM__EXTRA_BODY",
                    )
                return

    async def close(self) -> None:
        """See `Generator`."""
        await self._client.close()

    async def _first_model(self) -> str:
        async with asyncio.timeout(self._settings.first_token_timeout_s):
            page = await self._client.models.list()
        for model in page.data or ():
            return model.id
        raise ValueError("its list of models is empty: set VOICE_AGENT_LLM__MODEL")

    async def _tokens(
        self, messages: Sequence[Message], max_tokens: int, extra: Mapping[str, Any]
    ) -> AsyncGenerator[str, None]:
        """One request; "" for a token that is not for the user (a reasoning model's thoughts)."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._settings.first_token_timeout_s
        async with asyncio.timeout_at(deadline):
            response = await self._client.chat.completions.create(
                model=self.model,
                messages=[{"role": m.role, "content": m.content} for m in messages],  # type: ignore[misc]
                stream=True,
                extra_body={**self._options, self._limit: max_tokens, **self._settings.extra_body, **extra},
            )
        async with response:
            chunk: object = None
            while True:
                async with asyncio.timeout_at(deadline):
                    following: object = await anext(response, None)
                if following is None:
                    break
                chunk = following
                if (token := _token(chunk)) is not None:
                    yield token
                    deadline = clock() + self._settings.token_timeout_s
            if chunk is None:
                raise ValueError("its answer is no stream of chat completions")

    def _explained(self, error: Exception, began: bool = False) -> StageError:
        """What happened, which setting is to blame, and what to do."""
        url, model, reason = self._url, self.model, _reason(error)
        check_url = "check VOICE_AGENT_LLM__BASE_URL (mostly it ends in /v1)"
        match error:
            case openai.APITimeoutError() | TimeoutError():
                which = "TOKEN_TIMEOUT_S" if began else "FIRST_TOKEN_TIMEOUT_S"
                wait = self._settings.token_timeout_s if began else self._settings.first_token_timeout_s
                what = f"{url} sent nothing for {wait:g} s (VOICE_AGENT_LLM__{which}): is it overloaded?"
            case openai.APIConnectionError() if began:
                what = f"{url} broke off in the middle of the reply: {reason}"
            case openai.APIConnectionError():
                what = f"can't reach {url}: {reason}. Start the server there, or {check_url}"
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                what = f"{url} refused the key: {reason}. Set VOICE_AGENT_LLM__API_KEY or OPENAI_API_KEY"
            case openai.NotFoundError():
                what = f"{url} does not know {model!r}: {reason}. Check VOICE_AGENT_LLM__MODEL, and {check_url}"
            case openai.RateLimitError():
                what = f"{url} takes no more requests from this key: {reason}"
            case openai.APIError() if _too_long(error):
                what = f"the conversation is longer than {model} can read: {reason}"
            case openai.APIError():
                what = f"{url} failed with {model!r}: {reason}"
            case _:
                what = f"{url} is no OpenAI-compatible API: {reason}; {check_url}"
        return StageError("generator", what)


class LlamaCppGenerator:
    """A GGUF model under an embedded llama.cpp, which is started again after a crash."""

    model: str

    def __init__(self, settings: LlmSettings, models: ModelsSettings) -> None:
        self._settings = settings
        self._models = models
        self.model = settings.model or EMBEDDED_MODEL
        self._server: LlamaCppServer | None = None
        self._client: OpenAIGenerator | None = None
        self._slots = Slots(SLOTS)
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """See `Generator`."""
        gguf = await asyncio.to_thread(self._gguf)
        settings = self._settings
        self._server = LlamaCppServer(
            gguf, name=self.model, context_tokens=settings.context_tokens, threads=settings.threads
        )
        await self._running()

    async def stream(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        """See `Generator`."""
        client = await self._running()
        with self._slots.take(messages) as slot:
            async with aclosing(client.stream(messages, {"id_slot": slot})) as tokens:
                async for token in tokens:
                    yield token

    async def close(self) -> None:
        """See `Generator`."""
        if self._client:
            await self._client.close()
        if self._server:
            await self._server.close()
