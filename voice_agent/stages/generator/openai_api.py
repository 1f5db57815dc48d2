"""Any endpoint that speaks OpenAI's chat completions, through the `openai` client."""

import asyncio
import logging
import os
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from itertools import count
from types import MappingProxyType
from typing import Any, Final, cast

import httpx2
import openai
from openai.types.chat import ChatCompletionMessageParam

from voice_agent.config import LlmSettings
from voice_agent.errors import SettingsError, StageError
from voice_agent.stages.generator.deltas import Delta, Finish, TextDelta, ThoughtDelta
from voice_agent.stages.generator.request import Message, Request
from voice_agent.stages.generator.thoughts import ThoughtFilter

log = logging.getLogger(__name__)

SYSTEM_PROMPT: Final = (
    "You are a friendly voice assistant. The user speaks to you, and your reply is read aloud. "
    "Answer in one or two short, plain sentences, in the user's language; say more only when asked to. "
    "Write what a person would say: no lists, markdown, emoji, code or web addresses, and numbers as words "
    "where that is natural. The user's words come from speech recognition and may hold mistakes: "
    "if they make no sense, ask briefly what was meant."
)
"""For models that follow instructions."""

API_TEMPERATURE: Final = 0.7
OPENAI_MODEL: Final = "gpt-5.4-mini"
"""For api.openai.com: small, quick, and with no end announced in `openai` 3.54's list of models."""
OPENAI_URL: Final = "https://api.openai.com/v1"

MAX_PAUSE_S: Final = 2.0
"""Longest pause before another attempt: someone is waiting. Who asks for a longer one is not asked again."""
FIRST_PAUSE_S: Final = 0.1
"""Pause before the second attempt; it doubles with each, and up to half is added at random."""
KEEP_ALIVE_S: Final = 300.0
"""How long an idle connection is kept; the client's own 5 s would cost most turns a TLS handshake."""
WARM_UP_TOKENS: Final = 16
"""Of the reply at start. Read to its end, so that the connection is there for the first user."""

_NO_EXTRA: Final[Mapping[str, Any]] = MappingProxyType({})
_FAILURES: Final = (openai.APIError, TimeoutError, ValueError)
"""What an endpoint can do to us; ValueError is a stream that is not JSON, or not text."""


class OpenAIGenerator:
    """Any endpoint that speaks OpenAI's chat completions."""

    model: str
    instructions: str
    url: str
    """Base URL of the endpoint."""
    key: str
    """What it is authorised by; an endpoint of one's own often needs none, but the client insists on one."""

    def __init__(self, settings: LlmSettings, *, keep_alive_s: float = KEEP_ALIVE_S) -> None:
        """Settings come first, then the variables that the `openai` client reads.

        Raises:
            SettingsError: neither a base URL nor a key is set.
        """
        key, url = configured_key(settings), configured_url(settings)
        if not (key or url):
            raise SettingsError(
                "llm.engine is openai, but there is no endpoint: set VOICE_AGENT_LLM__BASE_URL, "
                "or OPENAI_API_KEY for OpenAI's own"
            )
        self._settings = settings
        self.url = url or OPENAI_URL
        self.key = key or "none"
        try:
            at_openai = httpx2.URL(self.url).host == httpx2.URL(OPENAI_URL).host
        except httpx2.InvalidURL as error:
            raise SettingsError(f"llm.base_url: {self.url!r} is no URL: {error}") from error
        self._client = openai.AsyncOpenAI(
            api_key=self.key,
            base_url=self.url,
            max_retries=0,  # its own know neither a first token nor how long a person waits
            timeout=None,  # bounded here, token by token
            http_client=openai.DefaultAsyncHttpx2Client(limits=httpx2.Limits(keepalive_expiry=keep_alive_s)),
        )
        self._limit = "max_tokens"
        """The name that the endpoint knows it by."""
        temperature = API_TEMPERATURE if settings.temperature is None else settings.temperature
        self._options: dict[str, Any] = {"temperature": temperature}
        self.instructions = settings.system_prompt or SYSTEM_PROMPT
        self.model = settings.model or ""
        if at_openai and not self.model:
            self.model = OPENAI_MODEL
            self._options["reasoning_effort"] = "none"

    async def start(self, extras: Sequence[Mapping[str, Any]] = (_NO_EXTRA,)) -> None:
        """See `Generator`; one warm-up with each of `extras` in the request's body."""
        try:
            if not self.model:
                self.model = await self._first_model()
                log.info("%s offers %s", self.url, self.model)
            for extra in extras:
                await self._warm_up(extra)
        except _FAILURES as error:
            raise self._explained(error) from error

    async def stream(
        self, request: Request, extra: Mapping[str, Any] = _NO_EXTRA
    ) -> AsyncGenerator[Delta, None]:
        """See `Generator`; `extra` goes into the request's body."""
        messages, limit = request.messages, request.max_tokens or self._settings.max_tokens
        for attempt in count():
            began = False
            spoken = ThoughtFilter()
            try:
                async with aclosing(self._tokens(messages, limit, extra)) as tokens:
                    async for token in tokens:
                        began = True
                        text = spoken.feed(token)
                        yield TextDelta(text) if text else ThoughtDelta(token)
            except _FAILURES as error:
                pause = None if began or attempt == self._settings.retries else _pause(error, attempt)
                if pause is None:
                    raise self._explained(error, began) from error
                log.warning("no reply from %s, trying again: %s", self.url, _reason(error))
                await asyncio.sleep(pause)
                continue
            if text := spoken.rest():
                yield TextDelta(text)
            yield Finish("stop")
            return

    async def close(self) -> None:
        """See `Generator`."""
        await self._client.close()

    async def _first_model(self) -> str:
        async with asyncio.timeout(self._settings.first_token_timeout_s):
            page = await self._client.models.list()
        if not page.data:
            raise ValueError("its list of models is empty (VOICE_AGENT_LLM__MODEL names one)")
        return page.data[0].id

    async def _warm_up(self, extra: Mapping[str, Any]) -> None:
        """A short reply that nobody hears; it also finds out which options the endpoint takes."""
        messages = [Message("system", self.instructions), Message("user", "Hello!")]
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

    async def _tokens(
        self, messages: Sequence[Message], max_tokens: int, extra: Mapping[str, Any]
    ) -> AsyncGenerator[str, None]:
        """One request; "" for a token that is not for the user (a reasoning model's thoughts)."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._settings.first_token_timeout_s
        options = {**self._options, self._limit: max_tokens, **self._settings.extra_body, **extra}
        async with asyncio.timeout_at(deadline):
            response = await self._client.chat.completions.create(
                model=self.model,
                messages=cast(
                    list[ChatCompletionMessageParam],
                    [{"role": message.role, "content": message.content} for message in messages],
                ),
                stream=True,
                extra_body=options,
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
        url, model, reason = self.url, self.model, _reason(error)
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
                what = (
                    f"{url} does not know {model!r}: {reason}. Check VOICE_AGENT_LLM__MODEL, and {check_url}"
                )
            case openai.RateLimitError():
                what = f"{url} takes no more requests from this key: {reason}"
            case openai.APIError() if _too_long(error):
                what = f"the conversation is longer than {model} can read: {reason}"
            case openai.APIError():
                what = f"{url} failed with {model!r}: {reason}"
            case _:
                what = f"{url} is no OpenAI-compatible API: {reason}; {check_url}"
        return StageError("generator", what)


def configured_key(settings: LlmSettings) -> str | None:
    """The key, of the settings or of the variable that the `openai` client reads."""
    given = settings.api_key.get_secret_value() if settings.api_key else None
    return given or os.environ.get("OPENAI_API_KEY") or None


def configured_url(settings: LlmSettings) -> str | None:
    """The same for the base URL."""
    return settings.base_url or os.environ.get("OPENAI_BASE_URL") or None


def _token(chunk: object) -> str | None:
    """What a piece of the stream says: "" for a thought, None where it holds no token.

    The client checks no shapes, and endpoints differ in them.
    """
    choices = getattr(chunk, "choices", None)
    delta = getattr(choices[0], "delta", None) if isinstance(choices, list) and choices else None
    content = getattr(delta, "content", None)
    if isinstance(content, str) and content:
        return content
    thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
    return "" if thought else None


def _pause(error: Exception, attempt: int) -> float | None:
    """Seconds before the next attempt; None where another would not help."""
    pause = FIRST_PAUSE_S * 2**attempt * random.uniform(1, 1.5)
    match error:
        case openai.APIStatusError():
            asked = error.response.headers.get("retry-after", "")
            if error.status_code < 500 and error.status_code not in (408, 409, 429):
                return None
            if error.code == "insufficient_quota":  # OpenAI's 429 for an account without money
                return None
            with suppress(ValueError):  # it may be a date, or missing
                pause = max(pause, float(asked))
        case openai.APIConnectionError() | TimeoutError():
            pass
        case _:
            return None
    return pause if pause <= MAX_PAUSE_S else None


def _reason(error: Exception) -> str:
    """The innermost words there are on it, in one line."""
    if isinstance(error, openai.APIConnectionError) and error.__cause__:
        error = cast(Exception, error.__cause__)
    return " ".join(str(error).split())[:300] or type(error).__name__


def _too_long(error: openai.APIError) -> bool:
    """By OpenAI's code, llama.cpp's type, and the words of vLLM and others, who have only a message."""
    known = {"context_length_exceeded", "exceed_context_size_error"}
    return bool(known & {error.code, error.type}) or "context length" in error.message.lower()
