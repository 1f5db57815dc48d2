"""Where weights come from: each source fills partial files, and runs nothing of what it fetched.

A partial file is a prefix of the final one, whichever source wrote it; so a cut fetch goes on where it
stopped, from any source. What is in it is believed only once its hash has been checked (see `fetch.py`).
"""

import errno
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

import httpx2

from voice_agent.loopback import is_loopback
from voice_agent.models.catalog import Archives, File, HuggingFace, Piece, Weights

log = logging.getLogger(__name__)

CONNECT_S: Final = 3.0
"""A hub that has not answered by then is behind a firewall, more often than far away."""
READ_S: Final = 20.0
"""Longest silence in a download."""
WATCH_S: Final = 60.0
LEAST_BYTES: Final = 60_000
"""A download that brings less than this in WATCH_S would take all night; another source is tried."""
LOOK_EVERY_S: Final = 0.5
CUTS: Final = 20
"""A download that was cut is taken up again so often."""
STALLED_S: Final = 240.0
"""A package client that says and writes nothing for so long is given up; pip and npm have time-outs of their own, which
are shorter unless configured."""
BLOCK: Final = 1 << 20
ARCHIVE_PREFIX: Final = "archive-"
"""Of the folders that archives are read from; the next fetch sweeps those that a killed process left."""


class SourceError(Exception):
    """A source did not give what it was asked for; the next one is tried."""


class Partial:
    """The partial files of one set of weights, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, file: str) -> Path:
        """Where the bytes of `file` gather."""
        return self.folder / f"{file}.part"

    def size(self, file: str) -> int:
        """Bytes of `file` that are here."""
        try:
            return self.path(file).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, file: str, start: int) -> IO[bytes]:
        """`file` open for writing from byte `start`; what it had beyond is dropped."""
        path = self.path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
        stream.truncate(start)
        return stream

    def drop(self, file: str) -> None:
        """Forget what is here of `file`."""
        self.path(file).unlink(missing_ok=True)


Report = Callable[[int], None]
"""Told whenever bytes arrive; its argument: bytes on their way that no partial file shows yet."""


def fill(
    source: HuggingFace | Archives, weights: Weights, wanted: Sequence[File], here: Partial, report: Report
) -> None:
    """Bring the partial files of `wanted` to their full size from `source`.

    Raises:
        SourceError: some are not; others may be.
    """
    if isinstance(source, HuggingFace):
        _from_hugging_face(source, wanted, here, report)
    else:
        _from_archives(source, weights, wanted, here, report)


_failures: dict[str, str | None] = {}
"""By endpoint: why it can't be used, or None. One that failed is not tried again by this process."""


def _from_hugging_face(source: HuggingFace, wanted: Sequence[File], here: Partial, report: Report) -> None:
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in {"1", "ON", "YES", "TRUE"}:
        raise SourceError("HF_HUB_OFFLINE is set")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if endpoint not in _failures:
        _failures[endpoint] = _probe(endpoint)
    if failure := _failures[endpoint]:
        raise SourceError(f"{endpoint} can't be reached: {failure}")
    folder = "/".join(filter(None, [endpoint, source.repo, "resolve", source.revision, source.folder]))
    failures = []
    # A compressed body would count in other bytes than those of the file.
    with httpx2.Client(
        follow_redirects=True,
        timeout=httpx2.Timeout(READ_S, connect=CONNECT_S),
        headers={"accept-encoding": "identity"},
        trust_env=not is_loopback(endpoint),  # no proxy leads to a mirror on this machine
    ) as client:
        for file in wanted:
            try:
                _download(client, f"{folder}/{file.path}", file, here, report)
            except SourceError as error:
                failures.append(f"{file.path}: {error}")
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                _failures[endpoint] = _words(error)
                raise SourceError(f"{file.path}: {_words(error)}") from error
    if failures:
        raise SourceError("; ".join(failures))


def _probe(endpoint: str) -> str | None:
    """Find out, in bounded time, why `endpoint` does not answer; None if it does.

    On a thread, because no time-out of the client bounds the look-up of the host's name, and without a
    network that alone can take half a minute.
    """
    outcome: list[str | None] = [f"no answer within {CONNECT_S:.0f} s"]

    def ask() -> None:
        try:
            httpx2.head(endpoint, timeout=CONNECT_S, trust_env=not is_loopback(endpoint))
            outcome[0] = None
        except Exception as error:  # whatever it is (a bad proxy, a bad URL), it is the reason
            outcome[0] = _words(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CONNECT_S)
    return outcome[0]


def _download(client: httpx2.Client, url: str, file: File, here: Partial, report: Report) -> None:
    """Get what is missing of `file`, taking it up again when cut, as long as each attempt brings some."""
    if here.size(file.path) > file.size:
        here.drop(file.path)
    for _ in range(CUTS):
        have = here.size(file.path)
        if have == file.size:
            return
        try:
            with client.stream("GET", url, headers={"range": f"bytes={have}-"} if have else {}) as response:
                if response.status_code not in {200, 206}:
                    raise SourceError(f"HTTP {response.status_code}")
                start = have if response.status_code == 206 else 0
                end = start + int(response.headers.get("content-length", file.size - start))
                if end == file.size:
                    end = _write(response.iter_raw(), file, start, here, report)
                if end != file.size:
                    raise SourceError(f"ends at byte {end} there, not at {file.size}: another version")
        except httpx2.TransportError as error:
            if here.size(file.path) <= have:
                raise
            log.warning("%s: cut (%s); going on from byte %d", url, _words(error), here.size(file.path))
    if here.size(file.path) != file.size:
        raise SourceError(f"was cut {CUTS} times")


def _write(blocks: Iterator[bytes], file: File, start: int, here: Partial, report: Report) -> int:
    """Append until the end, or until there is more than `file` has; gives the byte reached."""
    with here.append(file.path, start) as stream:
        watched_since, had = time.monotonic(), stream.tell()
        for block in blocks:
            stream.write(block)
            report(0)
            if stream.tell() > file.size:
                break
            if (took := time.monotonic() - watched_since) > WATCH_S:
                if stream.tell() - had < LEAST_BYTES:
                    raise SourceError(f"too slow: {stream.tell() - had} bytes in {took:.0f} s")
                watched_since, had = time.monotonic(), stream.tell()
        return stream.tell()


def _from_archives(
    source: Archives, weights: Weights, wanted: Sequence[File], here: Partial, report: Report
) -> None:
    paths = {file.path for file in wanted}
    for archive, pieces in groupby(source.pieces(weights), key=lambda piece: piece.archive):
        needed = [p for p in pieces if p.file in paths and here.size(p.file) < p.start + p.size]
        if not needed:
            continue
        awaited = sum(piece.size for piece in needed)
        here.folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=here.folder, prefix=ARCHIVE_PREFIX) as folder:
            path = _CLIENTS[source.kind](archive, Path(folder), _scaled(report, awaited))
            try:
                with _opened(path) as member:
                    for piece in needed:
                        _copy(member(piece.member, piece.size), piece, here)
                        awaited -= piece.size
                        report(awaited)
            except _BROKEN as error:
                raise SourceError(f"{archive}: the archive is broken: {error}") from error


def _copy(content: IO[bytes], piece: Piece, here: Partial) -> None:
    """Append a piece as a whole, or not at all: the next run starts at what this one finished."""
    try:
        with content, here.append(piece.file, piece.start) as stream:
            shutil.copyfileobj(content, stream, BLOCK)
    except BaseException:
        here.append(piece.file, piece.start).close()
        raise


def _scaled(report: Report, size: int) -> Callable[[float], None]:
    """From the share of an archive that is here to bytes of the files in it."""
    return lambda share: report(int(share * size))


def _pip_download(archive: str, folder: Path, report: Callable[[float], None]) -> Path:
    """Fetch a wheel with pip, so that the user's index, proxy, certificates and cache are used.

    Only wheels: asking pip for a source archive would run its build.
    """
    try:
        major = int(version("pip").partition(".")[0])
    except PackageNotFoundError:
        raise SourceError(f"{sys.executable} has no pip: run `{sys.executable} -m ensurepip`") from None
    # -P: a file of the working directory must not pass for a module of pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    # Nothing is installed, so it does not matter which Python the wheel was meant for.
    command += ["--ignore-requires-python", "--no-input", "--disable-pip-version-check"]
    # Progress that a program can read came with pip 24.1.
    command += ["--progress-bar", "raw" if major >= 25 else "off", "--dest", str(folder), archive]

    def read(line: str) -> None:
        if progress := re.fullmatch(r"Progress (\d+) of (\d+)", line):
            done, total = map(int, progress.groups())
            report(done / total if total else 0.0)

    return _run(archive, command, folder, read)


def _npm_pack(archive: str, folder: Path, _: Callable[[float], None]) -> Path:
    """Fetch a package with npm, under the user's own npm settings."""
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError(f"{archive}: npm is not on the PATH: install Node.js, which brings it")
    command = [npm, "pack", "--ignore-scripts", "--loglevel=error", f"--pack-destination={folder}", archive]
    return _run(archive, command, folder, lambda line: None)


_CLIENTS: Final = {"pip": _pip_download, "npm": _npm_pack}


def _run(archive: str, command: list[str], folder: Path, read: Callable[[str], None]) -> Path:
    """Run a package client and give the one archive that it left in `folder`.

    Raises:
        SourceError: it failed, or nothing came of it for STALLED_S; the message holds what it said.
        OSError: the disk is full.
    """
    scratch = folder / "tmp"
    scratch.mkdir()
    said: deque[str] = deque(maxlen=20)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | {"TMPDIR": str(scratch)},  # beside the weights: /tmp may be small, and is not swept
    ) as process:
        assert process.stdout is not None
        stalled = threading.Event()
        watch = threading.Thread(target=_watch, args=[process, folder, said, stalled], daemon=True)
        watch.start()
        try:
            for line in process.stdout:
                said.append(line.strip())
                read(line.strip())
        except BaseException:
            process.kill()
            raise
    watch.join()
    if stalled.is_set():
        raise SourceError(f"{archive}: {command[0]}: nothing came for {STALLED_S:.0f} s")
    if process.returncode:
        if any("no space left" in line.lower() for line in said):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        errors = [line for line in said if "error" in line.lower()] or list(said)
        raise SourceError(
            f"{archive}: {command[0]}: {' '.join(errors[-2:]) or f'exit code {process.returncode}'}"
        )
    archives = [path for path in folder.iterdir() if path.is_file()]
    if len(archives) != 1:
        raise SourceError(f"{archive}: expected one archive, got {[path.name for path in archives]}")
    return archives[0]


def _watch(
    process: "subprocess.Popen[str]", folder: Path, said: deque[str], stalled: threading.Event
) -> None:
    """End a process that neither says nor writes anything any more."""
    last, since = None, time.monotonic()
    while process.poll() is None:
        now = (list(said), _size(folder))
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > STALLED_S:
            stalled.set()
            process.kill()
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_EVERY_S)


def _size(folder: Path) -> int:
    """Bytes of all files below; those that vanish meanwhile do not count."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


_BROKEN: Final = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError)


@contextmanager
def _opened(path: Path) -> Iterator[Callable[[str, int], IO[bytes]]]:
    """Open members of a wheel or a tar archive, by their exact name and size.

    Members are read as streams; nothing is unpacked under a name that the archive chose.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            yield partial(_zip_member, wheel)
    else:
        with tarfile.open(path) as tar:
            yield partial(_tar_member, tar)


def _zip_member(wheel: zipfile.ZipFile, name: str, size: int) -> IO[bytes]:
    try:
        found = wheel.getinfo(name)
    except KeyError:
        raise SourceError(f"{wheel.filename} has no {name}") from None
    _expect(name, found.file_size, size)
    return wheel.open(found)


def _tar_member(tar: tarfile.TarFile, name: str, size: int) -> IO[bytes]:
    try:
        content = tar.extractfile(tar.getmember(name))
    except KeyError:
        content = None
    if content is None:
        raise SourceError(f"{tar.name!s} has no file {name}")
    _expect(name, tar.getmember(name).size, size)
    return content


def _expect(name: str, found: int, size: int) -> None:
    """Refuse a member of another size before reading any of it: it may be made to fill the disk."""
    if found != size:
        raise SourceError(f"{name} has {found} bytes in the archive, not the expected {size}")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
