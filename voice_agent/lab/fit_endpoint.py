"""Fits the weights of `dialogue/end_of_turn.py` on recordings: `python -m voice_agent.lab.fit_endpoint FOLDER`.

FOLDER holds WAVs and a manifest.tsv with the columns path, kind and speech_end. Each recording is replayed as it is,
in the band of the telephone, in noise, and cut short; every silence in it is a pause (speech follows) or an end. What
is made small is what users feel: the mean delay after the end, plus a price for each turn that is cut off. With some
dozens of pauses to learn from, the weights are held to their signs and pulled to a prior set by hand. What the report
calls held out was judged by weights that had heard nothing of that source.
"""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy.optimize import minimize

from voice_agent.audio import FRAME, FRAME_MS, RATE, Pcm16, read_audio, resample
from voice_agent.config import load_settings
from voice_agent.dialogue.end_of_turn import LONGEST_MS, THRESHOLD, WEIGHTS, Terms, features
from voice_agent.lab.cutoffs import BUDGET, THRESHOLDS, Clip, Outcome, best, by_evidence, judge
from voice_agent.lab.endpoint import KINDS, MANIFEST, Labels, read_manifest
from voice_agent.lab.noise import attenuated, clipped, one_over_f, rms
from voice_agent.lab.replay import Delays, Ear, Moment, Replay

Array: TypeAlias = NDArray[np.float64]

OTHER_KINDS: Final = ("read", "telephone", "one-word", "style", "filler")
"""Kinds that are learned from as well, but count less: nobody is being talked to."""
OTHER_WEIGHT: Final = 0.4
VARIANT_WEIGHT: Final = 0.5
"""Of a recording made worse: it is the same pause once more."""
CUT_WEIGHT: Final = 0.1
"""Of a recording cut short: nobody speaks so, but the words and their melody are unfinished."""
CUT_LENGTHS_MS: Final = np.array([300.0, 400, 550, 800, 1200, 1900])
"""How long a pause at a cut is taken to be, equally likely: about the quantiles of the real ones from 200 ms on."""
CUTS: Final = 2
"""Of each recording."""

CUT_OFF_COSTS_S: Final = 5.0
"""The delay, on every turn of twenty, that is worth one of them not being cut off: 20 * 250 ms."""
SOFTNESS: Final = 0.15
"""Width of the step at the threshold, in log-odds, that makes the loss smooth."""
PULL: Final = 0.03
"""Strength of the prior. Ten times less fits these recordings better and held-out ones worse."""
PRIOR: Final = Terms(
    bias=-0.85,
    no_audio=-0.5,
    no_text=-0.5,
    audio_against=0.8,
    audio_against_question=0.3,
    audio_for=0.3,
    unfinished=-3.0,
    short=-2.5,
    repeated=-2.0,
    silence=3.0,
    pause=-0.5,
)
"""Set by hand: with nothing against it a turn is over after 0.4 s; a silence of 1.1 s makes up for an answer of one
word, or for words that can't be the last."""
SIGNS: Final = Terms(0, 0, 0, 1, 1, 1, -1, -1, -1, 1, -1)
"""Permitted signs of the weights: 1 not negative, -1 not positive, 0 any."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One recording, as it is or changed."""

    source: str
    """Recordings of one speaker or collection, held out together."""
    variant: str
    """`original`, `telephone`, `noise` or `cut`."""
    kind: str
    judged: bool
    """Whether its kind is one that the report is about."""
    speech_end: float
    moments: list[Moment]

    @property
    def weight(self) -> float:
        """How much it counts."""
        kind = 1.0 if self.judged else OTHER_WEIGHT
        return kind * {"original": 1.0, "cut": CUT_WEIGHT}.get(self.variant, VARIANT_WEIGHT)


def source_of(path: str) -> str:
    """Recordings whose names begin alike, up to the first underscore, are of one source."""
    return Path(path).stem.split("_")[0]


def telephone(pcm: Pcm16) -> Pcm16:
    """As a telephone line passes it on: 8 kHz, mu-law."""
    line = resample(pcm, RATE, 8000) / 32768
    coded = np.round(np.sign(line) * np.log1p(255 * np.abs(line)) / np.log(256) * 127) / 127
    decoded = np.sign(coded) * (256 ** np.abs(coded) - 1) / 255
    return resample((decoded * 32767).astype(np.int16), 8000, RATE)


def noisy(pcm: Pcm16, rng: np.random.Generator) -> Pcm16:
    """With noise whose power falls as 1/f, 10 to 25 dB below the speech, for as long as a decision takes."""
    noise = one_over_f(len(pcm) + round(LONGEST_MS * RATE / 1000), rng)
    level = attenuated(rms(pcm), rng.uniform(10, 25))
    return clipped(np.pad(pcm, (0, len(noise) - len(pcm))) + noise * level)


def cut(pcm: Pcm16, speech_end: float, rng: np.random.Generator) -> Pcm16:
    """The beginning of it, up to the quietest frame within 150 ms of a random moment of the speech."""
    frames = np.square(pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME), dtype=float).mean(axis=1)
    about = round(rng.uniform(0.3, 0.85) * speech_end * 1000 / FRAME_MS)
    reach = 150 // FRAME_MS
    first = max(1, about - reach)
    return pcm[: (first + int(frames[first : about + reach].argmin())) * FRAME]


async def listen(folder: Path, labels: dict[str, Labels]) -> list[Sample]:
    """Replay every recording and its variants."""
    ear = Ear.build(load_settings())
    rng = np.random.default_rng(0)
    samples: list[Sample] = []
    try:
        await ear.start()
        for number, (path, label) in enumerate(sorted(labels.items()), 1):
            pcm = read_audio(folder / path)
            judged = label.kind.startswith(tuple(KINDS.split(",")))
            variants = [("original", pcm)]
            if judged:
                variants += [("telephone", telephone(pcm)), ("noise", noisy(pcm, rng))]
                variants += [("cut", cut(pcm, label.speech_end, rng)) for _ in range(CUTS)]
            for name, audio in variants:
                replay = await ear.replay(audio, Delays())
                moments = replay.silences()[-1:] if name == "cut" else [replay.moments]
                samples += [
                    Sample(source_of(path), name, label.kind, judged, label.speech_end, heard)
                    for heard in moments
                    if heard
                ]
            print(f"{number}/{len(labels)} {path}", file=sys.stderr)
    finally:
        await ear.close()
    return samples


WAITS_MS: Final = np.arange(120.0, LONGEST_MS, FRAME_MS)
"""Silences that are looked at; a commit comes at the first whose probability is high enough, or at `LONGEST_MS`."""


class Material:
    """The samples as arrays: a row for each silence, a column for each of `WAITS_MS`."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        rows = [(number, silence) for number, sample in enumerate(samples) for silence in _silences(sample)]
        self.clip = np.array([number for number, _ in rows])
        self.features = np.zeros((len(rows), len(WAITS_MS), len(Terms._fields)))
        self.lasts = np.zeros((len(rows), len(WAITS_MS)), bool)
        """Whether the silence goes on that long."""
        for row, (_, silence) in enumerate(rows):
            for moment in silence:
                column = round((moment.evidence.silence_ms - WAITS_MS[0]) / FRAME_MS)
                if 0 <= column < len(WAITS_MS):
                    self.features[row, column] = features(moment.evidence)
                    self.lasts[row, column] = True
        is_cut = np.array([sample.variant == "cut" for sample in samples])
        last = np.append(self.clip[1:] != self.clip[:-1], True)
        self.cut = is_cut[self.clip]
        self.end = last & ~self.cut
        self.pause = ~last & ~self.cut
        starts = np.array([silence[0].at - silence[0].evidence.silence_ms / 1000 for _, silence in rows])
        self.late_s = starts - np.array([sample.speech_end for sample in samples])[self.clip]
        """How far VAD's end of the speech lies behind the annotated one."""
        self.weight = np.array([sample.weight for sample in samples])
        self.whole = ~is_cut

    def loss(self, weights: Array, counts: Array) -> float:
        """Mean delay of the turns that are not cut off, seconds, plus the price of those that are.

        `counts` is 0 for samples that are held out, and 1 for the rest.
        """
        odds = self.features @ weights - _log_odds(THRESHOLD["auto"])
        committed = np.maximum.accumulate(1 / (1 + np.exp(-np.clip(odds / SOFTNESS, -40, 40))), axis=1)
        cut_off = np.where(self.lasts, committed, 0).max(axis=1)
        columns = np.searchsorted(WAITS_MS, CUT_LENGTHS_MS)
        cut_off = np.where(self.cut, committed[:, columns].mean(axis=1), cut_off)
        keeps = np.zeros(len(self.weight))
        risks = self.pause | self.cut
        np.add.at(keeps, self.clip[risks], np.log(np.maximum(1 - cut_off[risks], 1e-9)))
        kept = np.exp(keeps)
        delay = np.zeros(len(self.weight))
        wait_s = (WAITS_MS[0] + FRAME_MS * (1 - committed).sum(axis=1)) / 1000
        delay[self.clip[self.end]] = (self.late_s + wait_s)[self.end]
        weight = self.weight * counts
        heard = weight * kept * self.whole
        return float(
            (heard * delay).sum() / heard.sum() + CUT_OFF_COSTS_S * (weight * (1 - kept)).sum() / weight.sum()
        )


def _silences(sample: Sample) -> Iterator[list[Moment]]:
    """Those that last long enough to be looked at."""
    for silence in Replay(sample.moments).silences():
        if silence[-1].evidence.silence_ms >= WAITS_MS[0]:
            yield silence


def _log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def fit(material: Material, counts: Array) -> Terms:
    """The weights with the least loss, held to their signs and near the prior."""
    prior = np.array(PRIOR)
    bounds = [(0 if sign > 0 else None, 0 if sign < 0 else None) for sign in SIGNS]

    def loss(weights: Array) -> float:
        return material.loss(weights, counts) + PULL * float(np.square(weights - prior)[1:].sum())

    return Terms(*map(float, minimize(loss, prior, method="L-BFGS-B", bounds=bounds).x))


def weighed(sample: Sample, weights: Terms) -> Clip:
    """A clip whose moments have the probabilities that `weights` give."""
    moments = []
    for moment in sample.moments:
        probability = 0.0
        if moment.evidence.silence_ms >= LONGEST_MS:
            probability = 1.0
        elif moment.evidence.silence_ms >= WAITS_MS[0]:
            probability = 1 / (1 + np.exp(-np.dot(features(moment.evidence), weights)))
        moments.append(Moment(moment.at, probability, moment.evidence))
    return Clip(sample.kind, sample.speech_end, Replay(moments), ())


def report(name: str, clips: Sequence[Clip]) -> None:
    """Print the figures at the budget, and at each threshold in force."""
    found = best(clips, ((threshold, by_evidence(threshold)) for threshold in THRESHOLDS))
    if found:
        print(f"{name}, at most {BUDGET:.0%} cut off: {_figures(found[1])} (threshold {found[0]})")
    for eagerness, threshold in THRESHOLD.items():
        print(f"{name}, {eagerness}: {_figures(judge(clips, by_evidence(threshold)))}")


def _figures(outcome: Outcome) -> str:
    delays = (outcome.mean_s, outcome.median_s, outcome.p90_s)
    mean, median, p90 = (f"{delay * 1000:.0f}" for delay in delays)
    return f"{outcome.cut_off:.1%} cut off, delay mean {mean} ms, median {median}, 90 % {p90}"


def main(
    folder: Annotated[Path, typer.Argument(help="Recordings with manifest.tsv.")],
    evidence: Annotated[
        Path | None, typer.Option(help="Keeps what was heard: read if it exists, else written.")
    ] = None,
) -> None:
    """Print weights for voice_agent/end_of_turn.py, and what they achieve on recordings heard and not heard."""
    adapter = TypeAdapter(list[Sample])
    if evidence and evidence.is_file():
        samples = adapter.validate_json(evidence.read_bytes())
    else:
        labels = read_manifest(folder / MANIFEST, (*KINDS.split(","), *OTHER_KINDS))
        labels = {path: label for path, label in labels.items() if "dialog" not in label.kind}
        samples = asyncio.run(listen(folder, labels))
        if evidence:
            evidence.write_bytes(adapter.dump_json(samples))

    material = Material(samples)
    weights = fit(material, np.ones(len(samples)))
    print("WEIGHTS: Final = Terms(")
    print("".join(f"    {name}={weight:.2f},\n" for name, weight in weights._asdict().items()), end=")\n")

    judged = [sample for sample in samples if sample.judged and sample.variant == "original"]
    held_out = []
    for source in sorted({sample.source for sample in judged}):
        counts = np.array([float(sample.source != source) for sample in samples])
        without = fit(material, counts)
        held_out += [weighed(sample, without) for sample in judged if sample.source == source]
    report("in force", [weighed(sample, WEIGHTS) for sample in judged])
    report("fitted", [weighed(sample, weights) for sample in judged])
    report("held out", held_out)
    for variant in ("telephone", "noise"):
        worse = [sample for sample in samples if sample.variant == variant]
        report(f"fitted, {variant}", [weighed(sample, weights) for sample in worse])


if __name__ == "__main__":
    typer.run(main)
