"""A session's events on their way out: the gate for what is no longer wanted, a bound, and subscribers."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from voice_agent.dialogue.events import (
    Event,
    Pong,
    ResponseAudio,
    ResponseEnded,
    ResponseMade,
    ResponseResumed,
    ResponseText,
    ResponseTextEnded,
    SessionError,
    UserTranscript,
)
from voice_agent.errors import VoiceAgentError

log = logging.getLogger(__name__)

MOST_BYTES: Final = 2 << 20
"""Bound on what waits for the client. Audio is paced, so this is over 20 s of not reading at 48 kHz; the transport
gives such a client up before. If it is reached nevertheless, the session ends."""
ROOM_BYTES: Final = MOST_BYTES // 4
"""While more than this waits, what answers a client's message is held back, and so is the reading of the next one."""
AT_ONCE: Final = 16
"""Events that are given out, or messages that are taken, in one go before other sessions get the event loop."""
EVENT_BYTES: Final = 256
"""Approximate size of an event without its text and audio."""


class ClientTooSlow(VoiceAgentError):  # noqa: N818 - whose fault it is
    """The client does not read what it is sent; the session ends."""


class Outbox:
    """Events in order, for one client, and for those who only look on."""

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._bytes = 0
        self._overflowed = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._asked_for_room = 0
        self._cut_off: set[str] = set()
        """Responses that were stopped and whose `ResponseEnded` has not yet gone out."""
        self._subscribers: list[Callable[[Event], None]] = []

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        """Show `subscriber` every event as it happens, also what the client's gate then drops.

        It must return at once, and keep what takes longer for later. What it raises is logged: it can't fail a session.
        """
        self._subscribers.append(subscriber)

    def put(self, event: Event) -> None:
        """Tell this. Never waits, never fails: where too much waits already, `events` raises."""
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:
                log.exception("a subscriber to a session's events failed")
        if self._overflowed:
            return
        self._waiting.append(event)
        self._bytes += size(event)
        self._overflowed = self._bytes > MOST_BYTES
        self._account()

    def cut_off(self, response: str) -> None:
        """Let nothing more of a response past, of what waits already: only its `ResponseEnded`, which must follow."""
        self._cut_off.add(response)

    async def room(self) -> None:
        """Wait while the client has much to read, so that who asks for answers and does not read them waits, too; and
        now and then until other sessions have had their turn."""
        self._asked_for_room += 1
        if self._asked_for_room % AT_ONCE == 0:
            await asyncio.sleep(0)
        await self._room.wait()

    async def events(self) -> AsyncIterator[Event]:
        """The events for the client. Nothing of a response that was cut off gets past here.

        Raises:
            ClientTooSlow: too much waits.
        """
        in_a_row = 0
        while True:
            in_a_row += 1
            if in_a_row % AT_ONCE == 0:
                await asyncio.sleep(0)
            while not self._waiting:
                in_a_row = 0
                self._changed.clear()
                await self._changed.wait()
            if self._overflowed:
                raise ClientTooSlow(f"over {MOST_BYTES >> 20} MiB wait to be read")
            event = self._waiting.popleft()
            self._bytes -= size(event)
            self._account()
            match event:
                case ResponseEnded():
                    self._cut_off.discard(event.response)
                case (
                    ResponseText()
                    | ResponseTextEnded()
                    | ResponseAudio()
                    | ResponseMade()
                    | ResponseResumed()
                ) if event.response in self._cut_off:
                    continue
            yield event

    def _account(self) -> None:
        if self._overflowed:
            self._waiting = deque(list(self._waiting)[:1])  # nobody will read it; one wakes the reader
        self._changed.set()
        if self._bytes > ROOM_BYTES:
            self._room.clear()
        else:
            self._room.set()


def size(event: Event) -> int:
    """About how much memory an event takes, bytes."""
    match event:
        case ResponseAudio(_, pcm):
            return EVENT_BYTES + pcm.nbytes
        case ResponseText(_, text, _) | UserTranscript(_, text, _) | SessionError(_, text):
            return EVENT_BYTES + len(text)
        case ResponseEnded():
            return EVENT_BYTES + len(event.heard)
        case Pong():
            return EVENT_BYTES
    return EVENT_BYTES
