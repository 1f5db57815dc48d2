"""What the tests of the synthesizers measure on speech."""

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from tests.fixtures import corpus_word_error_rate
from voice_agent.audio import RATE, SILENCE, Pcm16, resample, samples_to_ms
from voice_agent.stages.synthesizer import Synthesizer
from voice_agent.stages.transcriber import Transcriber

HEARD = 328
"""Level of a sample that can be heard: 1 % of full scale."""


async def pieces(engine: Synthesizer, text: str, *, voice: str | None = None) -> list[Pcm16]:
    return [piece async for piece in engine.stream(text, voice=voice)]


async def speech(engine: Synthesizer, text: str, *, voice: str | None = None) -> Pcm16:
    return np.concatenate([SILENCE, *await pieces(engine, text, voice=voice)])


def lead_ms(pcm: Pcm16, rate: int) -> float:
    """Silence before the first sound."""
    return samples_to_ms(int(np.flatnonzero(np.abs(pcm.astype(int)) > HEARD)[0]), rate)


def tail_ms(pcm: Pcm16, rate: int) -> float:
    """Silence after the last sound."""
    return lead_ms(pcm[::-1], rate)


def level_dbfs(pcm: Pcm16, rate: int) -> float:
    """Root mean square of the 20 ms frames that hold sound, in dB of full scale."""
    size = rate // 50
    frames = pcm[: len(pcm) // size * size].reshape(-1, size).astype(float) / 32768
    power = np.square(frames).mean(axis=1)
    return float(10 * np.log10(power[power > power.max() / 100].mean()))


def clicks(pieces: list[Pcm16]) -> list[int]:
    """Joins of pieces where the wave jumps as it does nowhere within 5 ms around; indices of the samples."""
    pcm = np.concatenate(pieces).astype(int)
    steps = np.abs(np.diff(pcm))
    found = []
    for join in np.cumsum([len(piece) for piece in pieces])[:-1]:
        around = np.r_[steps[max(0, join - 110) : join - 1], steps[join : join + 110]]
        if steps[join - 1] > 2 * around.max() + HEARD:
            found.append(int(join))
    return found


async def error_rate(whisper: Transcriber, engine: Synthesizer, texts: Sequence[str]) -> float:
    """Word error rate of what Whisper understands of what the engine says."""
    heard = [
        (await whisper.transcribe(resample(await speech(engine, text), engine.rate, RATE))).text
        for text in texts
    ]
    return corpus_word_error_rate(list(zip(texts, heard, strict=True)))


async def check_leaving_frees_the_worker(
    engine: Any, monkeypatch: pytest.MonkeyPatch, long: str, short: str
) -> None:
    """Of a text that is left after its first piece only the next is made, and another text is spoken at once.

    `engine` has one thread. The order in which it makes the pieces shows it.
    """
    made: list[str] = []
    speak = engine._speak

    def watched(text: str, *rest: Any) -> Iterator[Pcm16]:
        for piece in speak(text, *rest):
            made.append(text)
            yield piece

    monkeypatch.setattr(engine, "_speak", watched)
    async with aclosing(engine.stream(long)) as stream:
        await anext(stream)
    assert len(await speech(engine, short))
    assert 1 <= made.count(long) <= 2
    assert made[-1] == short
    assert len(await pieces(engine, long)) > 2, "too short a text to show anything"
