"""`voice-agent lab run`, from its arguments to its exit code."""

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from voice_agent.config import load_settings
from voice_agent.errors import LabError
from voice_agent.lab.caller import RATE
from voice_agent.lab.compare import compare, table
from voice_agent.lab.fail_if import fail_if
from voice_agent.lab.fixtures import read_fixtures
from voice_agent.lab.impairment import Impairment
from voice_agent.lab.junit import write_junit
from voice_agent.lab.report import write_report
from voice_agent.lab.result import Level, Result, Turn, WireName
from voice_agent.lab.run import Call, Options, call_in, call_of, put_together, ramp_levels, run_level
from voice_agent.lab.scenarios import Speech, load_scenarios
from voice_agent.lab.server import Server, own_server
from voice_agent.lab.statistics import complaints, summarize

PATHS: Final[Mapping[WireName, str]] = {"native": "/ws", "twilio": "/telephony/twilio"}
"""Where our own server speaks each wire."""


def options(
    repeats: int, timeout_s: float, wire: WireName, audio: bool, impairment: Mapping[str, Any]
) -> Options:
    """How calls are made. Raises `LabError` for an impairment that can't be."""
    try:
        return Options(repeats, Impairment.model_validate(dict(impairment)), timeout_s, wire, audio)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + str(first["loc"][0]).split("_")[0] + ": " if first["loc"] else ""
        raise LabError(f"{name}{first['msg']}; given: {first['input']!r}") from error


def measure(
    fixtures: Path,
    url: str | None,
    sessions: Sequence[int],
    options: Options,
    *,
    limit: int | None = None,
    short: bool = False,
    ramp_p95_ms: float | None = None,
) -> Result:
    """Make the calls that `fixtures` holds. Ctrl-C ends it; what was measured by then is in the result.

    Raises:
        VoiceAgentError: nothing could be measured; it says why.
    """
    return asyncio.run(_measure(fixtures, url, sessions, options, limit, short, ramp_p95_ms))


async def _measure(
    fixtures: Path,
    url: str | None,
    sessions: Sequence[int],
    options: Options,
    limit: int | None,
    short: bool,
    ramp_p95_ms: float | None,
) -> Result:
    started = datetime.now(UTC).astimezone()
    calls = await _calls(fixtures, short)
    calls = calls[:: max(1, len(calls) // limit)][:limit] if limit else calls
    levels: list[Level] = []
    async with _serving(url, options.wire) as server:
        with _progress() as progress:

            async def level(count: int) -> Level:
                what = f"{count} session{'s' * (count > 1)}"
                bar = progress.add_task(what, total=count * len(calls) * options.repeats)
                made = await run_level(server, calls, count, options, lambda: progress.advance(bar))
                levels.append(made)
                return made

            if ramp_p95_ms is None:
                for count in sessions:
                    if (await level(count)).unfinished:
                        break
            else:
                await ramp_levels(ramp_p95_ms, level)
        levels.sort(key=lambda level: level.sessions)
        command = shlex.join(["voice-agent", *sys.argv[1:]])
        return put_together(server.url, levels, options, command, started, ramp_p95_ms)


async def _calls(fixtures: Path, short: bool) -> list[Call]:
    """Of scenarios where there are any, else of recordings."""
    if not _holds_scenarios(fixtures):
        if short:
            raise LabError(f"--short is for scenarios, and {fixtures} holds none (*.yaml)")
        return [call_of(dialogue) for dialogue in await asyncio.to_thread(read_fixtures, fixtures, RATE)]
    scenarios = [scenario for scenario in load_scenarios([fixtures]) if scenario.short or not short]
    if not scenarios:
        raise LabError(f"{fixtures}: no scenario in it is marked `short: true`")
    speech = Speech(load_settings(), RATE)
    try:
        return [call_in(scenario, await speech.utterances(scenario)) for scenario in scenarios]
    finally:
        await speech.close()


def _holds_scenarios(path: Path) -> bool:
    return path.suffix == ".yaml" or (path.is_dir() and any(path.glob("*.yaml")))


@asynccontextmanager
async def _serving(url: str | None, wire: WireName) -> AsyncIterator[Server]:
    if url:
        yield Server(url)
        return
    with Console(stderr=True).status("Starting a server ..."):
        context = own_server(PATHS[wire])
        server = await context.__aenter__()
    try:
        yield server
    finally:
        await context.__aexit__(None, None, None)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("calls"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def conclude(
    result: Result,
    baseline: Result | None,
    bars: Sequence[str],
    *,
    report: Path | None,
    json: Path | None,
    junit: Path | None,
) -> Result:
    """Judge the bars, print what was found, and write what was asked for; gives the result with its verdicts."""
    result = result.model_copy(update={"verdicts": fail_if(bars, result, baseline)})
    _print(result, baseline)
    for path in filter(None, (report, json, junit)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if json:
        json.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if junit:
        write_junit(result, junit)
    if report:
        write_report(result, report, baseline)
    return result


def passed(result: Result) -> bool:
    """Whether every bar and every expectation was met, and nothing failed outright."""
    demanded = [turn for turn in result.turns if turn.expectations or turn.outcome == "failed"]
    return all(verdict.met for verdict in result.verdicts) and all(turn.passed for turn in demanded)


def _print(result: Result, baseline: Result | None) -> None:
    console = Console()
    summary = Table(box=box.SIMPLE)
    headings = ("at once", "turns", "failed", "p50 ms", "p90 ms", "p95 ms", "WER", "CPU s/min", "MB")
    for heading in headings:
        summary.add_column(heading, justify="right")
    for level in result.levels:
        found = summarize(level)
        times = [found.percentile(percent).ms for percent in (50, 90, 95)]
        errors, cpu = found.word_error_rate, found.cpu_s_per_session_minute
        summary.add_row(
            f"{level.sessions}{'*' * level.unfinished}",
            str(found.turns),
            str(found.failed),
            *("-" if ms is None else f"{ms:.0f}" for ms in times),
            "-" if errors is None else f"{errors:.1%}",
            "-" if cpu is None else f"{cpu:.1f}",
            "-" if found.memory_mb is None else f"{found.memory_mb:.0f}",
        )
    console.print(summary)
    if any(level.unfinished for level in result.levels):
        console.print("* ended before all was said")
    for turn in result.turns:
        if not turn.passed:
            console.print(f"[red]failed[/] {escape(_named(turn))}: {escape('; '.join(complaints(turn)))}")
    for verdict in result.verdicts:
        met = "[green]met[/]   " if verdict.met else "[red]broken[/]"
        console.print(f"{met} {escape(verdict.name)}: {verdict.measured}")
    if baseline:
        console.print(table(compare(baseline, result)))


def _named(turn: Turn) -> str:
    return f"{turn.dialogue}, step {turn.step + 1}" if turn.step else turn.dialogue


def print_comparison(old: Result, new: Result) -> bool:
    """Say what differs; whether something really became worse."""
    found = compare(old, new)
    console = Console()
    console.print(table(found))
    console.print(escape(found.verdict), highlight=False)
    return bool(found.regressed)
