"""`voice-agent lab`: the commands that measure stages on recordings."""

import typer

from voice_agent.lab.endpoint import endpoint
from voice_agent.lab.transcriber import transcriber

lab_app = typer.Typer(no_args_is_help=True, help="Measure stages on recordings, without a server.")
lab_app.command()(endpoint)
lab_app.command()(transcriber)
