"""Transcripts, and the `Transcriber` protocol."""

from dataclasses import dataclass
from typing import Protocol

from voice_agent.audio import Pcm16
from voice_agent.urgency import Need


@dataclass(frozen=True)
class Transcript:
    """The words of an utterance, and how sure Whisper is of them."""

    text: str
    """Empty when the evidence says that there were no words."""
    language: str
    """Two-letter code; empty where it was to be detected and there was nothing to hear."""
    avg_logprob: float
    """Mean log-probability of the tokens; 0 is certain, below -1 is guessing."""
    no_speech_prob: float
    """Probability (0 to 1) that nobody speaks."""
    compression_ratio: float
    """Length of the text over its length compressed by zlib; above 2.4 it repeats itself."""
    discarded: str = ""
    """Text by Whisper that was taken for an invention, not for words."""


class Transcriber(Protocol):
    """Writes down an utterance."""

    languages: tuple[str, ...]
    """Two-letter codes that `transcribe` takes. Known after `start`."""

    async def start(self) -> None:
        """Load the weights and transcribe a second of audio, so that the first user does not pay for it.

        Raises:
            WeightsError: the weights can't be had.
            SettingsError: the settings name a folder that holds no model.
            StageError: the engine could not be loaded, or does not know the language of the settings.
        """

    async def transcribe(
        self,
        pcm: Pcm16,
        *,
        language: str | None = None,
        prompt: str | None = None,
        partial: bool = False,
        need: Need | None = None,
    ) -> Transcript:
        """The words in `pcm`, at RATE. The same samples give the same words.

        Cancelling it takes a request that has not begun off the queue; one that has begun ends unheard.

        Args:
            pcm: the utterance, with some tenths of a second of what was before and after.
            language: two-letter code; by default the settings'.
            prompt: primes the engine with names and jargon to spell right; by default the settings'.
            partial: a look at an utterance that goes on. It costs less, and is less exact.
            need: how urgent it is; by default it is due.

        Raises:
            StageError: the engine failed, took too long, or does not know the language.
        """

    async def close(self) -> None:
        """Free the engine. Nothing is running afterwards."""
