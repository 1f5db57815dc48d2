"""Any endpoint that speaks OpenAI's chat completions, through the `openai` client."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from itertools import count
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import openai

from voice_agent.config import LlmSettings
from voice_agent.errors import StageError
from voice_agent.stages.generator.deltas import Delta
from voice_agent.stages.generator.endpoint import HttpEndpoint
from voice_agent.stages.generator.events import EventDecoder, NotAStreamError
from voice_agent.stages.generator.failures import (
    FAILURES,
    NO_ADDRESS,
    EndpointError,
    SilenceError,
    endpoint_error,
    explained,
    pause_s,
)
from voice_agent.stages.generator.offered import offered
from voice_agent.stages.generator.options import Options
from voice_agent.stages.generator.patience import Patience
from voice_agent.stages.generator.reply import ReplyReader, is_output
from voice_agent.stages.generator.request import Message, Request, body, without_system_role
from voice_agent.stages.generator.spare import Spare
from voice_agent.urgency import Urgency

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

KEEP_ALIVE_S: Final = 300.0
"""How long an idle connection is kept; the client's own 5 s would cost most turns a TLS handshake."""
WARM_UP_TOKENS: Final = 256
"""Of the reply at start. Read to its end, so that the connection is there for the first user. Most models greet
in ten; one that thinks gets to the end of its thoughts mostly, and shows how it marks them."""
MODELS_TRIED: Final = 4
"""Of those that an endpoint offers, until one chats."""
FAREWELL_S: Final = 0.1
"""For what comes behind the reply: its usage, and the end of the stream, with which the connection can be used
again. They come with the last token or are not waited for; 0.1 s is what the `openai` client takes too."""
GOES_ON_S: Final = 1.0
"""The same where text came after the end was told: some proxies tell it with each piece. Twice the time between
two words of a model as slow as speech."""
CLOSE_S: Final = 2.0
"""For closing connections."""
SLOW_START_S: Final = 10.0
"""After this long the log says that a model is waited for."""

_NO_EXTRA: Final[Mapping[str, Any]] = MappingProxyType({})
_NOT_THIS_MODEL: Final = frozenset({None, 400, 404, 405, 415, 422, 500, 501})
"""Statuses by which endpoints refuse to chat with a model that does something else."""


class OpenAIGenerator:
    """Any endpoint that speaks OpenAI's chat completions."""

    model: str
    instructions: str
    destination: str

    def __init__(self, settings: LlmSettings, *, keep_alive_s: float = KEEP_ALIVE_S) -> None:
        """Settings come first, then the variables that the `openai` client reads.

        Raises:
            SettingsError: neither a base URL nor a key is set, or the URL or a proxy can't be used.
        """
        self._settings = settings
        self.endpoint = HttpEndpoint.of(settings)
        self.destination = self.endpoint.destination
        self.instructions = settings.system_prompt or SYSTEM_PROMPT
        self.model = settings.model or ""
        self._client = self.endpoint.client(keep_alive_s=keep_alive_s)
        self._spare = Spare(self._touch) if keep_alive_s else None
        self._asked: dict[str, Any] = {
            "temperature": API_TEMPERATURE if settings.temperature is None else settings.temperature
        }
        if self.endpoint.at_openai and not self.model:
            self.model = OPENAI_MODEL
            self._asked["reasoning_effort"] = "none"
        self._options = Options(self._asked)
        self._opened = False
        """Whether replies begin within a thought, as far as was seen."""

    async def start(self) -> None:
        """See `Generator`."""
        log.info("%s", self.destination)
        await self.warm_up()

    async def warm_up(self, extras: Sequence[Mapping[str, Any]] = (_NO_EXTRA,)) -> None:
        """Find the model, and have it answer once for each of `extras`, which go into the request's body.

        Raises:
            StageError: see `Generator.start`.
        """
        loop = asyncio.get_running_loop()
        slow = loop.call_later(
            SLOW_START_S, log.info, "waiting for %s; a model may take a while to load", self.endpoint.shown
        )
        until = loop.time() + self._settings.warm_up_timeout_s
        names: list[str] = []
        try:
            names = [self.model] if self.model else (await self._offered(until))[:MODELS_TRIED]
            for name in names:
                self.model, self._options = name, Options(self._asked)
                try:
                    for extra in extras:
                        await self._greet(extra, until)
                except EndpointError as error:
                    if name == names[-1] or error.status not in _NOT_THIS_MODEL:
                        raise
                    log.info("%s does not chat: %s", name, error)
                else:
                    break
        except FAILURES as error:
            raise self._start_failure(error, names) from error
        finally:
            slow.cancel()
        if not self._settings.model:
            log.info("%s: talking to %s", self.endpoint.shown, self.model)

    async def stream(
        self, request: Request, extra: Mapping[str, Any] = _NO_EXTRA, *, turn_at: float | None = None
    ) -> AsyncGenerator[Delta, None]:
        """See `Generator`; `extra` goes into the request's body.

        `turn_at`, on the event loop's clock, is when the turn's time is up; by default it begins now.
        """
        clock = asyncio.get_running_loop().time
        settings = self._settings
        turn_at = clock() + settings.turn_timeout_s if turn_at is None else turn_at
        retries = 0
        for attempt in count():
            if self._client.is_closed():
                raise StageError("generator", f"the client of {self.endpoint.shown} is closed already")
            began = False
            patience = self._patience("first_token_timeout_s", "turn_timeout_s", turn_at)
            try:
                async with aclosing(self._attempt(request, extra, patience)) as deltas:
                    async for delta in deltas:
                        began = began or is_output(delta)
                        yield delta
                return
            except FAILURES as error:
                if not began and self._leaves_out(error):
                    continue
                pause = None if began or retries == settings.retries else pause_s(error, attempt)
                if pause is None or clock() + pause >= turn_at:
                    raise explained(error, self.endpoint.shown, self.model, began) from error
                retries += 1
                log.warning("no reply from %s, trying again: %s", self.endpoint.shown, error)
                await asyncio.sleep(pause)

    async def close(self) -> None:
        """See `Generator`."""
        if self._spare:
            await self._spare.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._client.close()

    async def _touch(self) -> None:
        """What the endpoint tells of the model: a line or two, where it knows this request at all."""
        with self.endpoint.key_kept_secret(), suppress(openai.APIStatusError):
            await self._client.get(f"/models/{quote(self.model)}", cast_to=object)

    async def _offered(self, until: float) -> list[str]:
        """The models of the endpoint, the likeliest first."""
        patience = self._patience("warm_up_timeout_s", "warm_up_timeout_s", until)
        with self.endpoint.key_kept_secret():
            async with patience.wait(), _with_statuses():
                page = await self._client.get("/models", cast_to=object)
        if names := offered(page):
            return names
        raise EndpointError("it lists no model")

    async def _greet(self, extra: Mapping[str, Any], until: float) -> None:
        """A short reply that nobody hears; it also finds out which options the endpoint takes."""
        messages = (Message("system", self.instructions), Message("user", "Hello!"))
        request = Request(messages, max_tokens=WARM_UP_TOKENS)
        while True:
            patience = self._patience("warm_up_timeout_s", "warm_up_timeout_s", until)
            try:
                async with aclosing(self._attempt(request, extra, patience)) as deltas:
                    async for _ in deltas:
                        pass
                return
            except EndpointError as error:
                if not self._leaves_out(error, guess=True):
                    raise

    async def _attempt(
        self, request: Request, extra: Mapping[str, Any], patience: Patience
    ) -> AsyncGenerator[Delta, None]:
        """One request, and its reply."""
        if self._spare and request.need and request.need.urgency > Urgency.DUE:
            self._spare.begun()
        clock = asyncio.get_running_loop().time
        reply, decoder = ReplyReader(opened=self._opened), EventDecoder()
        if not self._options.system_role:
            request = without_system_role(request)
        options = self._options.body(request.max_tokens or self._settings.max_tokens)
        async with AsyncExitStack() as stack:
            stack.enter_context(self.endpoint.key_kept_secret())
            # Also where nobody reads on: whoever hears of a thought taken back asks again at once.
            stack.callback(self._learn_from, reply)
            stack.push(self._left)
            async with patience.wait(), _with_statuses():
                response = await stack.enter_async_context(
                    self._client.chat.completions.with_streaming_response.create(
                        model=self.model,
                        messages=[],
                        stream=True,
                        extra_body={**body(request), **options, **self._settings.extra_body, **extra},
                    )
                )
            pieces = await stack.enter_async_context(aclosing(response.http_response.aiter_bytes()))
            ended, known, leave_at = False, (0, False), math.inf
            while not ended:
                piece = await _piece(pieces, patience, leave_at)
                ended = piece is None
                try:
                    for document in decoder.end() if piece is None else decoder.feed(piece):
                        for delta in reply.feed(document):
                            yield delta
                            patience.heard(delta)
                except NotAStreamError:
                    if not reply.over:
                        raise
                    ended = True
                if not reply.over:
                    leave_at = math.inf
                elif leave_at == math.inf or known != (reply.ends, reply.closed):
                    leave_at = clock() + (FAREWELL_S if reply.ends <= 1 or reply.closed else GOES_ON_S)
                known = reply.ends, reply.closed
            for delta in reply.end_of_stream():
                yield delta
        yield reply.finish()

    def _left(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._spare and kind in (asyncio.CancelledError, GeneratorExit):
            self._spare.left()

    def _learn_from(self, reply: ReplyReader) -> None:
        if reply.opened_unseen is not None:
            self._opened = reply.opened_unseen

    def _patience(self, first: str, turn: str, turn_at: float) -> Patience:
        def bound(setting: str) -> tuple[float, str]:
            return getattr(self._settings, setting), setting

        return Patience(first=bound(first), token=bound("token_timeout_s"), turn=bound(turn), turn_at=turn_at)

    def _leaves_out(self, error: Exception, *, guess: bool = False) -> bool:
        """Whether the endpoint refused an option that the next request can do without."""
        if not isinstance(error, EndpointError):
            return False
        if option := self._options.drop_refused(error, guess=guess):
            log.warning("%s: %s is left out from now on: %s", self.endpoint.shown, option, error)
        return option is not None

    def _start_failure(self, error: Exception, names: Sequence[str]) -> StageError:
        """Where the model was not set, what was found out about those that there are."""
        failure = explained(error, self.endpoint.shown, self.model, began=False)
        if self._settings.model or self.endpoint.at_openai:
            return failure
        self.model = ""  # what is offered may be another the next time
        refused = isinstance(error, EndpointError) and error.status not in (401, 403, 429)
        if not refused or isinstance(error, SilenceError):
            return failure
        tried = f" of {', '.join(names)}" if names else ""
        return StageError(
            "generator",
            f"{self.endpoint.shown} offers no model{tried} that answers: {error}. Set VOICE_AGENT_LLM__MODEL, and "
            "check VOICE_AGENT_LLM__BASE_URL (mostly it ends in /v1)",
        )


@asynccontextmanager
async def _with_statuses() -> AsyncIterator[None]:
    """An answer that is an error, or leads nowhere, in our own terms."""
    try:
        yield
    except openai.APIStatusError as error:
        raise endpoint_error(error) from error
    except NO_ADDRESS as error:
        raise ConnectionError(f"it leads to what is no address: {_innermost(error)}") from error


def _innermost(error: Exception) -> Exception:
    return _innermost(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


async def _piece(pieces: AsyncIterator[bytes], patience: Patience, leave_at: float) -> bytes | None:
    """The next bytes of a body, None where no more come; of a reply that seems to be over until `leave_at` only."""
    if leave_at == math.inf:
        async with patience.wait():
            return await anext(pieces, None)
    if asyncio.get_running_loop().time() < leave_at:
        with suppress(*FAILURES):  # whatever it is, the reply is whole
            async with asyncio.timeout_at(leave_at):
                return await anext(pieces, None)
    return None
