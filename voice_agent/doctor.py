"""`voice-agent doctor`: what this machine has, and what to do about what is missing."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import ctranslate2
import httpx2
import psutil
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from voice_agent.address import Address
from voice_agent.config import Settings, load_settings
from voice_agent.config_sources import config_file
from voice_agent.errors import SettingsError, VoiceAgentError
from voice_agent.models import catalog, present

if TYPE_CHECKING:
    from voice_agent.engines import Engines
    from voice_agent.stages.generator import Generator

State = Literal["ok", "note", "missing"]
_MARK = {"ok": "[green]✓[/]", "note": "[yellow]·[/]", "missing": "[red]✗[/]"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: State
    found: str
    advice: str = ""
    """The remedy; empty where nothing needs doing."""


def doctor() -> None:
    """Print what this machine has, and what to do about what is missing. Exit code 1 if the agent can't run."""
    console = Console()
    try:
        settings = load_settings()
    except SettingsError as error:
        console.print("[red]✗[/] settings")
        console.print(str(error), markup=False)
        raise typer.Exit(1) from error
    table = Table(box=None, show_header=False, padding=(0, 1))
    findings = list(examine(settings))
    for finding in findings:
        advice = f"\n[bold]{escape(finding.advice)}[/]" if finding.advice else ""
        table.add_row(_MARK[finding.state], finding.what, escape(finding.found) + advice)
    console.print(table)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything that the agent needs with these settings."""
    memory_gb = psutil.virtual_memory().total / 1e9
    yield Finding(
        "machine",
        "ok",
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, "
        f"Python {platform.python_version()}",
    )
    yield Finding("settings", "ok", str(config_file() or "defaults and environment"))
    yield _gpu()
    yield Finding("VAD", "ok", settings.vad.engine)
    try:
        engines = _engines(settings)
    except (VoiceAgentError, ImportError) as error:
        yield Finding("engines", "missing", str(error), "Correct the setting that is named.")
    else:
        yield from _chosen(settings, engines)
        yield from _weights(settings)
        yield from _endpoint(engines.generator)
    yield _port(settings)


def _gpu() -> Finding:
    count = ctranslate2.get_cuda_device_count()
    if count:
        return Finding("GPU", "ok", f"{count} that CUDA finds: Whisper runs on it in float16")
    return Finding("GPU", "note", "none that CUDA finds: everything runs on the CPU")


def _engines(settings: Settings) -> "Engines":
    from voice_agent.checks import check
    from voice_agent.engines import Engines

    engines = Engines.build(settings)
    check(settings, engines.generator)
    return engines


def _chosen(settings: Settings, engines: "Engines") -> Iterator[Finding]:
    from voice_agent.stages.generator.openai_api import OpenAIGenerator

    yield Finding("Whisper", "ok", f"{settings.stt.model}, faster-whisper {version('faster-whisper')}")
    if isinstance(engines.generator, OpenAIGenerator):
        yield Finding("LLM", "ok", f"an API, with the openai client {version('openai')}")
    else:
        yield Finding("LLM", "ok", f"{engines.generator.model}, embedded llama.cpp {version('xllamacpp')}")
    yield Finding("privacy", "ok", engines.generator.destination)
    yield _voice(settings)


def _voice(settings: Settings) -> Finding:
    """The chosen synthesizer."""
    if settings.tts.engine != "xtts":
        return Finding("voice", "ok", settings.tts.engine)
    return Finding("voice", "ok", f"xtts, Coqui TTS {version('coqui-tts')} (weights: non-commercial licence)")


def _weights(settings: Settings) -> Iterator[Finding]:
    from voice_agent.engines import needed_weights

    for name in needed_weights(settings):
        size = f"{catalog()[name].size / 1e6:.0f} MB in {settings.models.dir}"
        if present(name, directory=settings.models.dir):
            yield Finding(name, "ok", size)
        elif settings.models.offline:
            advice = f"Run `voice-agent models pull {name}`: models.offline keeps the server from it."
            yield Finding(name, "missing", "not fetched", advice)
        else:
            yield Finding(name, "note", f"not fetched yet, {size}: the server fetches it when it starts")


def _endpoint(generator: "Generator") -> Iterator[Finding]:
    """The API that writes the replies, where there is one."""
    from voice_agent.stages.generator.openai_api import OpenAIGenerator

    if not isinstance(generator, OpenAIGenerator):
        return
    endpoint = generator.endpoint
    url = f"{endpoint.shown.rstrip('/')}/models"
    try:
        answer = httpx2.get(
            f"{endpoint.url.rstrip('/')}/models",
            headers={"Authorization": f"Bearer {endpoint.key}"},
            timeout=5,
            trust_env=not endpoint.on_this_machine,  # no proxy leads there
        )
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:  # ValueError: a key that is no ASCII
        advice = "Start the server there, or correct VOICE_AGENT_LLM__BASE_URL."
        yield Finding("LLM endpoint", "missing", f"{url}: {error}", advice)
        return
    if answer.status_code in (401, 403):
        advice = "Set VOICE_AGENT_LLM__API_KEY or OPENAI_API_KEY."
        yield Finding("LLM endpoint", "missing", f"{url} refuses the key", advice)
    elif answer.is_success:
        yield Finding("LLM endpoint", "ok", f"{endpoint.shown} answers")
    else:
        advice = "It may do without a list of models; if not, check VOICE_AGENT_LLM__BASE_URL."
        yield Finding("LLM endpoint", "note", f"{url}: HTTP {answer.status_code}", advice)


def _port(settings: Settings) -> Finding:
    advice = "Choose another with server.host and server.port, or --host and --port."
    try:
        address = Address.of(settings.server)
    except SettingsError as error:
        return Finding("address", "missing", str(error), advice)
    try:
        address.check_free()
    except SettingsError as error:
        return Finding("port", "note", str(error))
    return Finding("port", "ok", f"{address} is free")
