"""The endpoint that the settings, or the variables of the `openai` client, name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

import httpx2
import openai

from voice_agent.config import LlmSettings
from voice_agent.errors import SettingsError
from voice_agent.loopback import is_loopback

OPENAI_URL: Final = "https://api.openai.com/v1"
MAX_PORT: Final = 65535
SHORTEST_SECRET: Final = 8
"""Characters. A shorter key is a word for an endpoint that wants none, such as `none`, and may be part of others."""


@dataclass(frozen=True)
class HttpEndpoint:
    """The address of an OpenAI-compatible API, and its key."""

    url: str
    """Its base URL."""
    key: str
    """Authorises us; an endpoint of one's own often needs none, but the client insists on one."""
    source: str
    """The setting or variable that named it, for people to read."""

    @classmethod
    def of(cls, settings: LlmSettings) -> Self:
        """The one that is configured; the settings go before the environment.

        Raises:
            SettingsError: neither a base URL nor a key is set, or one of them can't be used.
        """
        key, url = configured_key(settings), configured_url(settings)
        if not (key or url):
            raise SettingsError(
                "llm.engine is openai, but there is no endpoint: set VOICE_AGENT_LLM__BASE_URL, "
                "or OPENAI_API_KEY for OpenAI's own"
            )
        if settings.base_url:
            source = "llm.base_url"
        elif url:
            source = "OPENAI_BASE_URL"
        else:
            source = "llm.api_key" if settings.api_key else "OPENAI_API_KEY"
        _check_key(key or "", "llm.api_key" if settings.api_key else "OPENAI_API_KEY")
        endpoint = cls(url or OPENAI_URL, key or "none", source)
        if url and (fault := _fault(url)):
            raise SettingsError(
                f"{source}: {endpoint.shown!r} {fault}; a base URL is such as http://127.0.0.1:8000/v1"
            )
        return endpoint

    @property
    def host(self) -> str:
        """With its port, where the URL has one."""
        return httpx2.URL(self.url).netloc.decode()

    @property
    def at_openai(self) -> bool:
        """Whether it is OpenAI's own."""
        return httpx2.URL(self.url).host == httpx2.URL(OPENAI_URL).host

    @property
    def on_this_machine(self) -> bool:
        """Whether it is reached over loopback."""
        return is_loopback(self.url)

    @property
    def shown(self) -> str:
        """The URL for people to read: without a password in it."""
        before, at, behind = self.url.rpartition("@")
        return f"{before.partition('://')[0]}://{behind}" if at else self.url

    @property
    def destination(self) -> str:
        """Where conversations go, and why there."""
        where = f"{self.host}, on this machine" if self.on_this_machine else self.host
        return f"conversations go to {where} (from {self.source})"

    @contextmanager
    def key_kept_secret(self) -> Iterator[None]:
        """Take the key out of the words of what is raised within: endpoints repeat the one that they refuse."""
        try:
            yield
        except Exception as error:
            for told in (error, error.__cause__):
                if told and len(self.key) >= SHORTEST_SECRET:
                    told.args = tuple(
                        arg.replace(self.key, "(the key)") if isinstance(arg, str) else arg
                        for arg in told.args
                    )
            raise

    def client(self, *, keep_alive_s: float) -> openai.AsyncOpenAI:
        """A client of it, for whose waits the caller sets the bounds.

        Raises:
            SettingsError: the environment names a proxy that can't be used.
        """
        try:
            http_client = openai.DefaultAsyncHttpx2Client(
                limits=httpx2.Limits(keepalive_expiry=keep_alive_s),
                # No proxy leads to this machine; one that can't be used is not even looked at.
                trust_env=not self.on_this_machine,
                verify=httpx2.create_ssl_context(),  # SSL_CERT_FILE counts in either case
            )
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise SettingsError(
                f"the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY can't be used: {error}; "
                f"correct it, or exempt {self.host} by NO_PROXY"
            ) from error
        return openai.AsyncOpenAI(
            api_key=self.key,
            base_url=self.url,
            max_retries=0,  # its own know neither a first token nor how long a person waits
            timeout=None,
            http_client=http_client,
        )


def _fault(url: str) -> str | None:
    """Why no request can go to `url`; None where one can."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        return f"is no URL: {error}"
    if parsed.scheme not in ("http", "https"):
        return "does not begin with http:// or https://"
    if any(sign.isspace() for sign in url):
        return "has white space in it"
    if not parsed.host.strip("."):
        return "names no host"
    if parsed.port is not None and not 1 <= parsed.port <= MAX_PORT:
        return f"has a port that is not within 1 and {MAX_PORT}"
    return None


def _check_key(key: str, source: str) -> None:
    """Raises:
    SettingsError: no header can carry it. Its value is not repeated.
    """
    if not (key.isascii() and key.isprintable()):
        raise SettingsError(
            f"{source}: the key holds characters that no HTTP header can carry (a line break or another control "
            "character, or one that is not ASCII): was more than the key copied?"
        )


def configured_key(settings: LlmSettings) -> str | None:
    """The key, of the settings or of the variable that the `openai` client reads."""
    given = settings.api_key.get_secret_value() if settings.api_key else None
    return (given or os.environ.get("OPENAI_API_KEY") or "").strip() or None


def configured_url(settings: LlmSettings) -> str | None:
    """The same for the base URL."""
    return (settings.base_url or os.environ.get("OPENAI_BASE_URL") or "").strip() or None


def is_configured(settings: LlmSettings) -> bool:
    """Whether anything names an endpoint."""
    return bool(configured_key(settings) or configured_url(settings))
