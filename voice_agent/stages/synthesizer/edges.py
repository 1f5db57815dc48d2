"""The edges of speech: an engine's silence in front and behind gives way to a pause of a chosen length."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_agent.audio import ms_to_samples
from voice_agent.errors import StageError

Audio = NDArray[np.float32]
"""Mono audio in [-1, 1], shape (samples,)."""

AUDIBLE: Final = 0.006
"""Level of a sample that counts as sound (-44 dBFS): under a weak fricative's onset, over the engines' hiss.

Piper puts 35-65 ms and Kokoro 310-380 ms below it in front of the first word (docs/latency.md).
"""
ATTACK_MS: Final = 10
"""Kept in front of the first sound, faded in."""
RELEASE_MS: Final = 50
"""Kept behind the last sound at most, faded out: its reverberation."""
SENTENCE_PAUSE_MS: Final = 200
CLAUSE_PAUSE_MS: Final = 100
WORD_PAUSE_MS: Final = 40
"""Pause after a chunk, by how its text ends. Speakers leave some 150-250 ms between sentences."""


def pause_ms(text: str) -> int:
    """The pause that belongs behind `text` (or its phonemes), by its last mark, milliseconds."""
    match text.rstrip(" \n\t\"'”’)]")[-1:]:
        case "." | "!" | "?" | "…" | "。" | "！" | "？":
            return SENTENCE_PAUSE_MS
        case "," | ";" | ":" | "—" | "–" | "，" | "、":
            return CLAUSE_PAUSE_MS
        case _:
            return WORD_PAUSE_MS


class Edges:
    """One sentence that comes in pieces of any size; holds back silence until more sound follows it."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._held: Audio = np.zeros(0, np.float32)
        self._begun = False

    def feed(self, audio: Audio) -> Audio:
        """The part of the audio so far that is ready; may be empty.

        Raises:
            StageError: the engine made something that is no sound. It is better heard of than played.
        """
        if not np.isfinite(audio).all():
            raise StageError("synthesizer", "the voice made samples that are no numbers (NaN or infinite)")
        held = np.concatenate([self._held, audio])
        loud = np.flatnonzero(np.abs(held) > AUDIBLE)
        if not len(loud):
            self._held = held if self._begun else held[-ms_to_samples(ATTACK_MS, self._rate) :]
            return held[:0]
        start, end = 0, loud[-1] + 1
        if not self._begun:
            self._begun = True
            start = max(0, loud[0] - ms_to_samples(ATTACK_MS, self._rate))
            held[start : loud[0]] *= np.linspace(0, 1, loud[0] - start, endpoint=False, dtype=np.float32)
        self._held = held[end:]
        return held[start:end]

    def finish(self, pause_ms: float) -> Audio:
        """The end of the sentence: `pause_ms` of fading sound and silence; empty if nothing was heard."""
        if not self._begun:
            return self._held[:0]
        pause = np.zeros(ms_to_samples(pause_ms, self._rate), np.float32)
        kept = min(len(self._held), len(pause), ms_to_samples(RELEASE_MS, self._rate))
        pause[:kept] = self._held[:kept] * np.linspace(1, 0, kept, dtype=np.float32)
        return pause
