"""The command `voice-agent`."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import Annotated

import platformdirs
import typer
from rich.console import Console
from rich.text import Text

from voice_agent.address import Address
from voice_agent.config import (
    Settings,
    TtsEngine,
    VadEngine,
    load_settings,
)
from voice_agent.config_sources import CONFIG_VARIABLE, ENV_PREFIX
from voice_agent.doctor import doctor
from voice_agent.errors import SettingsError, WeightsError
from voice_agent.lab.cli import lab_app
from voice_agent.models import ensure
from voice_agent.models.cli import log_to_terminal, models_app
from voice_agent.talk import talk

app = typer.Typer(
    help="A self-hosted real-time voice assistant: speech in, speech out, over one WebSocket.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models_app, name="models")
app.add_typer(lab_app, name="lab")

_errors = Console(
    stderr=True, soft_wrap=True
)  # a terminal breaks lines itself; a log or a pipe should not get any


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (3000).")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings (voice-agent.toml).")] = None,
    vad: Annotated[VadEngine | None, typer.Option(help="Voice-activity detection (cascade).")] = None,
    stt: Annotated[str | None, typer.Option(help="Whisper model.", metavar="MODEL")] = None,
    llm: Annotated[str | None, typer.Option(help="Language model.", metavar="MODEL")] = None,
    llm_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint.", metavar="URL")] = None,
    tts: Annotated[TtsEngine | None, typer.Option(help="Speech synthesizer (piper).")] = None,
    voice: Annotated[str | None, typer.Option(help="Voice of the synthesizer.")] = None,
) -> None:
    """Serve the agent and its page. Weights that are missing are fetched first.

    Flags go before environment variables (VOICE_AGENT_SERVER__PORT), those before the TOML file.
    """
    flags = {
        "SERVER__HOST": host,
        "SERVER__PORT": port,
        "VAD__ENGINE": vad,
        "STT__MODEL": stt,
        "LLM__MODEL": llm,
        "LLM__BASE_URL": llm_url,
        "TTS__ENGINE": tts,
        "TTS__VOICE": voice,
    }
    # The service reads its settings itself, in a process of its own: flags reach it as variables.
    os.environ.update(
        {f"{ENV_PREFIX}{name}": str(value) for name, value in flags.items() if value is not None}
    )
    if config:
        os.environ[CONFIG_VARIABLE] = str(config.resolve())
    try:
        settings = load_settings()
        address = _check_and_fetch(settings)
    except (SettingsError, WeightsError) as error:
        _errors.print(Text.assemble(("error: ", "red"), str(error)))
        raise typer.Exit(1) from error
    _become_bentoml(address)


app.command()(talk)
app.command()(doctor)


def _check_and_fetch(settings: Settings) -> Address:
    """Have what is wrong with the settings, or with the network, said here rather than in the service's log."""
    from voice_agent.checks import check
    from voice_agent.engines import Engines, needed_weights  # takes a second, which --help need not wait for

    address = Address.of(settings.server)
    address.check_free()  # BentoML would say it in forty lines
    engines = Engines.build(settings)
    check(settings, engines.generator)
    log_to_terminal()
    for name in needed_weights(settings):
        ensure(name, directory=settings.models.dir, offline=settings.models.offline)
    address.check_free()  # still: another start may have been quicker
    return address


def _become_bentoml(address: Address) -> None:
    """Go on as `bentoml serve`: signals and the exit code are then BentoML's own, with nothing in between."""
    if "BENTOML_HOME" not in os.environ:
        os.environ["BENTOML_HOME"] = str(_bentoml_home(address.port))
    arguments = ["serve", "voice_agent.service:VoiceAgent", "--host", address.ip, "--port", str(address.port)]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *arguments])


def _bentoml_home(port: int) -> Path:
    """A folder of its own for each server: two that share one wipe each other's metrics."""
    home = Path(platformdirs.user_cache_dir("voice-agent")) / f"bentoml-{port}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=home):
            return home.absolute()
    except OSError:  # as in a container whose file system can't be written
        return Path(mkdtemp(prefix=f"voice-agent-{port}-"))
