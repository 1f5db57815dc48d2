"""How fast the engines work at present, as all sessions see it: queues and other work included."""

from dataclasses import dataclass
from typing import Final

WEIGHT: Final = 0.2
"""Of the latest measurement in the average."""


@dataclass(slots=True)
class Speeds:
    """Averages over the latest replies. They begin with what two idle cores do."""

    voice: float = 6.0
    """Seconds of speech that the voice makes in a second, once it has begun with a chunk."""
    voice_begins_s: float = 0.1
    """From giving the voice a chunk to its first audio."""
    model: float = 80.0
    """Characters that the language model writes in a second."""

    def voice_made(self, speech_s: float, took_s: float) -> None:
        """Note that so much speech, the first piece of a chunk left out, took so long."""
        self.voice += WEIGHT * (min(speech_s / max(took_s, 0.001), 50.0) - self.voice)

    def voice_began(self, took_s: float) -> None:
        """Note how long a chunk's first audio took."""
        self.voice_begins_s += WEIGHT * (took_s - self.voice_begins_s)

    def model_wrote(self, characters: int, took_s: float) -> None:
        """Note that so much text, what came first left out, took so long."""
        self.model += WEIGHT * (min(characters / max(took_s, 0.001), 2000.0) - self.model)
