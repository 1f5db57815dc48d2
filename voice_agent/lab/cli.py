"""`voice-agent lab`: the commands that measure. What they run is imported by the one that runs it: it takes seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.console import Console
from rich.text import Text

from voice_agent.config import Eagerness
from voice_agent.errors import VoiceAgentError

lab_app = typer.Typer(no_args_is_help=True, help="Recorded audio in, a verdict out.")

FAILED: Final = 1
"""Exit code: an expectation or a bar was not met, or something really became slower."""
WRONG: Final = 2
"""Exit code: nothing could be measured."""
INTERRUPTED: Final = 130

_errors = Console(stderr=True, soft_wrap=True)


@contextmanager
def _explained() -> Iterator[None]:
    """Say what was wrong, without a traceback."""
    try:
        yield
    except VoiceAgentError as error:
        _errors.print(Text.assemble(("error: ", "red"), str(error)))
        raise typer.Exit(WRONG) from error


def _numbers(text: str) -> str:
    numbers = text.split(",")
    if not all(number.strip().isdigit() and int(number) > 0 for number in numbers):
        raise typer.BadParameter(f"{text!r}: numbers of sessions are wanted, such as 1,2,4,8")
    return text


@lab_app.command()
def run(
    fixtures: Annotated[
        Path,
        typer.Argument(
            help="Folder of recordings (docs/latency.md), or scenarios: *.yaml, or a folder of them."
        ),
    ],
    url: Annotated[str | None, typer.Option(help="WebSocket of a server; by default one is started.")] = None,
    wire: Annotated[
        Literal["native", "twilio"], typer.Option(help="What is spoken with it: docs/protocol.md.")
    ] = "native",
    sessions: Annotated[str, typer.Option(help="How many at once, one level each.", callback=_numbers)] = "1",
    repeat: Annotated[int, typer.Option(min=1, help="How often each caller says everything.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many calls, spread over all.")] = None,
    short: Annotated[bool, typer.Option(help="Only the scenarios that are marked so.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write a report: one HTML file.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the result, to be compared with later.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write it as JUnit's XML.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="Compare with this result.")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option(help="A bar, such as 'p95>900ms', or 'p95>+10%' with --baseline.")
    ] = None,
    ramp: Annotated[
        float | None,
        typer.Option(min=1, help="Find how many sessions keep p95 of voice-to-voice within so many ms."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for a reply while nothing comes.")
    ] = 20.0,
    jitter: Annotated[float, typer.Option(help="Mean delay of each frame, ms.")] = 0.0,
    loss: Annotated[float, typer.Option(help="Share of frames that are lost, 0 to 0.75.")] = 0.0,
    stall: Annotated[float, typer.Option(help="Every 10 s nothing leaves for so many ms.")] = 0.0,
    mulaw: Annotated[bool, typer.Option(help="The telephone's band and coding.")] = False,
    noise: Annotated[Path | None, typer.Option(help="Recording that is played under the speech.")] = None,
    snr: Annotated[float, typer.Option(help="How far --noise is below the speech, dB.")] = 20.0,
    echo: Annotated[
        float | None, typer.Option(help="The reply comes back into the microphone, so many dB quieter.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
) -> None:
    """Talk to a server as callers do, and measure.

    Exits with 0 if all was as it should be; 1 if an expectation of a scenario or a bar was not met; 2 if nothing could
    be measured; 130 if it was interrupted: what was measured by then is written all the same.
    """
    with _explained():
        from voice_agent.lab import command
        from voice_agent.lab.compare import read_result
        from voice_agent.lab.fail_if import check, parse

        levels = [int(number) for number in sessions.split(",")]
        old = read_result(baseline) if baseline else None
        check([parse(bar) for bar in fail_if or ()], [1] if ramp else levels, old is not None)
        options = command.options(
            repeat,
            timeout,
            wire,
            report is not None,
            {
                "jitter_ms": jitter,
                "loss": loss,
                "stall_ms": stall,
                "mulaw": mulaw,
                "noise": noise,
                "snr_db": snr,
                "echo_db": echo,
                "seed": seed,
            },
        )
        result = command.measure(fixtures, url, levels, options, limit=limit, short=short, ramp_p95_ms=ramp)
        result = command.conclude(result, old, fail_if or (), report=report, json=json, junit=junit)
    if any(level.unfinished for level in result.levels):
        raise typer.Exit(INTERRUPTED)
    if not command.passed(result):
        raise typer.Exit(FAILED)


@lab_app.command()
def compare(
    old: Annotated[Path, typer.Argument(help="Result of `lab run --json`.")],
    new: Annotated[Path, typer.Argument(help="A later one, of the same recordings.")],
) -> None:
    """Say which differences between two runs are real, and which are noise.

    Exits with 1 if something really became worse.
    """
    with _explained():
        from voice_agent.lab.command import print_comparison
        from voice_agent.lab.compare import read_result

        worse = print_comparison(read_result(old), read_result(new))
    if worse:
        raise typer.Exit(FAILED)


@lab_app.command()
def endpoint(
    folder: Annotated[
        Path, typer.Argument(help="WAVs, at any depth; manifest.tsv beside them adds a summary.")
    ],
    json: Annotated[Path | None, typer.Option(help="Write an object for each recording here.")] = None,
    kinds: Annotated[
        str, typer.Option(help="Kinds of the manifest that the summary is of.")
    ] = "hesitation,query,command,telephone-turn",
    eagerness: Annotated[Eagerness | None, typer.Option(help="In place of turn.eagerness.")] = None,
    transcript_ms: Annotated[
        float, typer.Option(help="When the transcript comes, after the silence it is asked at.")
    ] = 150.0,
    score_ms: Annotated[float, typer.Option(help="The same for smart-turn's score.")] = 60.0,
) -> None:
    """Run recordings through the session's turn-taking, faster than real time.

    The engines answer after fixed times on the recording's clock, so the decisions don't depend on the machine.
    """
    with _explained():
        from voice_agent.lab.endpoint import endpoint

        endpoint(folder, json, kinds, eagerness, transcript_ms, score_ms)


@lab_app.command()
def transcriber(
    folder: Annotated[Path, typer.Argument(help="Holds manifest.tsv with the columns path and transcript.")],
    model: Annotated[str | None, typer.Option(help="Whisper model.")] = None,
    beam: Annotated[int | None, typer.Option(help="Texts pursued at once.")] = None,
    longest: Annotated[float, typer.Option(help="Leave out clips that are longer, seconds.")] = 14.0,
    limit: Annotated[int | None, typer.Option(help="Take so many clips, spread over the manifest.")] = None,
) -> None:
    """Transcribe each clip on Whisper's whole window and on one of its own length, in turns, and compare."""
    with _explained():
        from voice_agent.lab.transcriber import transcriber

        transcriber(folder, model, beam, longest, limit)
