"""What a fake microphone hears: recorded speech with silence around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.fixtures import Recording
from voice_agent.audio import RATE, Pcm16, read_audio, write_wav

RATE_OF_DEVICE = 48_000
"""Chromium's fake device resamples anything else by dropping samples."""


@dataclass(frozen=True)
class Utterance:
    """A recording in the microphone's audio; seconds from its start."""

    recording: Recording
    start: float
    speech_start: float
    speech_end: float


@dataclass(frozen=True)
class Track:
    """The audio of a fake microphone: a WAV file, and who speaks when."""

    path: Path
    utterances: tuple[Utterance, ...] = ()
    loops: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """For a Chromium that hears this from the moment that a page opens the microphone; then digital silence."""
        return (
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",  # says yes to every question
            f"--use-file-for-fake-audio-capture={self.path}{'' if self.loops else '%noloop'}",
        )


def track(path: Path, *parts: Recording | float, tail: float = 1.0, loops: bool = False) -> Track:
    """Recordings, and pauses in seconds, one after the other.

    The recordings keep their own silence, so the pause between two voices is a little longer than asked for.
    """
    pieces: list[Pcm16] = []
    utterances: list[Utterance] = []
    for part in (*parts, tail):
        if isinstance(part, Recording):
            assert part.speech_start is not None and part.speech_end is not None
            start = sum(map(len, pieces)) / RATE
            utterances.append(Utterance(part, start, start + part.speech_start, start + part.speech_end))
            pieces.append(read_audio(part.path))
        else:
            pieces.append(_hush(part))
    return write_track(path, pieces, utterances, loops)


def write_track(
    path: Path, pieces: Sequence[Pcm16], utterances: Sequence[Utterance] = (), loops: bool = False
) -> Track:
    """A track of any samples, at `RATE`."""
    pcm = np.concatenate(pieces)
    positions = np.arange(len(pcm) * RATE_OF_DEVICE // RATE) * (RATE / RATE_OF_DEVICE)
    write_wav(path, np.interp(positions, np.arange(len(pcm)), pcm).astype(np.int16), RATE_OF_DEVICE)
    return Track(path, tuple(utterances), loops)


def _hush(seconds: float) -> Pcm16:
    """A quiet room: noise at -80 dBFS. With none at all a page would say that the microphone is dead."""
    return np.random.default_rng(1).normal(0, 3, round(seconds * RATE)).astype(np.int16)
