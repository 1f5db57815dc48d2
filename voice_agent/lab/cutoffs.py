"""How long a rule for the end of a turn makes the user wait, for how often it cuts them off.

As eot-bench does: a commit more than 50 ms before the annotated end of speech is a false cut-off; the delay is from
that end to the commit, on the other clips; and what is compared is the mean delay at a budget of false cut-offs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeVar

import numpy as np

from voice_agent.lab.replay import Replay

GRACE_S: Final = 0.05
"""A commit this much before the annotated end is none too early: that is as exact as ends are annotated."""
BUDGET: Final = 0.05
"""Part of the clips that may be cut off."""
THRESHOLDS: Final = tuple(percent / 100 for percent in range(1, 100))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Silence:
    """Of one clip, in seconds."""

    start: float
    end: float
    score: float
    """smart-turn's, `PIPECAT_ASKS_S` into it; 0 where it was shorter."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording whose end of speech is known."""

    kind: str
    speech_end: float
    """Seconds."""
    replay: Replay
    silences: tuple[Silence, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a rule on some clips."""

    cut_off: float
    """Part of the clips, 0 to 1."""
    mean_s: float
    """Delay of the others that were committed; infinite where there are none."""
    median_s: float
    p90_s: float
    never: int
    """Clips that were not committed at all."""


def judge(clips: Sequence[Clip], commit: Callable[[Clip], float | None]) -> Outcome:
    """The outcome of a rule that says when each clip is committed, in seconds, or never."""
    commits = [(clip.speech_end, commit(clip)) for clip in clips]
    made = [(end, at) for end, at in commits if at is not None]
    delays = [at - end for end, at in made if at >= end - GRACE_S]
    mean, median, p90 = (
        (float(np.mean(delays)), *map(float, np.percentile(delays, (50, 90)))) if delays else (np.inf,) * 3
    )
    return Outcome((len(made) - len(delays)) / len(clips), mean, median, p90, len(commits) - len(made))


def by_default(clip: Clip) -> float | None:
    """The session's own decision."""
    return clip.replay.decisions[0] if clip.replay.decisions else None


def by_evidence(threshold: float) -> Callable[[Clip], float | None]:
    """Commit when the probability reaches `threshold`."""
    return lambda clip: next((m.at for m in clip.replay.moments if m.probability >= threshold), None)


def by_silence(longest_s: float) -> Callable[[Clip], float | None]:
    """Commit after a silence of this length: VAD alone."""
    return by_smart_turn(2.0, longest_s)


PIPECAT_ASKS_S: Final = 0.2
"""Silence at which pipecat 1.14 asks smart-turn (`stop_secs` of its VAD)."""


def by_smart_turn(
    threshold: float, longest_s: float, shortest_s: float = PIPECAT_ASKS_S
) -> Callable[[Clip], float | None]:
    """Commit `shortest_s` into a silence that smart-turn takes for the end, otherwise after `longest_s`."""

    def commit(clip: Clip) -> float | None:
        for silence in clip.silences:
            wait = shortest_s if silence.score >= threshold else longest_s
            if silence.end - silence.start >= wait:
                return silence.start + wait
        return None

    return commit


def best(
    clips: Sequence[Clip], rules: Iterable[tuple[T, Callable[[Clip], float | None]]], budget: float = BUDGET
) -> tuple[T, Outcome] | None:
    """The rule with the least mean delay within the budget that commits every clip, and what it is called."""
    judged = ((name, judge(clips, rule)) for name, rule in rules)
    fit = [(name, outcome) for name, outcome in judged if outcome.cut_off <= budget and not outcome.never]
    return min(fit, key=lambda pair: pair[1].mean_s, default=None)


def compare(clips: Sequence[Clip]) -> dict[str, Outcome | None]:
    """The figures of the report: each rule at its best settings on these very clips, and the session as it is set."""
    silence = ((s, by_silence(s)) for s in np.arange(0.2, 4.0, 0.05))
    smart = (
        ((threshold, longest, shortest), by_smart_turn(threshold, longest, shortest))
        for threshold, longest, shortest in product(
            (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995),
            np.arange(0.4, 4.0, 0.1),
            np.arange(0.2, 1.5, 0.1),
        )
        if longest > shortest
    )
    weighed = ((threshold, by_evidence(threshold)) for threshold in THRESHOLDS)
    found = {
        "silence alone": best(clips, silence),
        "smart-turn alone": best(clips, smart),
        "evidence": best(clips, weighed),
    }
    outcomes = {name: pair[1] if pair else None for name, pair in found.items()}
    return outcomes | {"as it is set": judge(clips, by_default)}
