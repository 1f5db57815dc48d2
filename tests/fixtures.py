"""Recorded speech for the tests, and how far a transcript is from what was said.

Fifteen clips come from the source archive of pocketsphinx (BSD), which pip fetches once into the user's
cache.
Where the checkout has `../shared/fixtures` beside it, the recordings of its manifest are there as well.
"""

import csv
import functools
import subprocess
import sys
import tarfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import jiwer
import numpy as np
import platformdirs
from filelock import FileLock
from whisper_normalizer.english import EnglishTextNormalizer

from voice_agent.audio import RATE, write_wav

SHARED = Path(__file__).parents[1].parent / "shared" / "fixtures"
CACHE = Path(platformdirs.user_cache_dir("voice-agent")) / "fixtures"
PACKAGED = "packaged"
"""Kind of the clips that are always there."""


@dataclass(frozen=True)
class Recording:
    """A file with speech, or with none."""

    path: Path
    transcript: str
    """Empty where nobody speaks, or nobody wrote it down."""
    speech_start: float | None
    """Seconds; `None` where nobody speaks."""
    speech_end: float | None
    kind: str
    """As in the manifest (`command`, `query`, `noise`, ...), or `packaged`."""


def recordings(kinds: Collection[str] | None = None) -> list[Recording]:
    """The recordings of these kinds, or all that have a transcript; the packaged ones first."""
    every = [*packaged(), *shared()]
    if kinds is None:
        return [recording for recording in every if recording.transcript]
    return [recording for recording in every if recording.kind in kinds]


@functools.cache
def shared() -> tuple[Recording, ...]:
    """What the manifest beside the checkout lists; nothing where there is none."""
    manifest = SHARED / "manifest.tsv"
    if not manifest.is_file():
        return ()
    with manifest.open(encoding="utf-8", newline="") as file:
        return tuple(
            Recording(
                SHARED / row["path"],
                row["transcript"],
                float(row["speech_start"]) if row["speech_start"] else None,
                float(row["speech_end"]) if row["speech_end"] else None,
                row["kind"],
            )
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        )


ARCHIVE = "pocketsphinx==5.1.1"
ARCHIVE_SHA256 = "675778b309a22dfc9b7d37f7621976bba491d2a5f8c59696bd77fd6d07271355"
CLIPS = {
    # In test/data/ of the archive; 16 kHz. Transcripts are the archive's own (transcription files, tests and
    # documentation), except for something.raw, on which Whisper tiny.en and base agree.
    # Start and end of the speech, seconds, were read off the level of the signal.
    "cards/001.wav": ("ten of clubs", 0.18, 0.94),
    "cards/002.wav": ("four queen of clubs", 0.14, 1.68),
    "cards/003.wav": ("seven of clubs", 0.11, 1.27),
    "cards/004.wav": ("five five", 0.26, 1.20),
    "cards/005.wav": ("eight of spades four of clubs seven of hearts", 0.21, 3.23),
    "forever/input_2_16k.wav": ("feels like these days go on forever", 0.18, 3.12),
    "forever/input_4_16k.wav": ("feels like these days go on forever", 0.74, 4.90),
    "goforward.raw": ("go forward ten meters", 0.50, 2.26),
    "something.raw": ("go somewhere and do something", 0.47, 2.28),
    "tidigits/dhd.2934z.raw": ("two nine three four zero", 0.26, 1.61),
    "librivox/sense_and_sensibility_01_austen_64kb-0870.wav": (
        "and mister john dashwood had then leisure to consider how much there might be prudently in his "
        "power to do for them",
        0.25,
        6.61,
    ),
    "librivox/sense_and_sensibility_01_austen_64kb-0880.wav": (
        "he was not an ill disposed young man",
        0.27,
        2.77,
    ),
    "librivox/sense_and_sensibility_01_austen_64kb-0890.wav": (
        "unless to be rather cold hearted and rather selfish is to be ill disposed",
        0.29,
        4.98,
    ),
    "librivox/sense_and_sensibility_01_austen_64kb-0920.wav": (
        "had he married a more a amiable woman he might have been made still more respectable than he was",
        0.33,
        5.77,
    ),
    "librivox/sense_and_sensibility_01_austen_64kb-0930.wav": (
        "he might even have been made amiable himself",
        0.29,
        2.86,
    ),
}


@functools.cache
def packaged() -> tuple[Recording, ...]:
    """The clips of the pocketsphinx archive, fetched on first use. Safe in several processes at once.

    Raises:
        RuntimeError: pip could not fetch the archive.
    """
    folder = CACHE / ARCHIVE.replace("==", "-")
    wanted = {name: folder / f"{name.replace('/', '-').rsplit('.', 1)[0]}.wav" for name in CLIPS}
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f"{folder.name}.lock"):
        if not all(path.is_file() for path in wanted.values()):
            _fetch(wanted)
    return tuple(
        Recording(wanted[name], transcript, start, end, PACKAGED)
        for name, (transcript, start, end) in CLIPS.items()
    )


def _fetch(wanted: dict[str, Path]) -> None:
    with TemporaryDirectory(dir=CACHE) as scratch:
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(f"{ARCHIVE} --hash=sha256:{ARCHIVE_SHA256}\n", encoding="ascii")
        # For the metadata of a source archive pip calls its build; the hash says that it is the one we read.
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "pocketsphinx"]
        command += ["--require-hashes", "--requirement", str(requirements), "--dest", scratch, "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"recorded speech for the tests: pip could not fetch {ARCHIVE}: {done.stderr}")
        [archive] = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            for name, path in wanted.items():
                member = tar.extractfile(f"{archive.name.removesuffix('.tar.gz')}/test/data/{name}")
                assert member is not None
                data = member.read()
                partial = Path(scratch, path.name)
                if name.endswith(".raw"):
                    write_wav(partial, np.frombuffer(data, "<i2"), RATE)
                else:
                    partial.write_bytes(data)
                path.parent.mkdir(exist_ok=True)
                partial.replace(path)


normalize = EnglishTextNormalizer()
"""Whisper's normalizer: case, punctuation, numbers, contractions and fillers do not count as errors."""


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Errors for each word of `reference`, both normalized; 0 is perfect, and it may exceed 1."""
    return corpus_word_error_rate([(reference, hypothesis)])


def corpus_word_error_rate(pairs: Sequence[tuple[str, str]]) -> float:
    """Errors in all `(reference, hypothesis)` pairs for each word of all references."""
    references = [normalize(reference) for reference, _ in pairs]
    return float(jiwer.wer(references, [normalize(hypothesis) for _, hypothesis in pairs]))
