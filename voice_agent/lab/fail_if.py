"""`--fail-if`: bars that a run must not break."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from voice_agent.errors import SettingsError
from voice_agent.lab.compare import Difference, answers, ask_percentile, ask_rate
from voice_agent.lab.result import Expectation, Level, Result, Turn
from voice_agent.lab.statistics import PERCENTS, missing, summarize

GRAMMAR: Final = """\
FIGURE[@SESSIONS]>LIMIT
  p50, p90, p95, p99 (of voice-to-voice):  >900ms   more than that
                                           >+50ms   so much more than the baseline
                                           >+10%    by so much of the baseline more
  failures, cut_ins, missing, underruns:   >0       more of them than that
  failures, cut_ins, missing, wer:         >2%      of the turns (wer: of the words)
                                           >+1%     so many percentage points over the baseline
  @4 looks at the level with four sessions alone; without it, every level must hold."""
"""The grammar of `parse`. Against a baseline a bar is broken only where the difference is real: see compare.py."""

_TIMES: Final = {f"p{percent}": percent for percent in PERCENTS}
_RATES: Final = {
    "failures": "failures",
    "cut_ins": "cut-ins",
    "missing": "missing replies",
    "wer": "word errors",
}
"""As compare.py calls them."""
_UNITS: Final = {
    **{name: {"ms", "+ms", "+%"} for name in _TIMES},
    **{name: {"", "%", "+%"} for name in ("failures", "cut_ins", "missing")},
    "underruns": {""},
    "wer": {"%", "+%"},
}
_BAR: Final = re.compile(r"(\w+?)(?:@(\d+))?\s*>\s*(\+?)\s*(\d+(?:\.\d+)?)\s*(ms|%|)")


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, as it was typed and as it was read."""

    text: str
    figure: str
    sessions: int | None
    relative: bool
    """To the baseline."""
    limit: float
    unit: str
    """`ms`, `%`, or empty for a count."""


def parse(text: str) -> Bar:
    """A bar in the `GRAMMAR`. Raises `SettingsError` for anything else."""
    match = _BAR.fullmatch(text.strip())
    if not match or match[3] + match[5] not in _UNITS.get(match[1], ()):
        raise SettingsError(f"--fail-if {text!r} can't be read. Write it as\n{GRAMMAR}")
    figure, sessions, plus, limit, unit = match.groups()
    return Bar(text.strip(), figure, int(sessions) if sessions else None, bool(plus), float(limit), unit)


def check(bars: Sequence[Bar], levels: Sequence[int], baseline: bool) -> None:
    """Raise `SettingsError` for a bar that can't be judged: better said before a run than after it."""
    for bar in bars:
        if bar.relative and not baseline:
            raise SettingsError(
                f"--fail-if {bar.text!r} is relative: name the run to compare with, --baseline FILE"
            )
        if bar.sessions is not None and bar.sessions not in levels:
            raise SettingsError(
                f"--fail-if {bar.text!r}: no level has {bar.sessions} sessions, only {', '.join(map(str, levels))}"
            )


def fail_if(bars: Sequence[str], result: Result, baseline: Result | None = None) -> list[Expectation]:
    """Each bar's verdict, named as it was typed; of several levels, that of the worst.

    A relative bar is broken only where the difference is real: its interval, as wide as it takes for all the levels
    that are looked at, excludes zero. What was measured is the difference, in the unit of the bar. A bar for which
    there was too little to measure (p95 of ten turns, a baseline of other recordings) is not met either: nobody knows.
    Raises `SettingsError` for a bar that can't be read, or that needs a baseline where there is none.
    """
    parsed = [parse(bar) for bar in bars]
    check(parsed, [level.sessions for level in result.levels], baseline is not None)
    return [_judge(bar, result, baseline) for bar in parsed]


def _judge(bar: Bar, result: Result, baseline: Result | None) -> Expectation:
    levels = [level for level in result.levels if bar.sessions in (None, level.sessions)]
    if bar.relative and baseline is not None:
        judged = _against(bar, [level.sessions for level in levels], result, baseline)
    else:
        judged = [
            (value, value is not None and value <= bar.limit) for value in (_value(bar, lv) for lv in levels)
        ]
    # The worst: one that is broken before one that holds, then what nobody knows, then the greatest.
    measured, met = min(
        judged, key=lambda one: (one[1], one[0] is not None, -(one[0] or 0)), default=(None, False)
    )
    return Expectation(
        name=bar.text, limit=bar.limit, measured=None if measured is None else round(measured, 3), met=met
    )


def _value(bar: Bar, level: Level) -> float | None:
    if bar.figure in _TIMES:
        return summarize(level).percentile(_TIMES[bar.figure]).ms
    if bar.figure == "wer":
        rate = summarize(level).word_error_rate
        return None if rate is None else rate * 100
    count = sum(_counted(bar.figure, turn) for turn in level.turns)
    if bar.unit != "%":
        return count
    return count / len(level.turns) * 100 if level.turns else None


def _counted(figure: str, turn: Turn) -> int:
    return {
        "failures": not turn.passed,
        "cut_ins": turn.outcome == "cut_in",
        "missing": missing(turn),
        "underruns": len(turn.underruns),
    }[figure]


def _against(
    bar: Bar, levels: Sequence[int], result: Result, baseline: Result
) -> list[tuple[float | None, bool]]:
    asked = [
        question
        for sessions in levels
        for question in (
            ask_percentile(baseline, result, _TIMES[bar.figure], sessions)
            if bar.figure in _TIMES
            else ask_rate(baseline, result, _RATES[bar.figure], sessions)
        )
    ]
    answered = [_verdict(bar, difference) for difference in answers(asked)]
    return answered + [(None, False)] * (len(levels) - len(answered))


def _verdict(bar: Bar, difference: Difference) -> tuple[float | None, bool]:
    if difference.low is None:
        return None, False
    if bar.unit == "ms":
        more = difference.difference
    elif bar.figure in _TIMES:
        more = difference.difference / difference.old * 100 if difference.old else 0.0
    else:
        more = difference.difference * 100
    return more, not (more > bar.limit and difference.low > 0)
