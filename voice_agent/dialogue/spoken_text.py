"""The words of a response by their place in its audio, so that it is known, also afterwards, which were heard."""

import re
from dataclasses import dataclass
from typing import Final

MS_PER_CHARACTER: Final = 65.0
"""Duration of a character of English text in speech, about 15 a second: for audio that is still being
made when the user interrupts it."""

END: Final = float("inf")
"""Of the audio of a response that was played to its end, milliseconds."""


@dataclass(slots=True)
class SpokenChunk:
    """A chunk of the text, and the audio made of it so far."""

    text: str
    """As a screen shows it."""
    start_ms: float
    """Start of its audio in the response's."""
    remembered: bool
    """Whether the model is told of it; not of what only bridges a wait, or apologizes."""
    audio_ms: float = 0.0
    """Audio made of it so far. None at all of what is shown and not said: an emoji, a rule, white space."""
    whole: bool = False
    """All of its audio is made."""

    @property
    def end_ms(self) -> float:
        """End, in the response's audio, of what was made of it so far."""
        return self.start_ms + self.audio_ms

    def heard(self, position_ms: float) -> str:
        """The words of which at least half lies before a position in the response's audio. The characters are taken as
        evenly spoken."""
        played_ms = position_ms - self.start_ms
        total_ms = self.audio_ms if self.whole else max(self.audio_ms, len(self.text) * MS_PER_CHARACTER)
        if played_ms >= max(total_ms - 1.0, 0.0):
            return self.text
        if played_ms <= 0.0:
            return ""
        reached = len(self.text) * played_ms / total_ms
        end = 0
        for word in re.finditer(r"\S+", self.text):
            if (word.start() + word.end()) / 2 > reached:
                break
            end = word.end()
        return self.text[:end]


class SpokenText:
    """The text of one response, chunk by chunk, with its place in the audio."""

    def __init__(self) -> None:
        self.chunks: list[SpokenChunk] = []

    @classmethod
    def heard_before(cls, text: str) -> "SpokenText":
        """Of an earlier session: words whose audio is gone."""
        spoken = cls()
        spoken.begin(text).whole = True
        return spoken

    def begin(self, text: str, *, remembered: bool = True) -> SpokenChunk:
        """A chunk whose audio follows on all that was made so far."""
        chunk = SpokenChunk(text, self.chunks[-1].end_ms if self.chunks else 0.0, remembered)
        self.chunks.append(chunk)
        return chunk

    def forget(self) -> None:
        """The model is not to be told of any of it."""
        for chunk in self.chunks:
            chunk.remembered = False

    @property
    def text(self) -> str:
        """All that was given to the voice so far, heard or not."""
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def audible(self) -> bool:
        """Whether there is audio of it."""
        return any(chunk.audio_ms for chunk in self.chunks)

    @property
    def begun(self) -> bool:
        """Whether there is anything of it that is remembered: more than what bridges a wait."""
        return any(chunk.remembered for chunk in self.chunks)

    def heard(self, position_ms: float) -> str:
        """The words that the model is told were heard, up to a position in the audio."""
        return "".join(chunk.heard(position_ms) for chunk in self.chunks if chunk.remembered).strip()

    def aloud(self, position_ms: float) -> str:
        """All words that the user heard up to a position, remembered or not."""
        return "".join(chunk.heard(position_ms) for chunk in self.chunks).strip()
