"""Whether a text that Whisper wrote was heard, or made up for a noise."""

import math
import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from voice_agent.audio import FRAME, Pcm16

INAUDIBLE: Final = 15.0
"""Root mean square of the loudest 20 ms (-67 dBFS) below which nothing is transcribed: the dither and hum of
an open line. The quietest utterance that was measured is 27 dB above it as a whole."""
REPEATS: Final = 2.4
"""Compression ratio above which a text repeats itself (Radford et al. 2022, section 4.5)."""
LOGPROB_WEIGHT: Final = 0.35
MAX_DOUBT: Final = 0.93
"""Most that `no_speech_prob - LOGPROB_WEIGHT * avg_logprob` may be, for there to be words.

Measured with tiny.en on 114 utterances and on 188 clips of noise and of the silence around speech: one
utterance is dropped (a digit of 0.4 s, misheard) and 3 clips get through (one does hold a word). Whisper's
own rule, `no_speech_prob` above 0.6 and `avg_logprob` below -1, lets 21 through."""
MAX_DOUBT_STOCK: Final = 0.65
"""The same for `STOCK`. Said on the telephone "Thank you." has 0.12; made up for a sneeze, 0.87."""
STOCK: Final = frozenset(
    {"you", "thank you", "thanks for watching", "thank you for watching", "bye", "blank audio", "the end"}
)
"""Sentences that Whisper likes to write where nobody speaks, without punctuation."""


@dataclass(frozen=True)
class Piece:
    """A text that Whisper wrote, and the evidence for it, as in `Transcript`."""

    text: str
    tokens: int
    cut_short: bool
    """Whether it was as long as it might be when it ended."""
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float

    @property
    def repeats(self) -> bool:
        """Whether it says the same over and over."""
        return self.compression_ratio > REPEATS

    @property
    def loops(self) -> bool:
        """Whether Whisper seems to have been unable to come to an end."""
        return self.repeats or self.cut_short

    @property
    def has_words(self) -> bool:
        """Whether this is speech that was heard, rather than a text made up for noise."""
        words = " ".join(re.findall(r"\w+", self.text.lower()))
        if not words or self.repeats:
            return False
        doubt = self.no_speech_prob - LOGPROB_WEIGHT * self.avg_logprob
        return doubt < (MAX_DOUBT_STOCK if words in STOCK else MAX_DOUBT)


def audible(pcm: Pcm16) -> bool:
    """Whether there is anything to transcribe."""
    whole = np.pad(pcm, (0, -len(pcm) % FRAME)).reshape(-1, FRAME).astype(np.float32)
    return math.sqrt(float((whole**2).mean(axis=1).max(initial=0))) >= INAUDIBLE
