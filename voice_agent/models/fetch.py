"""Weights on disk: there, whole, and what the catalogue says; fetched if not."""

import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from filelock import FileLock, Timeout
from pydantic import BaseModel, TypeAdapter, ValidationError

from voice_agent.config import ModelsSettings
from voice_agent.errors import WeightsError
from voice_agent.models.catalog import Archives, File, HuggingFace, Weights, catalog
from voice_agent.models.progress import Progress, shown
from voice_agent.models.sources import ARCHIVE_PREFIX, Partial, Report, SourceError, fill

log = logging.getLogger(__name__)

STAMP: Final = ".verified.json"
"""In the folder of each set: what its files looked like when their hashes were last found right."""
PARTIAL: Final = ".partial"
"""Folder of partial files and locks, beside the sets: on the same file system, so that a rename is atomic."""


@dataclass(frozen=True)
class Problem:
    """A fault of one file."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def ensure(
    name: str, *, directory: Path | None = None, offline: bool = False, progress: Progress | None = None
) -> Path:
    """The folder with the files of `name`, fetched and verified first if need be.

    Quick when they are there: a file whose size and time of change are as at its last verification is not
    hashed again. May be called by several processes and threads at once: one fetches, the others wait.
    Blocks; call it off the event loop.

    Args:
        name: an entry of the catalogue.
        directory: holds a folder for each set of weights; by default the one of `ModelsSettings`.
        offline: use what is there, or fail.
        progress: hears how far the fetch is; by default bars in a terminal, log lines elsewhere.

    Raises:
        WeightsError: the name is unknown, no source gave the files, or they can't be written.
    """
    weights, folder = _locate(name, directory)
    try:
        missing = _missing(weights, folder)
        if not missing:
            return folder
        if offline:
            raise WeightsError(
                f"{name}: missing or corrupt in {folder}: {_names(missing)}; and fetching is off "
                f"(models.offline). Run `voice-agent models pull {name}`, or copy the files there."
            )
        with _sole_fetch(name, folder) as partial:
            if missing := _missing(weights, folder):
                _fetch(weights, missing, folder, partial, progress)
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise WeightsError(
            f"{name}: can't use {folder.parent}: {error}. Make room there, or name another folder "
            "(VOICE_AGENT_MODELS__DIR)."
        ) from error
    return folder


def verify(name: str, *, directory: Path | None = None) -> list[Problem]:
    """Find the faults of the files of `name`, each hashed in full. The next `ensure` fetches those again.

    Raises:
        WeightsError: the name is unknown.
    """
    weights, folder = _locate(name, directory)
    problems: list[Problem] = []
    good: dict[str, _Seen] = {}
    for file in weights.files:
        path = folder / file.path
        if reason := _wrong(path, file):
            problems.append(Problem(path, reason))
        else:
            good[file.path] = _Seen.of(path, file)
    if folder.is_dir():
        _write_stamp(folder, good)
    return problems


def present(name: str, *, directory: Path | None = None) -> bool:
    """Whether all files of `name` are there, at their size; nothing is hashed.

    Raises:
        WeightsError: the name is unknown.
    """
    weights, folder = _locate(name, directory)
    return all(_size(folder / file.path) == file.size for file in weights.files)


def _locate(name: str, directory: Path | None) -> tuple[Weights, Path]:
    weights = catalog().get(name)
    if weights is None:
        raise WeightsError(f"{name}: no such weights. The catalogue has: {', '.join(sorted(catalog()))}")
    folder = directory or ModelsSettings().dir
    try:
        return weights, folder.expanduser() / name
    except RuntimeError as error:
        raise WeightsError(
            f"{name}: {folder} is in no known home; name a folder (VOICE_AGENT_MODELS__DIR)"
        ) from error


class _Seen(BaseModel):
    """A file as it was when its hash was found right."""

    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path, file: File) -> "_Seen":
        stat = path.stat()
        return cls(size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=file.sha256)


_STAMP_JSON = TypeAdapter(dict[str, _Seen])


def _read_stamp(folder: Path) -> dict[str, _Seen]:
    try:
        return _STAMP_JSON.validate_json((folder / STAMP).read_bytes())
    except (OSError, ValidationError):
        return {}


def _write_stamp(folder: Path, seen: dict[str, _Seen]) -> None:
    """Remember; without effect where the folder can't be written, which costs a hash at the next start."""
    fresh = folder / f"{STAMP}.{uuid4().hex}"
    with suppress(OSError):
        fresh.write_bytes(_STAMP_JSON.dump_json(seen, indent=1))
        fresh.replace(folder / STAMP)


def _missing(weights: Weights, folder: Path) -> list[File]:
    """The files that are not there, or not right; those changed since their last verification are hashed."""
    stamp = _read_stamp(folder)
    good: dict[str, _Seen] = {}
    missing: list[File] = []
    for file in weights.files:
        path = folder / file.path
        if not path.is_file():
            missing.append(file)
        elif (seen := _Seen.of(path, file)) == stamp.get(file.path) or not (reason := _wrong(path, file)):
            good[file.path] = seen
        else:
            log.warning("%s: %s", path, reason)
            missing.append(file)
    if good != stamp and folder.is_dir():
        _write_stamp(folder, good)
    return missing


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _wrong(path: Path, file: File) -> str | None:
    """The reason that `path` is not `file`; None if it is."""
    size = _size(path)
    if size is None:
        return "missing"
    if size != file.size:
        return f"has {size} bytes, not {file.size}: cut short or another version"
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return f"can't be read: {error}"
    if found != file.sha256:
        return f"is corrupt: its SHA-256 is {found}, not {file.sha256}"
    return None


@contextmanager
def _sole_fetch(name: str, folder: Path) -> Iterator[Partial]:
    """Hold the lock on fetching `name`; gives its partial files."""
    partial = folder.parent / PARTIAL / name
    partial.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{partial}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s: being fetched by another process; waiting for it", name)
        lock.acquire()
    try:
        for left in partial.glob(f"{ARCHIVE_PREFIX}*"):
            shutil.rmtree(left)
        yield Partial(partial)
    finally:
        lock.release()


def _fetch(
    weights: Weights, missing: Sequence[File], folder: Path, partial: Partial, progress: Progress | None
) -> None:
    began = time.monotonic()
    total = sum(file.size for file in missing)
    _check_room(missing, partial)
    left = {file.path: file for file in missing}
    failures: list[str] = []
    with shown(progress) as tell:

        def report(on_the_way: int) -> None:
            absent = sum(max(0, file.size - partial.size(file.path)) for file in left.values())
            tell(weights.name, max(0, total - absent + on_the_way), total)

        report(0)
        for source in weights.sources:
            failures += _take(source, weights, left, folder, partial, report)
            report(0)
    if left:
        raise WeightsError(_no_source(weights, list(left.values()), failures, folder))
    shutil.rmtree(partial.folder, ignore_errors=True)
    log.info(
        "%s: fetched and verified %.0f MB in %.1f s", weights.name, total / 1e6, time.monotonic() - began
    )


def _check_room(missing: Sequence[File], partial: Partial) -> None:
    """Said before the first byte, and not after half an hour."""
    wanted = sum(max(0, file.size - partial.size(file.path)) for file in missing)
    free = shutil.disk_usage(partial.folder.parent).free
    if free < wanted:
        raise OSError(
            errno.ENOSPC,
            f"{wanted / 1e6:.0f} MB are wanted, and {free / 1e6:.0f} MB are free",
            str(partial.folder.parent),
        )


def _take(
    source: HuggingFace | Archives,
    weights: Weights,
    left: dict[str, File],
    folder: Path,
    partial: Partial,
    report: Report,
) -> list[str]:
    """Move what `source` gives from `left` into `folder`; returns what went wrong."""
    failures: list[str] = []
    wanted = [file for file in left.values() if source.has(file.path)]
    while wanted:
        resumed = {file.path for file in wanted if partial.size(file.path)}
        log.info("%s: from %s: %s", weights.name, source, _names(wanted))
        try:
            fill(source, weights, wanted, partial, report)
        except SourceError as error:
            failures.append(f"{source}: {error}")
        wrong: list[File] = []
        for file in wanted:
            if partial.size(file.path) < file.size:
                continue
            if reason := _wrong(partial.path(file.path), file):
                partial.drop(file.path)
                failures.append(f"{source}: {file.path} {reason}")
                wrong.append(file)
            else:
                _install(partial.path(file.path), folder, file)
                del left[file.path]
        # What was wrong may have been the beginning, from an earlier run: then once more, from the start.
        wanted = [file for file in wrong if file.path in resumed]
    for failure in failures:
        log.warning("%s: %s; going on without", weights.name, failure)
    return failures


def _install(partial: Path, folder: Path, file: File) -> None:
    """Put a verified file in its place: from then on it is there as a whole, even if the power fails."""
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(path)
    _write_stamp(folder, _read_stamp(folder) | {file.path: _Seen.of(path, file)})


def _names(files: Sequence[File]) -> str:
    return ", ".join(file.path for file in files) if len(files) < 5 else f"{len(files)} files"


def _no_source(weights: Weights, left: Sequence[File], failures: Sequence[str], folder: Path) -> str:
    return "\n".join(
        [
            f"{weights.name}: no source gave {_names(left)}.",
            *(f"  - {failure}" for failure in failures),
            f"Check the network and run `voice-agent models pull {weights.name}`: what has arrived is kept. "
            "A mirror can be set with HF_ENDPOINT or with pip's own settings (PIP_INDEX_URL). "
            f"Or copy the files into {folder}: they are checked before use.",
        ]
    )
