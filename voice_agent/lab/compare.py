"""`voice-agent lab compare OLD NEW`: which differences between two runs are real, and which are noise.

What is paired are recordings (`Turn.key`): each is compared with itself, so that how much they differ from each other
doesn't matter. A difference is real where its bootstrap interval (see statistics.py) excludes zero and it is large
enough to matter (`FLOOR_MS`, `FLOOR_SHARE`, `FLOOR_RATE`). As a comparison asks some fifteen questions at once, and
each is to be wrong once in twenty times at most, all together, the intervals are as much wider (Bonferroni).
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import ValidationError
from rich.table import Table

from voice_agent.errors import LabError
from voice_agent.lab.result import Result, Turn
from voice_agent.lab.statistics import (
    CONFIDENCE,
    Floats,
    bootstrap,
    interval,
    latency,
    missing,
    needed,
    quantiles,
    reply_wanted,
    widening,
)
from voice_agent.lab.waterfall import HEARD, LABELS, bars

FLOOR_MS: Final = 10.0
"""Half of a frame: nobody hears less, and the lab itself is off by some milliseconds."""
FLOOR_SHARE: Final = 0.02
"""Of the old figure, where that is more."""
FLOOR_RATE: Final = 0.005
"""Of rates: half of a percentage point."""
MIN_VALUES: Final = 6
"""A bootstrap of fewer gives an interval that is far too narrow. So many recordings are needed in both runs or, of few
recordings, so many repeats of each."""
RESAMPLES: Final = 4000
"""Leaves some seven draws beyond either end of an interval that is corrected for fifteen questions."""

Verdict = Literal["slower", "faster", "worse", "better", "noise", "unknown"]
"""`slower` and `faster` of times, `worse` and `better` of rates. `unknown`: too few turns are in both runs."""
Unit = Literal["ms", "rate"]
Values = dict[tuple[str, int, int, int], list[float]]
"""Of each recording, by `Turn.key`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two runs, over the recordings that both have. Milliseconds, or a rate of 0 to 1."""

    name: str
    unit: Unit
    sessions: int | None
    """The level; None for all together."""
    recordings: int
    old: float
    new: float
    difference: float
    """New less old; of `typical voice-to-voice` and of steps the mean of what each recording became slower."""
    low: float | None
    """The interval; None where there are too few turns."""
    high: float | None
    verdict: Verdict

    @property
    def real(self) -> bool:
        """It is neither noise nor unknown."""
        return self.verdict not in ("noise", "unknown")

    @property
    def regressed(self) -> bool:
        """It really became worse."""
        return self.verdict in ("slower", "worse")


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that was compared."""

    differences: tuple[Difference, ...]
    paired: int
    """Recordings (`Turn.key`) in both runs."""
    only_old: int
    """In one of them."""
    only_new: int

    @property
    def regressed(self) -> list[Difference]:
        """Figures that really became worse."""
        return [difference for difference in self.differences if difference.regressed]

    @property
    def verdict(self) -> str:
        """In a sentence."""
        real = [difference for difference in self.differences if difference.real]
        if not real:
            known = any(difference.verdict == "noise" for difference in self.differences)
            return "No difference is real." if known else "Too few turns are in both runs to tell."
        return "; ".join(f"{d.name} {of_level(d.sessions)}{d.verdict} by {shown(d)}" for d in real) + "."


@dataclass(frozen=True, slots=True)
class _Question:
    name: str
    unit: Unit
    sessions: int | None
    old: Values
    new: Values
    estimate: Callable[[list[Floats]], Floats]
    """From samples of old and new, as `bootstrap` gives them: columns of old, new, difference."""


def compare(old: Result, new: Result) -> Comparison:
    """Differences between two runs of the same recordings."""
    return Comparison(answers(questions(old, new)), *_overlap(old, new))


def answers(asked: Sequence[_Question]) -> tuple[Difference, ...]:
    """The intervals hold for all of what is asked together."""
    open_ = sum(
        question.old != question.new for question in asked
    )  # where all is the same, nothing can go wrong
    alpha = (1 - CONFIDENCE) / max(1, open_)
    return tuple(_answer(question, alpha) for question in asked)


def questions(old: Result, new: Result) -> list[_Question]:
    """Of all that both runs have: speed at each level, then each step, then rates over all levels."""
    asked: list[_Question] = []
    for sessions in sorted({turn.sessions for turn in old.turns} & {turn.sessions for turn in new.turns}):
        asked += speed(old, new, sessions)
    for step, (label, _) in LABELS.items():
        if step != HEARD:
            asked += _question(label, "ms", None, old, new, partial(_lasted, step), _typical)
    return asked + [question for name in RATES for question in ask_rate(old, new, name, None)]


def speed(old: Result, new: Result, sessions: int) -> list[_Question]:
    """Voice-to-voice at a level: as each recording has it, the median, and p95 where there are enough turns."""
    asked = [
        *_question("typical voice-to-voice", "ms", sessions, old, new, latency, _typical),
        *_question("p50", "ms", sessions, old, new, latency, percentile(50)),
    ]
    p95 = _question("p95", "ms", sessions, old, new, latency, percentile(95))
    return asked + [q for q in p95 if min(_count(q.old), _count(q.new)) >= needed(95)]


def ask_percentile(old: Result, new: Result, percent: int, sessions: int) -> list[_Question]:
    """One percentile of voice-to-voice at a level; none where no recording is in both."""
    return _question(f"p{percent}", "ms", sessions, old, new, latency, percentile(percent))


def ask_rate(old: Result, new: Result, name: str, sessions: int | None) -> list[_Question]:
    """One of `RATES` at a level, or at all; none where no recording is in both."""
    value = RATES[name]
    if name == "word errors":
        # By the words of a recording on average, so that long ones weigh more: it is the pooled rate.
        words = [
            turn.words for run in (old, new) for turn in run.turns if turn.words and value(turn) is not None
        ]
        scale = float(np.mean(words)) if words else 1.0
        return _question(
            name,
            "rate",
            sessions,
            old,
            new,
            lambda turn: None if (n := value(turn)) is None else n / scale,
            _rate,
        )
    return _question(name, "rate", sessions, old, new, value, _rate)


RATES: Final[dict[str, Callable[[Turn], float | None]]] = {
    "word errors": lambda turn: turn.word_errors if turn.words else None,
    "failures": lambda turn: not turn.passed,
    "cut-ins": lambda turn: turn.outcome == "cut_in",
    "missing replies": lambda turn: missing(turn) if reply_wanted(turn) else None,
}
"""How much of it there was in a turn; None where the turn does not count."""


def _rate(samples: list[Floats]) -> Floats:
    old, new = (np.nanmean(s, axis=(1, 2)) for s in samples)
    return np.stack([old, new, new - old], axis=-1)


def percentile(percent: int) -> Callable[[list[Floats]], Floats]:
    """Of all turns together."""

    def estimate(samples: list[Floats]) -> Floats:
        old, new = (quantiles(s.reshape(len(s), -1), np.array([percent / 100]))[:, 0] for s in samples)
        return np.stack([old, new, new - old], axis=-1)

    return estimate


def _typical(samples: list[Floats]) -> Floats:
    """Means over the recordings of the median of each one's repeats: a stall in one repeat does not move it."""
    old, new = (quantiles(s, np.array([0.5]))[..., 0].mean(axis=1) for s in samples)
    return np.stack([old, new, new - old], axis=-1)


def _lasted(step: str, turn: Turn) -> float | None:
    if latency(turn) is None:
        return None
    return next((bar.lasted for bar in bars(turn) if bar.step == step and turn.steps), None)


def _question(
    name: str,
    unit: Unit,
    sessions: int | None,
    old: Result,
    new: Result,
    value: Callable[[Turn], float | None],
    estimate: Callable[[list[Floats]], Floats],
) -> list[_Question]:
    values = [_values(run.turns, sessions, value) for run in (old, new)]
    both = values[0].keys() & values[1].keys()
    if not both:
        return []
    of_old, of_new = ({key: of_run[key] for key in sorted(both)} for of_run in values)
    return [_Question(name, unit, sessions, of_old, of_new, estimate)]


def _values(turns: Iterable[Turn], sessions: int | None, value: Callable[[Turn], float | None]) -> Values:
    values: Values = defaultdict(list)
    for turn in turns:
        if sessions in (None, turn.sessions) and (found := value(turn)) is not None:
            values[turn.key].append(found)
    return values


def _answer(question: _Question, alpha: float) -> Difference:
    runs = [list(question.old.values()), list(question.new.values())]
    recordings = len(runs[0])
    found = Difference(
        question.name, question.unit, question.sessions, recordings, 0, 0, 0, None, None, "unknown"
    )
    whole = [np.array([_pad(values, run) for values in run])[None] for run in runs]
    old, new, difference = map(float, question.estimate(whole)[0])
    found = replace(found, old=old, new=new, difference=difference)
    repeats = min(len(values) for run in runs for values in run)
    independent = recordings if recordings >= MIN_VALUES else repeats
    if independent < MIN_VALUES:
        return found
    ends = interval(bootstrap(runs, question.estimate, RESAMPLES), alpha)
    wider = widening(independent, alpha)
    low, high = (difference + wider * (float(end[2]) - difference) for end in ends)
    return replace(found, low=low, high=high, verdict=_verdict(question.unit, old, difference, low, high))


def _verdict(unit: Unit, old: float, difference: float, low: float, high: float) -> Verdict:
    floor = max(FLOOR_MS, FLOOR_SHARE * abs(old)) if unit == "ms" else FLOOR_RATE
    if low <= 0 <= high or abs(difference) < floor:
        return "noise"
    if unit == "ms":
        return "slower" if difference > 0 else "faster"
    return "worse" if difference > 0 else "better"


def _pad(values: Sequence[float], run: Sequence[Sequence[float]]) -> list[float]:
    return [*values, *[float("nan")] * (max(map(len, run)) - len(values))]


def _count(values: Values) -> int:
    return sum(map(len, values.values()))


def _overlap(old: Result, new: Result) -> tuple[int, int, int]:
    keys = [{turn.key for turn in run.turns} for run in (old, new)]
    return len(keys[0] & keys[1]), len(keys[0] - keys[1]), len(keys[1] - keys[0])


def of_level(sessions: int | None) -> str:
    """Such as `with 4 sessions `."""
    return "" if sessions is None else f"with {sessions} session{'s' * (sessions != 1)} "


def shown(difference: Difference) -> str:
    """Such as `80 ms (60 to 95)`."""
    sign = -1 if difference.difference < 0 else 1
    ends = sorted(sign * end for end in (difference.low, difference.high) if end is not None)
    amount = figure(sign * difference.difference, difference.unit)
    return (
        f"{amount} ({figure(ends[0], difference.unit)} to {figure(ends[1], difference.unit)})"
        if ends
        else amount
    )


def figure(value: float, unit: Unit) -> str:
    """With its unit."""
    return f"{value:.0f} ms" if unit == "ms" else f"{value * 100:.1f} %"


def read_result(path: Path) -> Result:
    """The result that `--json` wrote. Raises `LabError` where it is not that."""
    try:
        return Result.model_validate_json(path.read_bytes())
    except (OSError, ValidationError, json.JSONDecodeError) as error:
        raise LabError(
            f"{path} is not the result of a run: {str(error).splitlines()[0]}. Give a file that "
            "`voice-agent lab run --json` wrote"
        ) from error


def table(found: Comparison) -> Table:
    """Of all differences, for a terminal."""
    title = f"{found.paired} recordings in both"
    if found.only_old or found.only_new:
        title += f" (left out: {found.only_old} only in the old run, {found.only_new} only in the new one)"
    rows = Table(title=title, title_justify="left")
    rows.add_column("")
    for heading in ("old", "new", "difference", "interval"):
        rows.add_column(heading, justify="right")
    rows.add_column("verdict")
    for d in found.differences:
        known = d.low is not None and d.high is not None
        rows.add_row(
            f"{d.name} {of_level(d.sessions)}".strip(),
            figure(d.old, d.unit),
            figure(d.new, d.unit),
            figure(d.difference, d.unit),
            f"{figure(d.low or 0, d.unit)} to {figure(d.high or 0, d.unit)}" if known else "",
            d.verdict,
            style="red" if d.regressed else "green" if d.real else "",
        )
    return rows
