"""Figures for the turns of a level, or of a whole run.

Intervals are 95 % bootstrap intervals (Efron, 1979), seeded. What is drawn anew are recordings, each with its repeats
as they are (Davison and Hinkley, Bootstrap Methods and their Application, 1997, 3.8): repeats of one recording resemble
each other, and counted as so many turns they would make the interval too narrow. Only of very few recordings are the
repeats drawn anew as well.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_agent.lab.result import Level, Outcome, Result, Turn
from voice_agent.lab.waterfall import bars

PERCENTS: Final = (50, 90, 95, 99)
CONFIDENCE: Final = 0.95
RESAMPLES: Final = 2000
"""Puts 50 draws beyond either end of a 95 % interval, which then moves by about a tenth of its width with the seed."""
MIN_RECORDINGS: Final = 6
"""Of fewer, the repeats are drawn as well: with five, one resample in 16 lacks any given two of them."""
SEED: Final = 20_241
"""Any will do; a fixed one gives the same figures for the same turns."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Percentile:
    """Of voice-to-voice, in milliseconds."""

    percent: int
    ms: float | None
    """None where there are too few turns: fewer than one in expectation lies beyond it (`needed`)."""
    low: float | None = None
    """The interval; None as well with fewer than two turns."""
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """Of one level, or of all. None where it could not be known."""

    turns: int
    outcomes: Mapping[Outcome, int]
    wanted: int
    """Turns to which a reply was wanted."""
    latencies: int
    """Turns that count in `percentiles`: a reply was wanted, and came after the end of the speech."""
    percentiles: tuple[Percentile, ...]
    """Of voice-to-voice, at `PERCENTS`."""
    failed: int
    """Turns that did not pass."""
    cut_ins: int
    missing: int
    """Replies that were wanted and did not come."""
    underruns: int
    word_error_rate: float | None
    """All word errors by all words, 0 to 1 and beyond."""
    prepared: int
    """Replies that were prepared in advance and then used or discarded."""
    wasted: int
    """Those that were discarded."""
    wasted_s: float | None
    """How long these had been in the making."""
    cpu_s_per_session_minute: float | None
    memory_mb: float | None
    """The most at any level."""
    event_loop_lag_ms: float | None
    """The most at any level."""
    line_ms: float | None
    """Of voice-to-voice, the part that is not the server's: median of both ways together."""
    line_share: float | None
    """The same, by the median of voice-to-voice: 0 to 1."""

    def percentile(self, percent: int) -> Percentile:
        """One of `PERCENTS`."""
        return next(p for p in self.percentiles if p.percent == percent)


def needed(percent: int) -> int:
    """How many turns a percentile needs, so that one is expected to lie beyond it: 20 for p95, 100 for p99."""
    return round(100 / (100 - percent))


def reply_wanted(turn: Turn) -> bool:
    """Whether a scenario did not demand silence, or that the reply before goes on."""
    return not any(e.name in ("no_reply", "goes_on") and e.limit is True for e in turn.expectations)


def latency(turn: Turn) -> float | None:
    """Voice-to-voice of a turn that counts for speed; one that cut in was not fast but wrong, and does not."""
    return turn.voice_to_voice_ms if turn.outcome == "answered" and reply_wanted(turn) else None


def missing(turn: Turn) -> bool:
    """A reply was wanted, and none came."""
    return turn.outcome == "no_reply" and reply_wanted(turn)


def complaints(turn: Turn) -> list[str]:
    """The faults of a turn, in words; empty where it passed."""
    if turn.passed:
        return []
    found = [
        f"{e.name}: {_shown(e.limit)} wanted, {'nothing' if e.measured is None else _shown(e.measured)} measured"
        for e in turn.expectations
        if not e.met
    ]
    if turn.outcome == "failed":
        found.insert(0, turn.error or "the server failed")
    elif turn.outcome == "cut_in":
        found.insert(0, f"cut in {-(turn.voice_to_voice_ms or 0):.0f} ms before the end of the speech")
    elif missing(turn):
        found.insert(0, "no reply")
    return found


def summarize(of: Level | Result) -> Summary:
    """The figures of a level, or of all levels of a run together."""
    levels = of.levels if isinstance(of, Result) else [of]
    turns = [turn for level in levels for turn in level.turns]
    latencies = [(turn, ms) for turn in turns if (ms := latency(turn)) is not None]
    heard = [turn for turn in turns if turn.word_errors is not None and turn.words]
    words = sum(turn.words or 0 for turn in heard)
    wasted = [level.server.wasted_s for level in levels if level.server.wasted_s is not None]
    became = sum((Counter(level.server.prepared) for level in levels), Counter[str]())
    line = _line_ms([turn for turn, _ in latencies])
    by_recording = grouped(((turn.dialogue, turn.step, turn.sessions), ms) for turn, ms in latencies)
    return Summary(
        turns=len(turns),
        outcomes=Counter(turn.outcome for turn in turns),
        wanted=sum(map(reply_wanted, turns)),
        latencies=len(latencies),
        percentiles=percentiles(by_recording),
        failed=sum(not turn.passed for turn in turns),
        cut_ins=sum(turn.outcome == "cut_in" for turn in turns),
        missing=sum(map(missing, turns)),
        underruns=sum(len(turn.underruns) for turn in turns),
        word_error_rate=sum(turn.word_errors or 0 for turn in heard) / words if words else None,
        prepared=became["used"] + became["discarded"],
        wasted=became["discarded"],
        wasted_s=sum(wasted) if wasted else None,
        cpu_s_per_session_minute=_cpu(levels),
        memory_mb=_most(level.server.memory_mb for level in levels),
        event_loop_lag_ms=_most(level.server.event_loop_lag_ms for level in levels),
        line_ms=line,
        line_share=line / median if line is not None and (median := _median(latencies)) else None,
    )


def percentiles(groups: Sequence[Sequence[float]]) -> tuple[Percentile, ...]:
    """At `PERCENTS`, with 95 % intervals; `groups` holds the values of each recording."""
    count = sum(map(len, groups))
    values = np.array([value for group in groups for value in group])
    supported = [percent for percent in PERCENTS if count >= needed(percent)]
    if not supported:
        return tuple(Percentile(percent, None) for percent in PERCENTS)
    fractions = np.array(supported) / 100
    drawn = bootstrap([groups], lambda samples: quantiles(samples[0].reshape(len(samples[0]), -1), fractions))
    low, high = interval(drawn, 1 - CONFIDENCE)
    found = {
        percent: Percentile(percent, float(ms), float(lowest), float(highest))
        for percent, ms, lowest, highest in zip(
            supported, np.quantile(values, fractions), low, high, strict=True
        )
    }
    return tuple(found.get(percent, Percentile(percent, None)) for percent in PERCENTS)


def grouped(pairs: Iterable[tuple[Hashable, float]]) -> list[list[float]]:
    """The values of each key."""
    groups: dict[Hashable, list[float]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return list(groups.values())


def bootstrap(
    runs: Sequence[Sequence[Sequence[float]]],
    statistic: Callable[[list[Floats]], Floats],
    resamples: int = RESAMPLES,
) -> Floats:
    """`statistic` of each resample, one row a resample.

    Each of `runs` holds the values of each recording, in the same order of recordings: these are drawn for all runs at
    once, which pairs them. `statistic` gets, for each run, an array of (resamples, recordings, repeats), with NaN where
    a recording has fewer repeats than another.
    """
    rng = np.random.default_rng(SEED)
    recordings = len(runs[0])
    padded = [_padded(run) for run in runs]
    step = max(1, 2_000_000 // max(table.size for table, _ in padded))  # 16 MB of samples at a time
    rows = []
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = rng.integers(recordings, size=(count, recordings))
        samples = []
        for table, lengths in padded:
            sample = table[drawn]
            if recordings < MIN_RECORDINGS:
                own = lengths[drawn][..., None]
                which = (rng.random(sample.shape) * own).astype(np.intp)
                sample = np.take_along_axis(sample, which, -1)
                sample[np.arange(sample.shape[-1]) >= own] = np.nan
            samples.append(sample)
        rows.append(statistic(samples))
    return np.concatenate(rows)


def quantiles(table: Floats, fractions: Floats) -> Floats:
    """Along the last axis, linearly between neighbours, without the NaNs; a last axis of `fractions` in its place.

    What `numpy.nanquantile` gives, which takes a hundred times as long on many short rows.
    """
    ordered = np.sort(table, axis=-1)  # NaN goes last
    last = np.sum(~np.isnan(table), axis=-1, keepdims=True) - 1
    at = np.maximum(last, 0) * fractions
    below = np.floor(at).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(last, 0))
    low, high = (np.take_along_axis(ordered, index, -1) for index in (below, above))
    found: Floats = low + (high - low) * (at - below)
    return found


def widening(values: int, alpha: float) -> float:
    """How much wider than its bootstrap an interval of so few values should be, for its tails are too short.

    sqrt(n / (n - 1)), and Student's t by the normal distribution (Hesterberg, What Teachers Should Know about the
    Bootstrap, The American Statistician 69(4), 2015, 4.3; t by Abramowitz and Stegun 26.7.5).
    """
    free = values - 1
    z = -NormalDist().inv_cdf(alpha / 2)
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return float(np.sqrt(values / free) * t / z)


def interval(drawn: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Of each column of resamples, all but `alpha` of them, half of that at each end."""
    low, high = np.nanquantile(drawn, [alpha / 2, 1 - alpha / 2], axis=0)
    return low, high


def _padded(run: Sequence[Sequence[float]]) -> tuple[Floats, NDArray[np.intp]]:
    table = np.full((len(run), max(map(len, run))), np.nan)
    for row, values in zip(table, run, strict=True):
        row[: len(values)] = values
    return table, np.array([len(values) for values in run])


def _line_ms(turns: Sequence[Turn]) -> float | None:
    spent = [
        sum(bar.lasted for bar in bars(turn) if bar.place == "line")
        for turn in turns
        if "first_audio_sent" in turn.steps
    ]
    return float(np.median(spent)) if spent else None


def _median(latencies: Sequence[tuple[Turn, float]]) -> float | None:
    return float(np.median([ms for _, ms in latencies])) if latencies else None


def _cpu(levels: Sequence[Level]) -> float | None:
    known = [(level.server.cpu_s, level.sessions * level.server.wall_s) for level in levels]
    spent = [(cpu_s, wall_s) for cpu_s, wall_s in known if cpu_s is not None]
    minutes = sum(wall_s for _, wall_s in spent) / 60
    return sum(cpu_s for cpu_s, _ in spent) / minutes if minutes else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _shown(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:.4g}"
