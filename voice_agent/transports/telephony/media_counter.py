"""Which audio of a call is new, by the numbers that its messages carry (Twilio's `media.chunk`)."""

from typing import Final

BEHIND: Final = 100
"""How far behind the last a number is taken for a message that comes late or twice; further, the count has begun
anew. As RFC 3550 has it for RTP (A.1, `MAX_MISORDER`)."""

AHEAD: Final = 3000
"""How far ahead of the last a number is believed at once (`MAX_DROPOUT`, there): a minute."""

REPEATS: Final = 5
"""After so many in a row that were not new the numbers are no longer looked at: messages are new as they arrive."""


class MediaCounter:
    """Follows the numbers of one track's messages. A WebSocket keeps their order, so little depends on them: whatever
    they are, no more than `REPEATS` messages in a row are dropped as duplicates, and so many only once per call."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._jumped: int | None = None
        """A number far from the others, which counts if the next one follows on it."""
        self._repeats = 0

    def is_new(self, chunk: int) -> bool:
        """Whether a message of this number is to be heard."""
        if self._repeats > REPEATS:
            return True
        if self._last is None:
            self._last = chunk
            return True
        if self._last - BEHIND <= chunk <= self._last:
            self._repeats += 1
            return self._repeats > REPEATS
        if self._last < chunk <= self._last + AHEAD or chunk - 1 == self._jumped:
            self._last = chunk
            self._jumped = None
        else:
            self._jumped = chunk
        self._repeats = 0
        return True
