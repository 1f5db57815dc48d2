"""Failures of an endpoint: whether another attempt may help, and the message for a person."""

import random
import re
from contextlib import suppress
from typing import Any, Final, cast

import httpx2
import openai

from voice_agent.errors import ContextTooLong, StageError
from voice_agent.stages.generator.characters import clean

MAX_PAUSE_S: Final = 2.0
"""Longest pause before another attempt: someone is waiting. If an endpoint asks for a longer one, there is no other."""
FIRST_PAUSE_S: Final = 0.1
"""Pause before the second attempt; it doubles with each, and up to half is added at random."""


class EndpointError(Exception):
    """The endpoint answered with an error, by HTTP status or in the midst of a stream."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        codes: frozenset[str] = frozenset(),
        param: str | None = None,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(_one_line(message))
        self.status = status
        """As HTTP counts."""
        self.codes = codes
        """Its code and its type, in words."""
        self.param = param
        """The field of the request that it blames."""
        self.retry_after_s = retry_after_s
        """Asked for before another attempt."""

    @property
    def too_long(self) -> bool:
        """Whether the conversation is longer than the model can read."""
        if self.codes & _TOO_LONG_CODES or self.status == 413:
            return True
        words = _REDUCE if self.status in (401, 402, 403, 404, 429) else _TOO_LONG
        return bool(words.search(str(self)))


NOTHING: Final = "nothing"
THOUGHTS: Final = "only thoughts"


class SilenceError(Exception):
    """`what` is all that came for as long as a setting of `llm` allows."""

    def __init__(self, what: str, seconds: float, setting: str) -> None:
        super().__init__(f"{what} for {seconds:g} s (VOICE_AGENT_LLM__{setting.upper()})")
        self.thinks = what != NOTHING


FAILURES: Final = (EndpointError, SilenceError, openai.OpenAIError, httpx2.HTTPError, OSError, ValueError)
"""Exceptions that an endpoint can cause; ValueError is a body that is no stream of chat completions."""
NO_ADDRESS: Final = (httpx2.InvalidURL, OverflowError, ExceptionGroup)
"""Exceptions by which the client, and what is beneath it, find that a redirection leads to no address."""

_TOO_LONG_CODES: Final = frozenset(
    {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
)
"""OpenAI's and llama.cpp's."""
_TOO_LONG: Final = re.compile(
    r"context (length|size|window)|max_model_len|maximum (model|prompt) length|maximum number of tokens"
    r"|(prompt|input|request|conversation|messages?)\b.{0,40}\b(too (long|large)|exceeds?|longer than)"
    r"|too many (input )?tokens|reduce the length|tokens must be reduced|max_new_tokens` must be <=",
    re.IGNORECASE,
)
"""The words of those that have only a message: vLLM, SGLang, TGI, Ollama, LM Studio, Anthropic, Gemini, Mistral..."""
_REDUCE: Final = re.compile(r"reduce the length|tokens must be reduced", re.IGNORECASE)
"""OpenAI's limit on the tokens of a minute may be less than one request. Others word their limits as those above."""

_HELPLESS: Final = frozenset(
    {"insufficient_quota", "invalid_request_error", "authentication_error", "permission_error"}
    | {"invalid_api_key", "model_not_found", "not_found_error", "billing_error", "invalid_argument"}
)
"""Codes after which asking the same again gets the same."""
_NUMBERS: Final = ("code", "status", "status_code", "statusCode", "http_status")
"""Where an error has its status."""
_PASSING: Final = frozenset({408, 409, 425, 429})


def error_in(raw: object) -> EndpointError | None:
    """The error that a JSON document is, in any of the shapes that endpoints give it; else None."""
    if not isinstance(raw, dict):
        return None
    error = raw.get("error") or raw.get("errors")
    if isinstance(error, list):
        error = error[0] if error else None
    if not error and "choices" not in raw:
        failed = "error" in (raw.get("object"), raw.get("type"), raw.get("status"))
        if raw.get("detail"):
            error = {**raw, "message": _detail(raw["detail"])}
        elif failed or ((raw.get("message") or raw.get("msg")) and any(raw.get(key) for key in _NUMBERS)):
            error = raw
    if not error:
        return None
    if not isinstance(error, dict):
        error = {"message": raw.get("message") if error is True else error, "code": raw.get("code")}
    elif isinstance(error.get("error"), dict):
        error = error["error"]
    words = [error.get(key) for key in ("code", "type", "status")]
    numbers = (error.get(key) or raw.get(key) for key in _NUMBERS)
    message = error.get("message") or error.get("msg") or error.get("detail") or error
    param = error.get("param")
    return EndpointError(
        str(message),
        status=next((status for status in map(_status, numbers) if status), None),
        codes=frozenset(word.lower() for word in words if isinstance(word, str)),
        param=param if isinstance(param, str) and param.lower() not in ("", "none", "null") else None,
    )


def endpoint_error(error: openai.APIStatusError) -> EndpointError:
    """An answer with a status that is an error, in the same terms."""
    body = error.body if isinstance(error.body, dict) else None
    # The client takes the `error` out of the body, if there is one.
    told = error_in({"error": body}) if body and not body.get("detail") else error_in(body)
    pause = 0.0
    with suppress(ValueError):  # it may be a date, or missing
        pause = float(error.response.headers.get("retry-after", ""))
    message = str(told) if told else f"HTTP {error.status_code}: {error.body or 'no reason given'}"
    return EndpointError(
        message,
        status=error.status_code,
        codes=told.codes if told else frozenset(),
        param=told.param if told else None,
        retry_after_s=pause,
    )


def pause_s(error: Exception, attempt: int) -> float | None:
    """Seconds before the attempt after number `attempt` (from 0); None where another would not help."""
    pause = FIRST_PAUSE_S * 2**attempt * random.uniform(1, 1.5)
    if isinstance(error, EndpointError):
        status = error.status
        if error.codes & _HELPLESS or error.too_long:
            return None
        if status and status < 500 and status not in _PASSING:
            return None
        pause = max(pause, error.retry_after_s)
    return pause if pause <= MAX_PAUSE_S else None


def explained(error: Exception, url: str, model: str, began: bool) -> StageError:
    """An error that says what happened, which setting is to blame, and what to do; `began`: after the first text."""
    reason = _reason(error)
    check_url = "check VOICE_AGENT_LLM__BASE_URL (mostly it ends in /v1)"
    match error:
        case EndpointError() if error.too_long:
            return ContextTooLong("generator", f"the conversation is longer than {model} can read: {reason}")
        case SilenceError(thinks=True):
            less = 'VOICE_AGENT_LLM__EXTRA_BODY={"reasoning_effort": "none"} keeps some models from thinking'
            what = f"{url} sent {reason}: {less}"
        case SilenceError():
            what = f"{url} sent {reason}: is it overloaded?"
        case EndpointError(status=401 | 403):
            what = f"{url} refused the key: {reason}. Set VOICE_AGENT_LLM__API_KEY or OPENAI_API_KEY"
        case EndpointError(status=404):
            what = f"{url} does not know {model!r}: {reason}. Check VOICE_AGENT_LLM__MODEL, and {check_url}"
        case EndpointError(status=429):
            what = f"{url} takes no more requests from this key: {reason}"
        case EndpointError():
            what = f"{url} failed with {model!r}: {reason}"
        case openai.OpenAIError() | httpx2.HTTPError() | OSError() if began:
            what = f"{url} broke off in the middle of the reply: {reason}"
        case openai.OpenAIError() | httpx2.HTTPError() | OSError():
            what = f"can't reach {url}: {reason}. Start the server there, or {check_url}"
        case _:
            what = f"{url} is no OpenAI-compatible API: {reason}; {check_url}"
    return StageError("generator", what)


def is_broken(error: StageError) -> bool:
    """Whether a connection failed, and not what came over it."""
    return isinstance(error.__cause__, openai.APIConnectionError | httpx2.HTTPError | OSError)


def _reason(error: Exception) -> str:
    """The innermost words there are on it, in one line."""
    if isinstance(error, openai.APIConnectionError) and error.__cause__:
        error = cast(Exception, error.__cause__)
    return _one_line(str(error)) or type(error).__name__


def _one_line(message: str) -> str:
    """Text that somebody else wrote, made fit for a log."""
    return " ".join(clean(message[:1000]).split())[:300]


def _status(code: object) -> int | None:
    if isinstance(code, str) and code.isdecimal() and len(code) == 3:
        code = int(code)
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _detail(detail: object) -> str:
    """FastAPI's list of what is wrong: where, and what; not the input, which is the whole request."""
    if not isinstance(detail, list):
        return str(detail)
    entries = (entry for entry in detail if isinstance(entry, dict))
    return "; ".join(
        f"{'.'.join(map(str, _list(entry.get('loc'))))}: {entry.get('msg')}" for entry in entries
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]
