"""`voice-agent talk`: hold a conversation with a running server, out of recordings."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer
from pydantic import BaseModel, TypeAdapter
from rich.console import Console
from rich.text import Text

from voice_agent.audio import RATE, SAMPLE_RATES, SILENCE, Pcm16, read_audio, write_wav
from voice_agent.client import Client, Exchange, Microphone, NoServerError, Player, ServerError, hold_exchange
from voice_agent.errors import AudioError

DEFAULT_URL: Final = "ws://127.0.0.1:3000/ws"
VOICE_TO_VOICE: Final = "client_voice_to_voice"
"""From sending the frame with the last speech sample to receiving the first audible audio: the wait as the
user has it, network included. The other steps are the server's."""


class Exit(IntEnum):
    """Exit code of the command; where recordings failed in different ways, the lowest of these."""

    ANSWERED = 0
    USAGE = 2
    NO_SERVER = 3
    UNREADABLE = 4
    UNANSWERED = 5
    SERVER_ERROR = 6


class Result(BaseModel):
    """One recording's object in the file that `--json` names."""

    file: str
    transcript: str = ""
    reply: str = ""
    timeline: dict[str, float] = {}
    """Milliseconds since the last speech sample."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one recording."""

    result: Result
    exit: Exit = Exit.ANSWERED
    heard: Pcm16 = field(default_factory=SILENCE.copy)
    """The reply's audio, as far as it was played."""
    rate: int = RATE
    """Of `heard`, hertz."""
    interrupted: bool = False
    """The server took the reply for interrupted."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A file named on the command line."""

    path: Path
    pcm: Pcm16 = field(default_factory=SILENCE.copy)
    error: str | None = None
    """The reason that it can't be said."""

    def unsaid(self, why: str, exit: Exit) -> Outcome:
        """It was not said; if it could not be read, for that reason, else for this one."""
        if self.error is not None:
            why, exit = self.error, Exit.UNREADABLE
        return Outcome(Result(file=str(self.path), error=why), exit)


def load(path: Path, rate: int) -> Recording:
    """Read a file; what is wrong with it is in the recording's `error`."""
    try:
        return Recording(path, read_audio(path, rate))
    except AudioError as error:
        return Recording(path, error=str(error))


async def converse(
    recordings: Sequence[Recording],
    url: str,
    rate: int,
    timeout_s: float,
    report: Callable[[Outcome], None],
) -> None:
    """Say the recordings one after the other in one session; `report` gets each outcome as it is known.

    When the connection is lost, what has not been said has no outcome.

    Raises:
        NoServerError: no voice agent answers at `url`.
        ServerError: the server refused the session.
    """
    async with Client(url, input_rate=rate) as client, Microphone(client) as microphone:
        if client.ready.input_rate != rate:
            raise ServerError(f"the server listens at {client.ready.input_rate} Hz, not at {rate} Hz")
        for recording in recordings:
            if recording.error is None:
                exchange = await hold_exchange(client, microphone, recording.pcm, timeout_s)
                report(_outcome(recording, exchange, client.player, timeout_s))
                if exchange.lost is not None:
                    return
            else:
                report(recording.unsaid("", Exit.UNREADABLE))


def _outcome(recording: Recording, exchange: Exchange, player: Player, timeout_s: float) -> Outcome:
    """The result of an exchange."""
    why, exit = _problem(exchange, timeout_s) or (None, Exit.ANSWERED)
    result = Result(file=str(recording.path), transcript=exchange.transcript, error=why)
    if exchange.reply is None:
        return Outcome(result, exit)
    reply = player.replies[exchange.reply.response]
    result.reply = reply.text.strip()
    if (first := reply.first_audible(player.rate)) is not None:
        result.timeline[VOICE_TO_VOICE] = round((first.arrived_s - exchange.speech_s) * 1000, 1)
    result.timeline |= exchange.timelines.get(reply.response, {})
    interrupted = exchange.ended is not None and exchange.ended.reason == "interrupted"
    return Outcome(result, exit, reply.heard, player.rate, interrupted)


def _problem(exchange: Exchange, timeout_s: float) -> tuple[str, Exit] | None:
    """The reason that a recording does not count as answered."""
    if reported := "; ".join(filter(None, (exchange.error, exchange.lost))):
        return reported, Exit.SERVER_ERROR
    if exchange.ended is not None and exchange.ended.reason == "failed":
        return "the server failed while replying", Exit.SERVER_ERROR
    if exchange.awaited:
        what = "the reply stopped coming for" if exchange.reply else "no reply within"
        return f"{what} {timeout_s:g} s", Exit.UNANSWERED
    if exchange.reply is None:
        found = "words were" if exchange.speech_heard or exchange.transcripts else "speech was"
        return f"no {found} found in the recording", Exit.UNANSWERED
    return None


# --- the command -------------------------------------------------------------------------------------------


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise typer.BadParameter(f"{url} is not a WebSocket address such as {DEFAULT_URL}")
    return url


def _checked_rate(rate: int) -> int:
    if rate not in SAMPLE_RATES:
        raise typer.BadParameter(f"{rate} is not one of {', '.join(map(str, SAMPLE_RATES))} Hz")
    return rate


def talk(
    recordings: Annotated[
        list[Path],
        typer.Argument(
            metavar="RECORDING",
            help="What to say: WAV or FLAC, any rate, mono or stereo. One turn each, in one conversation.",
            show_default=False,
        ),
    ],
    url: Annotated[
        str, typer.Option(help="WebSocket address of the server.", callback=_checked_url)
    ] = DEFAULT_URL,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", file_okay=False, help="Write each reply there, as WAV.", show_default=False
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            dir_okay=False,
            help="Write a list with one object for each recording: file, transcript, reply, timeline, error.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[int, typer.Option(help="Rate at which to stream, hertz.", callback=_checked_rate)] = RATE,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds to wait for a reply while nothing at all comes.")
    ] = 30.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what went wrong.")] = False,
) -> None:
    """Talk to a running server with recordings, streamed in real time as a microphone would.

    Prints what was heard, what was answered and where the time went.

    Exit codes, the lowest where several hold:

    0: every recording was answered
    2: wrong usage
    3: no server
    4: a file can't be read
    5: no speech in a recording, or no reply to it
    6: the server refused the session, reported an error, or closed the connection
    """
    replies = _reply_files(recordings, out)
    _prepare(out, json_file)
    printer = _Printer(quiet)
    loaded = [load(path, rate) for path in recordings]
    outcomes: list[Outcome] = []

    def report(outcome: Outcome) -> None:
        path = replies[len(outcomes)]
        outcomes.append(outcome)
        if path is not None and len(outcome.heard):
            write_wav(path, outcome.heard, outcome.rate)
        printer.outcome(outcome)

    why, exit = "the conversation ended before this was said", Exit.SERVER_ERROR
    try:
        if any(recording.error is None for recording in loaded):
            asyncio.run(converse(loaded, url, rate, timeout, report))
    except NoServerError as error:
        why, exit = (
            f"{error}. Start one with `voice-agent serve`, or name another with --url.",
            Exit.NO_SERVER,
        )
    except ServerError as error:
        why = str(error)
    finally:
        rest = [recording.unsaid(why, exit) for recording in loaded[len(outcomes) :]]
        for message in dict.fromkeys(outcome.result.error for outcome in rest):
            printer.problem(message or "")
        outcomes += rest
        if json_file is not None:
            _write_json(json_file, [outcome.result for outcome in outcomes])
    failures = [outcome.exit for outcome in outcomes if outcome.exit]
    if failures:
        raise typer.Exit(min(failures))


def _reply_files(recordings: Sequence[Path], out: Path | None) -> list[Path | None]:
    """Where each reply goes: named after its recording, numbered from the second of a name."""
    if out is None:
        return [None] * len(recordings)
    files: list[Path | None] = []
    inputs = {path.resolve() for path in recordings}
    for recording in recordings:
        file, number = out / f"{recording.stem}.wav", 1
        while file in files:
            number += 1
            file = out / f"{recording.stem}-{number}.wav"
        if file.resolve() in inputs:
            raise typer.BadParameter(f"the reply would overwrite the recording {file}", param_hint="--out")
        files.append(file)
    return files


def _prepare(out: Path | None, json_file: Path | None) -> None:
    """Make the folders before the conversation, which is the wrong end of it to find out that one can't."""
    for folder, option in ((out, "--out"), (json_file and json_file.parent, "--json")):
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(f"{folder}: {error.strerror}", param_hint=option) from error
        if not os.access(folder, os.W_OK):
            raise typer.BadParameter(f"{folder} can't be written to", param_hint=option)


def _write_json(path: Path, results: list[Result]) -> None:
    """Whole or not at all: it is made beside `path`, and then takes its place."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(TypeAdapter(list[Result]).dump_json(results, indent=2) + b"\n")
    part.replace(path)


class _Printer:
    """Outcomes for a person to read. Text from outside is never taken for markup, and never wrapped."""

    def __init__(self, quiet: bool) -> None:
        self._out = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)

    def outcome(self, outcome: Outcome) -> None:
        result = outcome.result
        self._out.print(Text(result.file, style="bold"))
        if result.transcript:
            self._out.print(Text.assemble(("  you:   ", "cyan"), _one_line(result.transcript)))
        if result.reply:
            note = " [interrupted]" if outcome.interrupted else ""
            self._out.print(Text.assemble(("  agent: ", "green"), _one_line(result.reply), (note, "yellow")))
        if result.timeline:
            self._out.print(_timeline(result.timeline))
        if result.error is not None:
            named = result.error.startswith(result.file)
            self.problem(result.error if named else f"{result.file}: {result.error}")

    def problem(self, message: str) -> None:
        self._err.print(Text(message, style="red"))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _timeline(steps: dict[str, float]) -> Text:
    """One line, the user's wait first."""
    others = {name: ms for name, ms in steps.items() if ms and name != VOICE_TO_VOICE}
    parts = [f"{name.replace('_', ' ')} {ms:.0f}" for name, ms in others.items()]
    line = Text("  time:  ", style="magenta")
    if (wait := steps.get(VOICE_TO_VOICE)) is not None:
        line.append(f"voice to voice {wait:.0f} ms", style="bold default")
        line.append(" | " if parts else "")
    return line.append(" · ".join(parts), style="dim default")
