"""`voice-agent lab endpoint`: when turn-taking takes the turns of recordings for over, and what it knew."""

import asyncio
import csv
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter
from rich.console import Console
from rich.table import Table

from voice_agent.audio import Pcm16, ms_to_samples, read_audio
from voice_agent.config import Eagerness, load_settings
from voice_agent.errors import LabError
from voice_agent.lab.cutoffs import BUDGET, PIPECAT_ASKS_S, Clip, Outcome, Silence, compare
from voice_agent.lab.replay import Delays, Ear, Replay

MANIFEST = "manifest.tsv"
KINDS = "hesitation,query,command,telephone-turn"


class EvidenceAt(BaseModel):
    """The evidence at one frame of silence."""

    t: float
    """Seconds into the recording."""
    p: float
    """Probability that the turn is over."""


class Result(BaseModel):
    """One recording's object in the file that `--json` names."""

    file: str
    """Relative to the folder."""
    evidence: list[EvidenceAt]
    """Every 20 ms of silence from the first speech on, as if nothing had been committed before."""
    decisions: list[float]
    """When turns were committed, seconds into the recording."""


class Labels(BaseModel):
    """A row of the manifest."""

    kind: str
    speech_end: float
    """Seconds."""


def endpoint(
    folder: Path,
    json: Path | None,
    kinds: str,
    eagerness: Eagerness | None,
    transcript_ms: float,
    score_ms: float,
) -> None:
    """Run the recordings of `folder` through the session's turn-taking, write `json`, and print a summary.

    Raises:
        VoiceAgentError: there are no recordings, or an engine or its weights failed.
    """
    paths = sorted(folder.rglob("*.wav"))
    if not paths:
        raise LabError(f"{folder}: no WAV files")
    delays = Delays(transcript_ms, score_ms)
    labels = read_manifest(folder / MANIFEST, kinds.split(","))
    results, clips = asyncio.run(_replay_all(folder, paths, labels, delays, eagerness))
    if json:
        json.write_bytes(TypeAdapter(list[Result]).dump_json(results))
    committed = sum(bool(result.decisions) for result in results)
    print(f"{len(results)} recordings; {committed} with a turn")
    if clips:
        Console().print(summary(clips))


def read_manifest(path: Path, kinds: Sequence[str]) -> dict[str, Labels]:
    """The manifest's entries for the recordings whose kind begins with one of `kinds`, by path; empty without one."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["path"]: Labels(kind=row["kind"], speech_end=float(row["speech_end"]))
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if row["speech_end"] and row["kind"].startswith(tuple(kinds))
        }


async def _replay_all(
    folder: Path,
    paths: Sequence[Path],
    labels: dict[str, Labels],
    delays: Delays,
    eagerness: Eagerness | None,
) -> tuple[list[Result], list[Clip]]:
    ear = Ear.build(load_settings())
    results: list[Result] = []
    clips: list[Clip] = []
    try:
        await ear.start()
        for path in paths:
            pcm = read_audio(path)
            replay = await ear.replay(pcm, delays, eagerness)
            name = path.relative_to(folder).as_posix()
            results.append(result_of(name, replay))
            if label := labels.get(name):
                clips.append(Clip(label.kind, label.speech_end, replay, await silences(ear, pcm, replay)))
    finally:
        await ear.close()
    return results, clips


def result_of(name: str, replay: Replay) -> Result:
    """The record that is written of one recording."""
    evidence = [EvidenceAt(t=round(moment.at, 3), p=moment.probability) for moment in replay.moments]
    return Result(file=name, evidence=evidence, decisions=[round(at, 3) for at in replay.decisions])


async def silences(ear: Ear, pcm: Pcm16, replay: Replay) -> tuple[Silence, ...]:
    """The silences that VAD found, and what smart-turn says of each where pipecat would ask it."""
    found = []
    for moments in replay.silences():
        end = moments[-1].at
        start = moments[0].at - moments[0].evidence.silence_ms / 1000
        asked = start + PIPECAT_ASKS_S
        score = await ear.endpoint.score(pcm[: ms_to_samples(asked * 1000)]) if end >= asked else 0.0
        found.append(Silence(start, end, score))
    return tuple(found)


def summary(clips: Sequence[Clip]) -> Table:
    """Delay and false cut-offs: the session's evidence against silence alone and smart-turn alone."""
    table = Table("", "cut off", "mean delay", "median", "90 %", "never", title=f"{len(clips)} clips")
    for name, outcome in compare(clips).items():
        label = name if name == "as it is set" else f"{name}, at most {BUDGET:.0%} cut off"
        table.add_row(label, *(_cells(outcome) if outcome else ("no setting does it",)))
    return table


def _cells(outcome: Outcome) -> tuple[str, ...]:
    delays = (f"{delay * 1000:.0f} ms" for delay in (outcome.mean_s, outcome.median_s, outcome.p90_s))
    return (f"{outcome.cut_off:.1%}", *delays, str(outcome.never))
