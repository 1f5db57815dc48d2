"""The plots of the report, as Plotly figures.

Colours are the names of the page's, which puts its own in: they differ by light and dark.
"""

import json
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from voice_agent.lab.compare import Difference
from voice_agent.lab.result import Result
from voice_agent.lab.statistics import Percentile, Summary, latency

Figure = dict[str, Any]
"""Plotly's JSON."""


def distributions(result: Result, baseline: Result | None) -> Figure:
    """Of voice-to-voice at each level: which part of the replies had begun after how long."""
    figure = go.Figure()
    if baseline:
        figure.add_trace(
            _distribution(baseline, "baseline", {"color": "var(--muted)", "dash": "dot", "width": 1.5})
        )
    for place, level in enumerate(result.levels):
        name = f"{level.sessions} session{'s' * (level.sessions != 1)}"
        strength = 1 - 0.65 * place / max(1, len(result.levels) - 1)
        line = {"color": "var(--accent)", "width": 2.25}
        trace = _distribution(result.model_copy(update={"levels": [level]}), name, line)
        trace.opacity = strength
        figure.add_trace(trace)
    figure.update_layout(
        xaxis={"title": "milliseconds of silence before the reply", "rangemode": "tozero"},
        yaxis={"title": "replies that had begun", "range": [0, 102], "ticksuffix": " %"},
        showlegend=len(figure.data) > 1,
    )
    return _json(figure)


def concurrency(levels: Sequence[tuple[int, Summary]], limit_ms: float | None) -> Figure:
    """The median and the 95th percentile of voice-to-voice by the number of sessions, with their intervals."""
    figure = go.Figure()
    for percent, colour in ((95, "var(--accent)"), (50, "var(--ink)")):
        points = [(sessions, summary.percentile(percent)) for sessions, summary in levels]
        known = [(sessions, p, p.ms) for sessions, p in points if p.ms is not None]
        figure.add_trace(
            go.Scatter(
                x=[sessions for sessions, _, _ in known],
                y=[ms for _, _, ms in known],
                error_y=_error([p for _, p, _ in known]),
                name="p95" if percent == 95 else "median",
                mode="lines+markers",
                line={"color": colour, "width": 2.25},
                marker={"color": colour, "size": 7},
                hovertemplate="%{y:.0f} ms<extra>%{fullData.name}, %{x} sessions</extra>",
            )
        )
    if limit_ms is not None:
        figure.add_hline(
            limit_ms,
            line={"color": "var(--bad)", "width": 1.25, "dash": "dash"},
            annotation={"text": f"limit {limit_ms:.0f} ms", "font": {"color": "var(--bad)"}},
            annotation_position="top left",
        )
    figure.update_layout(
        xaxis={"title": "sessions at once", "tickvals": [sessions for sessions, _ in levels]},
        yaxis={"title": "milliseconds", "rangemode": "tozero"},
    )
    return _json(figure)


def differences(found: Sequence[Difference]) -> Figure:
    """Those in milliseconds, with their intervals; what is real is in colour."""
    shown = [d for d in found if d.unit == "ms" and d.low is not None and d.high is not None][::-1]
    colours = ["var(--bad)" if d.regressed else "var(--good)" if d.real else "var(--muted)" for d in shown]
    figure = go.Figure()
    for d, colour in zip(shown, colours, strict=True):
        figure.add_trace(
            go.Scatter(
                x=[d.difference],
                y=[_row(d)],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [max(0.0, (d.high or 0) - d.difference)],
                    "arrayminus": [max(0.0, d.difference - (d.low or 0))],
                    "color": colour,
                    "thickness": 2,
                    "width": 0,
                },
                mode="markers",
                marker={"color": colour, "size": 9},
                hovertemplate=f"{d.difference:+.0f} ms ({d.low:+.0f} to {d.high:+.0f})<extra></extra>",
            )
        )
    figure.add_vline(0, line={"color": "var(--ink)", "width": 1})
    figure.update_layout(
        xaxis={"title": "← faster, ms, slower →"},
        yaxis={"categoryorder": "array", "categoryarray": [_row(d) for d in shown], "showgrid": False},
        showlegend=False,
        height=90 + 26 * len(shown),
    )
    return _json(figure)


def _row(difference: Difference) -> str:
    return difference.name + (f" · {difference.sessions}" if difference.sessions is not None else "")


def _distribution(run: Result, name: str, line: dict[str, Any]) -> Any:
    values = sorted(ms for turn in run.turns if (ms := latency(turn)) is not None)
    shares = [(place + 1) / len(values) * 100 for place in range(len(values))]
    return go.Scatter(
        x=values[:1] + values,
        y=[0.0, *shares] if values else [],
        name=name,
        mode="lines",
        line={**line, "shape": "hv"},
        hovertemplate="%{y:.0f} % within %{x:.0f} ms<extra>%{fullData.name}</extra>",
    )


def _error(percentiles: Sequence[Percentile]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [(p.high or 0) - (p.ms or 0) if p.high is not None else 0 for p in percentiles],
        "arrayminus": [(p.ms or 0) - (p.low or 0) if p.low is not None else 0 for p in percentiles],
        "thickness": 1.25,
        "width": 4,
    }


def _json(figure: Any) -> Figure:
    figure.update_layout(template="none")
    found: Figure = json.loads(figure.to_json())
    return found
