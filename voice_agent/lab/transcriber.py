"""`voice-agent lab transcriber FOLDER`: words and time of Whisper's two windows, on recordings with transcripts."""

import asyncio
import csv
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from voice_agent.audio import RATE, Pcm16, read_audio
from voice_agent.config import ModelsSettings, SttSettings, load_settings
from voice_agent.errors import SettingsError
from voice_agent.lab.words import count_errors
from voice_agent.stages.transcriber import FasterWhisper

WINDOWS = ("whole", "utterance")


@dataclass(frozen=True)
class Clip:
    """An utterance, and what was said in it."""

    pcm: Pcm16
    transcript: str


@dataclass(frozen=True)
class Figures:
    """The transcripts of all clips with one window, and the time that each took."""

    texts: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def transcriber(folder: Path, model: str | None, beam: int | None, longest: float, limit: int | None) -> None:
    """Transcribe each clip of `folder` on Whisper's whole window and on one of its own length, in turns, and compare.

    Raises:
        VoiceAgentError: there are no clips, or the engine or its weights failed.
    """
    settings = load_settings()
    changes = {"model": model, "beam_size": beam}
    stt = settings.stt.model_copy(update={key: value for key, value in changes.items() if value is not None})
    clips = read_manifest(folder, longest)
    clips = clips[:: max(1, len(clips) // limit)][:limit] if limit else clips
    figures = asyncio.run(compare(clips, stt, settings.models))
    table = Table(title=f"{stt.model}, beam {stt.beam_size}, {len(clips)} clips")
    for heading in ("window", "word errors", "time p50", "p90"):
        table.add_column(heading, justify="left" if heading == "window" else "right")
    for window, of_window in figures.items():
        p50, p90 = np.percentile(of_window.seconds, [50, 90]) * 1000
        errors = word_error_rate([clip.transcript for clip in clips], of_window.texts)
        table.add_row(window, f"{errors:.1%}", f"{p50:.0f} ms", f"{p90:.0f} ms")
    Console().print(table)
    print(f"{speedup(figures):.2f} times faster (ratio of the medians)")


def read_manifest(folder: Path, longest_s: float) -> list[Clip]:
    """The clips in `folder` that have a transcript and are at most `longest_s` long.

    Raises:
        SettingsError: there is no manifest, or none of its clips is of that kind.
        AudioError: a clip can't be read.
    """
    manifest = folder / "manifest.tsv"
    if not manifest.is_file():
        raise SettingsError(f"{manifest}: no such file; it should name the clips of the folder")
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = [
            row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row["transcript"]
        ]
    clips = [Clip(read_audio(folder / row["path"]), row["transcript"]) for row in rows]
    clips = [clip for clip in clips if len(clip.pcm) <= longest_s * RATE]
    if not clips:
        raise SettingsError(f"{manifest}: no clip with a transcript is at most {longest_s:g} s long")
    return clips


async def compare(clips: list[Clip], stt: SttSettings, models: ModelsSettings) -> dict[str, Figures]:
    """Transcribe the clips with each window; the figures, by the window's name.

    They take turns at each clip, so that whatever else the machine does slows both.
    """
    figures = {window: Figures() for window in WINDOWS}
    async with _started(stt, models, "whole") as whole, _started(stt, models, "utterance") as sized:
        for clip in clips:
            for window, engine in zip(WINDOWS, (whole, sized), strict=True):
                began = time.perf_counter()
                transcript = await engine.transcribe(clip.pcm)
                figures[window].seconds.append(time.perf_counter() - began)
                figures[window].texts.append(transcript.text)
    return figures


def speedup(figures: dict[str, Figures]) -> float:
    """How many times faster the window of the utterance's length is, by the medians."""
    return median(figures["whole"].seconds) / median(figures["utterance"].seconds)


def word_error_rate(said: list[str], heard: list[str]) -> float:
    """Errors for each word that was said."""
    counted = [count_errors(*pair) for pair in zip(said, heard, strict=True)]
    return sum(errors for errors, _ in counted) / sum(words for _, words in counted)


@asynccontextmanager
async def _started(stt: SttSettings, models: ModelsSettings, window: str) -> AsyncIterator[FasterWhisper]:
    engine = FasterWhisper(stt.model_copy(update={"window": window}), models)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()
