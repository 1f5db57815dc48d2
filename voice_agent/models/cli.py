"""`voice-agent models`: what is in the catalogue, what is here, and whether it is whole."""

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from voice_agent.config import load_settings
from voice_agent.errors import SettingsError, WeightsError
from voice_agent.models.catalog import catalog
from voice_agent.models.fetch import ensure, present, verify
from voice_agent.models.progress import console as terminal

models_app = typer.Typer(no_args_is_help=True, help="List, fetch and verify weights.")

Directory = Annotated[
    Path | None, typer.Option("--dir", help="Where weights are kept, in place of the setting models.dir.")
]
Names = Annotated[list[str] | None, typer.Argument(help="Names from `voice-agent models list`.")]


@models_app.command("list")
def list_command(directory: Directory = None) -> None:
    """Show the catalogue, and what of it is here."""
    folder = _folder(directory)
    table = Table("name", "size", "licence", "here", "what it is")
    for weights in catalog().values():
        here = "yes" if present(weights.name, directory=folder) else "no"
        table.add_row(weights.name, f"{weights.size / 1e6:.0f} MB", weights.licence, here, weights.about)
    # A pipe has no width of its own; a name that is cut there can't be passed on.
    out = Console()
    out.print(table) if out.is_terminal else Console(width=160).print(table)
    typer.echo(f"Kept in {folder}")


@models_app.command()
def pull(
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="All of the catalogue.")] = False,
    directory: Directory = None,
) -> None:
    """Fetch weights and verify them; what is here already is left alone."""
    if bool(names) == everything:
        raise typer.BadParameter("name what to fetch, or pass --all")
    folder = _folder(directory)
    log_to_terminal()
    failed = False
    for name in names or catalog():
        try:
            typer.echo(f"{name}: in {ensure(name, directory=folder)}")
        except WeightsError as error:
            typer.echo(str(error), err=True)
            failed = True
    if failed:
        raise typer.Exit(1)


@models_app.command("verify")
def verify_command(names: Names = None, directory: Directory = None) -> None:
    """Hash weights in full: those named, or all that are here. Exit code 1 if any is not as it should be."""
    folder = _folder(directory)
    chosen = names or [name for name in catalog() if (folder / name).is_dir()]
    if not chosen:
        typer.echo(f"No weights in {folder}")
    bad = []
    for name in chosen:
        try:
            problems = verify(name, directory=folder)
        except WeightsError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error
        typer.echo(f"{name}: {'not whole' if problems else 'ok'}")
        for problem in problems:
            typer.echo(f"  {problem}", err=True)
        bad += [name] * bool(problems)
    if bad:
        typer.echo(f"Run `voice-agent models pull {' '.join(bad)}` to fetch what is wrong again.", err=True)
        raise typer.Exit(1)


def log_to_terminal() -> None:
    """Show what the fetcher says, unless the program around this command has set up logging."""
    if logging.getLogger().handlers:
        return
    handler: logging.Handler = logging.StreamHandler()
    if terminal.is_terminal:  # through the bars' own console, or the lines would tear them
        handler = RichHandler(console=terminal, show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("voice_agent").setLevel(logging.INFO)


def _folder(directory: Path | None) -> Path:
    if directory is not None:
        return directory
    try:
        return load_settings().models.dir.expanduser()
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
