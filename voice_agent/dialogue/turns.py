"""The user's turns, by number. What they say before any answer to it was heard still belongs to the same one."""

from collections.abc import Callable

from voice_agent.dialogue.events import UserTranscript
from voice_agent.dialogue.items import MOST_UNANSWERED, Items


class Turns:
    """The turns of one session."""

    def __init__(self, items: Items, note_heard: Callable[[], None]) -> None:
        """`note_heard` brings `items` up to what was heard by now of what is being said."""
        self.latest = 0
        """Number of the latest turn that is over; 0 before the first."""
        self._items = items
        self._note_heard = note_heard

    def transcript(self, text: str, *, final: bool = False) -> UserTranscript:
        """The user's words so far, of the turn that they belong to."""
        number, unanswered = self._open_turn()
        return UserTranscript(number, _merged(unanswered, text) if text else "", final)

    def nothing_said(self) -> UserTranscript:
        """The utterance held no words for us: what was shown of it is void."""
        return self.transcript("", final=True)

    def take(self, text: str | None) -> UserTranscript:
        """The user has said this, and waits for an answer; None where it could not be understood."""
        transcript = self.transcript(text or "", final=True)
        self.latest = transcript.turn
        if text:
            self._items.add_user(text)
        return transcript

    def _open_turn(self) -> tuple[int, str]:
        """The turn that the user's next words belong to, and what was said in it: the latest one, while no answer to
        it was heard."""
        self._note_heard()
        unanswered = self._items.unanswered
        return self.latest + (not unanswered or not self.latest), unanswered


def _merged(before: str, text: str) -> str:
    """All that the user said in a turn; of very much, the end."""
    return f"{before} {text}".strip()[-MOST_UNANSWERED:]
