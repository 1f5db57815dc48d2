"""Text to speech: the `Synthesizer` protocol; one engine a file beside it."""

from collections.abc import AsyncGenerator
from typing import Protocol

from voice_agent.audio import Pcm16
from voice_agent.urgency import Need


class Synthesizer(Protocol):
    """Speaks one chunk of text at a time."""

    rate: int
    """Sample rate of the audio it gives, hertz. Known before `start`."""
    voices: tuple[str, ...]
    """Names that `stream` takes as `voice`; the first is the default. Known after `start`."""

    async def start(self) -> None:
        """Load the weights and speak a word, so that the first user does not pay for it.

        Raises:
            WeightsError: the weights can't be had.
            StageError: the engine could not be loaded.
        """

    def stream(
        self, text: str, *, voice: str | None = None, language: str | None = None, need: Need | None = None
    ) -> AsyncGenerator[Pcm16, None]:
        """Speak `text` (already in spoken form: words, no markup), giving PCM as it is made.

        `need` tells how urgent each piece is when its turn may come; by default it is due.

        Leaving the iteration (break, cancel, `aclose`) stops the synthesis at the engine's next piece.

        Raises:
            StageError: the engine failed.
        """

    async def close(self) -> None:
        """Free the engine. Nothing is running afterwards."""

    def speaks(self, voice: str | None, language: str | None) -> str | None:
        """Code of the language that `stream` would speak with these, such as "en-us"; None where that is not known."""
