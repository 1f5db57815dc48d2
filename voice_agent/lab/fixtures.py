"""Recorded speech to talk to a server with: a folder, what its manifest says, and which files make a conversation."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, ValidationError, field_validator
from pydantic_core import ErrorDetails

from voice_agent.audio import RATE, Pcm16, ms_to_samples, read_audio
from voice_agent.client.player import AUDIBLE_DBFS, speech_bounds
from voice_agent.errors import AudioError, LabError

MANIFESTS: Final = ("manifest.tsv", "manifest.jsonl")
SUFFIXES: Final = (".wav", ".flac")
NUMBERED: Final = re.compile(r"(\d{1,3})[-_. ]")
"""How the name of a dialogue's file begins. The separator keeps names that are hashes out."""

ROUNDING_MS: Final = 10.0
"""How far after the end of its file a manifest's speech may end: seconds are often written with two digits."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something to be said."""

    path: Path | None
    """None where it was made and not recorded."""
    name: str
    """The path in its folder; of what was made, what it is."""
    pcm: Pcm16
    transcript: str | None
    speech: tuple[int, int]
    """First sample of the speech, and the one after the last."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The turns of one caller in one session, in order."""

    name: str
    utterances: tuple[Utterance, ...]


class _Row(BaseModel):
    """Of a manifest; what else it says is passed over."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    path: str
    transcript: str | None = None
    speech_start: NonNegativeFloat | None = None
    """Seconds."""
    speech_end: NonNegativeFloat | None = None
    dialogue: str | None = None
    """Rows with the same name here are one dialogue, in their order."""

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        """A table can only say "nothing" by leaving the place empty."""
        return None if isinstance(value, str) and not value.strip() else value


@dataclass(frozen=True, slots=True)
class _Entry:
    row: _Row
    said_at: str
    """Where the manifest says it, for errors; the file itself without one."""


def read_fixtures(folder: Path, rate: int = RATE) -> list[Dialogue]:
    """The recordings in `folder`: every WAV and FLAC at any depth or, with a manifest, the files that this names.

    `manifest.tsv` (a table with a heading, tabs between, no quoting) and `manifest.jsonl` (an object a line) have the
    same fields: `path`, in the folder, and optionally `transcript`, `speech_start` and `speech_end` (seconds; found by
    energy where they are absent) and `dialogue`. A dialogue is spoken in one session: files that have the same
    `dialogue`, in their order, or a sub-folder in which every file begins with a number of its own (`01-hello.wav`,
    `02-order.wav`), by number. Every other file is a dialogue of its own.

    Args:
        folder: the recordings.
        rate: of the audio that is given, hertz.

    Raises:
        LabError: nothing is there, or some of it can't be used. Every file and row that is wrong is named.
    """
    if not folder.is_dir():
        raise LabError(f"{folder}: no such folder; FIXTURES is a folder with recordings (WAV or FLAC)")
    entries = _entries(folder)
    utterances: dict[str, Utterance] = {}
    problems = []
    for entry in entries:
        try:
            utterances[entry.row.path] = _read(folder, entry, rate)
        except LabError as problem:
            problems.append(str(problem))
    if problems:
        raise LabError("\n".join(problems))
    return [
        Dialogue(name, tuple(utterances[row.path] for row in rows))
        for name, rows in _dialogues([entry.row for entry in entries]).items()
    ]


def _entries(folder: Path) -> list[_Entry]:
    manifests = [folder / name for name in MANIFESTS if (folder / name).is_file()]
    if len(manifests) > 1:
        raise LabError(f"{folder}: there are {' and '.join(MANIFESTS)}; keep one of them")
    if manifests:
        return _listed(manifests[0])
    paths = sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not paths:
        raise LabError(f"{folder}: no recordings (WAV or FLAC) in it, nor a {' or '.join(MANIFESTS)}")
    return [_Entry(_Row(path=path.as_posix()), str(folder / path)) for path in paths]


def _listed(manifest: Path) -> list[_Entry]:
    """The manifest's rows."""
    try:
        text = manifest.read_text(encoding="utf-8-sig")  # spreadsheets put a mark in front
    except UnicodeDecodeError as error:
        raise LabError(f"{manifest}: not UTF-8; save it as that: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    parse: Callable[[str], _Row] = _Row.model_validate_json
    if manifest.suffix == ".tsv":
        heading = lines.pop(0)[1].split("\t") if lines else []
        heading = [column.strip() for column in heading]
        if "path" not in heading:
            raise LabError(
                f"{manifest}: its first line should name the columns, with tabs between, and `path` among them; "
                f"it has: {', '.join(heading) or 'nothing'}"
            )

        def parse(line: str) -> _Row:
            return _Row.model_validate(dict(zip(heading, line.split("\t"), strict=False)))

    if not lines:
        raise LabError(
            f"{manifest}: it lists no recordings; remove it to take every WAV and FLAC of the folder"
        )
    entries: list[_Entry] = []
    problems: list[str] = []
    for number, line in lines:
        said_at = f"{manifest}, line {number}"
        try:
            entries.append(_Entry(parse(line), said_at))
        except ValidationError as error:
            problems += [f"{said_at}: {_explain(detail)}" for detail in error.errors()]
    alone = Counter(entry.row.path for entry in entries if entry.row.dialogue is None)
    problems += [
        f"{manifest}: {path} is there {times} times; keep one, or name the `dialogue` that each is part of"
        for path, times in alone.items()
        if times > 1
    ]
    if problems:
        raise LabError("\n".join(problems))
    return entries


def _explain(detail: ErrorDetails) -> str:
    name = ".".join(map(str, detail["loc"])) or "the line"
    if detail["type"] == "missing" or (name == "path" and detail["input"] is None):
        return f"`{name}` is missing: the recording's place in the folder"
    return f"{name}: {detail['msg'][0].lower()}{detail['msg'][1:]}; given: {detail['input']!r}"


def _read(folder: Path, entry: _Entry, rate: int) -> Utterance:
    row, path = entry.row, folder / entry.row.path
    try:
        pcm = read_audio(path, rate)
    except AudioError as error:
        what_to_do = "put it there or take the row out" if not path.is_file() else "replace it or take it out"
        raise LabError(f"{entry.said_at}: {error}; {what_to_do}") from error
    found = speech_bounds(pcm, rate) or (0, 0)
    if not any(found) and (row.speech_start is None or row.speech_end is None):
        raise LabError(
            f"{entry.said_at}: no speech in {path}, nothing in it is above {AUDIBLE_DBFS:g} dBFS; take it out, or say "
            "where the speech is, with speech_start and speech_end"
        )
    start = found[0] if row.speech_start is None else ms_to_samples(row.speech_start * 1000, rate)
    end = found[1] if row.speech_end is None else ms_to_samples(row.speech_end * 1000, rate)
    if end > len(pcm) + ms_to_samples(ROUNDING_MS, rate):
        raise LabError(
            f"{entry.said_at}: speech_end, {row.speech_end:g} s, is after the end of {path}, "
            f"{len(pcm) / rate:.2f} s; seconds are meant"
        )
    end = min(end, len(pcm))
    if start >= end:
        raise LabError(
            f"{entry.said_at}: the speech in {path} would begin at {start / rate:.2f} s and end at {end / rate:.2f} s; "
            f"correct speech_start or speech_end"
        )
    return Utterance(path, row.path, pcm, row.transcript, (start, end))


def _dialogues(rows: Sequence[_Row]) -> dict[str, list[_Row]]:
    """The rows of each dialogue, by its name."""
    folders: dict[str, list[_Row]] = {}
    for row in rows:
        if row.dialogue is None:
            folders.setdefault(_folder(row), []).append(row)
    ordered = {folder for folder, members in folders.items() if folder != "." and _in_order(members)}
    grouped: dict[str, list[_Row]] = {}
    for row in rows:
        name = row.dialogue or (_folder(row) if _folder(row) in ordered else row.path)
        grouped.setdefault(name, []).append(row)
    for folder in ordered:
        grouped[folder].sort(key=lambda row: _number(row) or 0)
    return grouped


def _folder(row: _Row) -> str:
    return PurePosixPath(row.path).parent.as_posix()


def _number(row: _Row) -> int | None:
    match = NUMBERED.match(PurePosixPath(row.path).name)
    return int(match[1]) if match else None


def _in_order(rows: Sequence[_Row]) -> bool:
    """Whether each has a number of its own."""
    numbers = {_number(row) for row in rows}
    return None not in numbers and len(numbers) == len(rows)
