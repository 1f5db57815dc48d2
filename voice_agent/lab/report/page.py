"""The text of the report, and its page."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from voice_agent.lab.compare import Comparison, compare, figure, of_level, shown
from voice_agent.lab.report import plots
from voice_agent.lab.result import Level, Result, Turn
from voice_agent.lab.run import holds
from voice_agent.lab.statistics import PERCENTS, Percentile, Summary, complaints, latency, summarize
from voice_agent.lab.waterfall import bars

WORST: Final = 3
"""So many turns are shown beside the median one."""
REAL: Final = 3
"""So many real differences are named above; the rest are in the table."""


def page(result: Result, baseline: Result | None) -> str:
    """The whole file."""
    environment = Environment(
        loader=PackageLoader("voice_agent.lab", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["ms"] = _ms
    environment.filters["percentile"] = _percentile
    summary = summarize(result)
    levels = [(level, summarize(level)) for level in result.levels]
    comparison = compare(baseline, result) if baseline else None
    typical, worst = notable(result.turns)
    source = environment.loader
    assert source is not None
    return environment.get_template("page.html").render(
        result=result,
        summary=summary,
        levels=levels,
        figures=list(figures(levels)),
        verdict=verdict(result, levels),
        troubles=troubles(result),
        comparison=comparison,
        became=became(comparison) if comparison else "",
        baseline=baseline,
        figure=figure,
        of_level=of_level,
        turns=[(turn, complaints(turn)) for turn in result.turns],
        typical=typical,
        worst=worst,
        plotly=get_plotlyjs(),
        css=source.get_source(environment, "page.css")[0],
        script=source.get_source(environment, "page.js")[0],
        data={
            "plots": _plots(result, baseline, levels, comparison),
            "turns": [_turn(turn) for turn in result.turns],
            "typical": typical,
            "worst": worst,
        },
    )


def verdict(result: Result, levels: Sequence[tuple[Level, Summary]]) -> list[str]:
    """The main results, in a few sentences."""
    said = []
    if result.ramp_p95_ms is not None:
        held = 0
        for level, _ in levels:
            if level.unfinished or not holds(level, result.ramp_p95_ms):
                break
            held = level.sessions
        within = f"at a 95th percentile of {_ms(result.ramp_p95_ms)}"
        said.append(
            f"This machine holds {held} session{'s' * (held != 1)} at once {within}."
            if held
            else f"This machine holds no session {within}."
        )
    ends = levels if len(levels) < 3 else [levels[0], levels[-1]]
    said += [_speed(summary, of_level(level.sessions) if len(levels) > 1 else "") for level, summary in ends]
    return said


def became(comparison: Comparison) -> str:
    """The first real differences; the table has them all."""
    real = [difference for difference in comparison.differences if difference.real]
    if len(real) <= REAL:
        return comparison.verdict
    first = "; ".join(f"{d.name} {of_level(d.sessions)}{d.verdict} by {shown(d)}" for d in real[:REAL])
    return f"{first}; and {len(real) - REAL} more real differences, below."


def troubles(result: Result) -> str:
    """The turns that did not pass, and of what kind they were."""
    failed = [turn for turn in result.turns if not turn.passed]
    count = len(result.turns)
    broken = [verdict for verdict in result.verdicts if not verdict.met]
    bars_said = f" Broken: {', '.join(verdict.name for verdict in broken)}." if broken else ""
    if not failed:
        return (f"All {count} turns passed." if count else "No turn was measured.") + bars_said
    kinds: dict[str, int] = {}
    for turn in failed:
        kind = turn.outcome.replace("_", " ") if turn.outcome != "answered" else "expectation not met"
        kind = "server error" if kind == "failed" else kind
        kinds[kind] = kinds.get(kind, 0) + 1
    named = ", ".join(f"{kind} ({times})" for kind, times in sorted(kinds.items(), key=lambda kind: -kind[1]))
    return f"{len(failed)} of {count} turns failed: {named}." + bars_said


def notable(turns: Sequence[Turn]) -> tuple[int | None, list[int]]:
    """Where in `turns` the median one is, and the slowest ones."""
    ordered = sorted((ms, place) for place, turn in enumerate(turns) if (ms := latency(turn)) is not None)
    if not ordered:
        return None, []
    middle = (len(ordered) - 1) // 2
    return ordered[middle][1], [place for _, place in ordered[:middle:-1][:WORST]]


def figures(levels: Sequence[tuple[Level, Summary]]) -> Iterator[tuple[str, list[str]]]:
    """The rows of the table: what, and of each level how much."""
    summaries = [summary for _, summary in levels]
    for percent in PERCENTS:
        yield f"p{percent}", [_percentile(summary.percentile(percent)) for summary in summaries]
    yield "turns", [str(summary.turns) for summary in summaries]
    yield "failed", [str(summary.failed) for summary in summaries]
    yield "cut in", [str(summary.cut_ins) for summary in summaries]
    yield "replies missing", [f"{s.missing} of {s.wanted}" for s in summaries]
    yield "underruns", [str(summary.underruns) for summary in summaries]
    yield "word errors", [_share(summary.word_error_rate) for summary in summaries]
    yield (
        "spent on the network",
        [_with(s.line_ms, f"{_ms(s.line_ms)} ({_share(s.line_share)})") for s in summaries],
    )
    yield (
        "preparations wasted",
        [
            f"{s.wasted} of {s.prepared}" + _with(s.wasted_s, f", {s.wasted_s or 0:.1f} s")
            if s.prepared
            else "–"
            for s in summaries
        ],
    )
    yield (
        "CPU-seconds a session-minute",
        [_with(s.cpu_s_per_session_minute, f"{s.cpu_s_per_session_minute or 0:.1f}") for s in summaries],
    )
    yield "memory", [_with(s.memory_mb, f"{s.memory_mb or 0:.0f} MB") for s in summaries]
    yield (
        "event loop late",
        [_with(s.event_loop_lag_ms, f"{s.event_loop_lag_ms or 0:.1f} ms") for s in summaries],
    )
    yield "the lab's own lateness", [f"{level.client_late_ms:.1f} ms" for level, _ in levels]


def _plots(
    result: Result,
    baseline: Result | None,
    levels: Sequence[tuple[Level, Summary]],
    comparison: Comparison | None,
) -> dict[str, plots.Figure]:
    found = {"distributions": plots.distributions(result, baseline)}
    if len(levels) > 1:
        by_sessions = [(level.sessions, summary) for level, summary in levels]
        found["concurrency"] = plots.concurrency(by_sessions, result.ramp_p95_ms)
    if comparison and any(d.unit == "ms" and d.low is not None for d in comparison.differences):
        found["differences"] = plots.differences(comparison.differences)
    return found


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "bars": [asdict(bar) for bar in bars(turn)],
        "speech": turn.speech_ms,
        "arrived": turn.voice_to_voice_ms,
        "heard": turn.heard_ms,
        "underruns": [underrun.model_dump() for underrun in turn.underruns],
        "audio": turn.audio,
        "zero": turn.audio_zero_ms,
    }


def _speed(summary: Summary, where: str) -> str:
    half, most = summary.percentile(50).ms, summary.percentile(95).ms
    if half is None:
        return f"{where.capitalize()}too few replies came to say how fast they are."
    said = f"Half of the replies begin within {_ms(half)}"
    if most is not None:
        said += f"; 19 of 20 within {_ms(most)}"
    return f"{where.capitalize()}{said[0].lower() if where else said[0]}{said[1:]}."


def _percentile(percentile: Percentile) -> str:
    if percentile.ms is None:
        return "too few turns"
    known = percentile.low is not None and percentile.high is not None
    return _ms(percentile.ms) + (f" ({percentile.low:.0f}–{percentile.high:.0f})" if known else "")


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.1f} %"


def _with(value: float | None, shown: str) -> str:
    return "–" if value is None else shown
