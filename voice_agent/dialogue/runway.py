"""Whether a reply that begins to be heard now can go on without a gap."""

from typing import Final

from voice_agent.dialogue.spoken_text import MS_PER_CHARACTER
from voice_agent.speeds import Speeds

SENTENCE: Final = 45
"""Characters of a sentence that is still being written, about."""
LEAST_LEFT: Final = 15
"""Characters of it that are still to come, however much there is."""
HALF_KNOWN: Final = 20
"""Characters of a reply after which the pace of its own writing counts as much as that of those before."""
LAY_READY_S: Final = 0.001
"""What came sooner was made before it was asked for: nothing is known of how long that took."""
WORTH_IT_S: Final = 0.2
"""A shorter gap is taken for a breath: chunks end where one might be drawn."""


class Runway:
    """Of one reply: how much of it there is, and how fast more comes. Times are on the loop's clock, in seconds."""

    def __init__(self, speeds: Speeds) -> None:
        self._speeds = speeds
        self._characters = 0
        """Written so far."""
        self._first_at = self._latest_at = 0.0
        self._first = 0
        """Characters that came first, at once."""
        self._cut = self._begun = 0
        """Characters in the chunks so far; in those that the voice has begun with."""
        self._written = False
        self._chunk_s = 0.0
        """Estimated length of the chunk that the voice is at."""
        self._made_s = self._chunk_made_s = 0.0
        """Audio made so far; of the chunk that the voice is at."""
        self._asked_at = 0.0
        """When the voice was asked for what it makes."""

    def wrote(self, characters: int, now: float) -> None:
        """The model wrote more."""
        if not self._characters:
            self._first_at, self._first = now, characters
        self._characters += characters
        self._latest_at = now

    def cut(self, characters: int) -> None:
        """Of it, so much is a chunk."""
        self._cut += characters

    def written(self) -> None:
        """The model has written all."""
        self._written = True
        if self._characters > self._first + HALF_KNOWN:
            self._speeds.model_wrote(self._characters - self._first, self._latest_at - self._first_at)

    def speaks(self, characters: int, said: int, now: float) -> None:
        """The voice begins with a chunk of so many characters, and says so many."""
        self._begun += characters
        self._chunk_s, self._chunk_made_s = said * MS_PER_CHARACTER / 1000, 0.0
        self._asked_at = now

    def made(self, speech_s: float, now: float) -> None:
        """The voice has made more of it."""
        took_s = now - self._asked_at
        if not self._chunk_made_s:
            self._speeds.voice_began(took_s)
        elif took_s > LAY_READY_S:
            self._speeds.voice_made(speech_s, took_s)
        self._made_s += speech_s
        self._chunk_made_s += speech_s

    def asks(self, now: float) -> None:
        """The voice is asked for the next piece."""
        self._asked_at = now

    def spoken(self) -> None:
        """All of the chunk is made."""
        self._chunk_s = self._chunk_made_s

    def short_s(self, now: float) -> float:
        """By how much the audio there is and will be falls short of the wait for what follows on it; 0 for not at all.

        What follows on the chunk that the voice is at is another chunk, which may not be written yet.
        """
        speeds = self._speeds
        rest_s = max(0.0, self._chunk_s - self._chunk_made_s)
        rest_takes_s = rest_s / speeds.voice
        short_s = rest_takes_s - rest_s - self._made_s  # it may be slower than it is played
        if self._cut > self._begun:
            short_s = max(short_s, rest_takes_s + speeds.voice_begins_s - rest_s - self._made_s)
        elif not self._written:
            left = max(LEAST_LEFT, SENTENCE - (self._characters - self._cut))
            next_s = max(rest_takes_s, left / self._pace(now)) + speeds.voice_begins_s
            short_s = max(short_s, next_s - rest_s - self._made_s)
        return short_s if short_s > WORTH_IT_S else 0.0

    def _pace(self, now: float) -> float:
        """Characters a second that the model writes."""
        more, took_s = self._characters - self._first, now - self._first_at
        return (more + HALF_KNOWN) / (took_s + HALF_KNOWN / max(1.0, self._speeds.model))
