"""One conversation, as a transport sees it: audio and requests in, events out."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from voice_agent.audio import Pcm16
from voice_agent.config import Settings
from voice_agent.dialogue.conversation import Conversation
from voice_agent.dialogue.events import Event, Pong, ResponseAudio, SessionEnded, SessionError
from voice_agent.dialogue.items import Items
from voice_agent.dialogue.metrics import publish
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.outbox import Outbox
from voice_agent.engines import Engines


class Session:
    """Made by `open_session`; a transport feeds it and writes out its `events`."""

    def __init__(
        self, engines: Engines, settings: Settings, options: SessionOptions, tasks: asyncio.TaskGroup
    ) -> None:
        self.id = secrets.token_hex(8)
        self._outbox = Outbox()
        self._outbox.subscribe(publish)
        self._conversation = Conversation(self.id, engines, settings, options, self._outbox, tasks)
        self._listener = self._conversation.listener
        self._responder = self._conversation.responder
        self._clock = asyncio.get_running_loop().time

    @property
    def options(self) -> SessionOptions:
        """The current ones."""
        return self._conversation.options

    @property
    def items(self) -> Items:
        """The history of the conversation."""
        return self._conversation.items

    @property
    def idle(self) -> bool:
        """Nobody speaks and nothing is being made: what is heard now may be heard a little later."""
        return self._listener.idle and not self._responder.current

    @property
    def now_ms(self) -> float:
        """The time on the clock that timelines are on."""
        return round(self._clock() * 1000, 1)

    async def room(self) -> None:
        """Wait while the client has much to read. A transport does before it takes a message: what answers it then
        finds room, so that a client that asks much at once is made to wait, and not called slow."""
        await self._outbox.room()

    async def hear(self, pcm: Pcm16) -> None:
        """Audio from the user at the session's input rate, of any length."""
        await self._listener.hear(pcm)

    def read(self, text: str) -> None:
        """The user typed this: answer it, in place of what is being said. Where there is nothing in it, do nothing."""
        if self._conversation.over or not text.strip():
            return
        self._listener.user_is_there()
        self._conversation.read(text)

    def push_to_talk(self, pressed: bool) -> None:
        """The user takes the floor, and no silence ends their turn; released, it is over at once."""
        self._listener.push_to_talk(pressed)

    def interrupt(self) -> None:
        """The client wants silence."""
        self._listener.user_is_there()
        self._responder.interrupt()

    def complete_turn(self) -> None:
        """The user's turn is over, if one is open: for a client that decides that itself."""
        self._listener.user_is_there()
        self._listener.complete()

    def respond(self) -> None:
        """Answer what was said, where that is not done of itself (`TurnPolicy.answer`)."""
        self._listener.user_is_there()
        if not self._conversation.over:
            self._conversation.respond()

    def played(self, response: str, ms: float) -> None:
        """The client has played this much of a response; one that has ended is passed over."""
        self._responder.played(response, ms)

    def change(self, options: SessionOptions) -> None:
        """Go on with these; what is being said now ends as it began.

        Raises:
            SettingsError: something that is fixed for the session would change.
        """
        self._conversation.options = self.options.changed_to(options)
        self._listener.change(options)
        self._responder.discard_prepared()

    def report(self, event: SessionError | Pong) -> None:
        """Tell the client of something else, in order with the events."""
        self._outbox.put(event)

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        """See `Outbox.subscribe`."""
        self._outbox.subscribe(subscriber)

    async def events(self) -> AsyncIterator[Event]:
        """The events for the client, in order, up to a `SessionEnded`.

        Raises:
            ClientTooSlow: more waits than is kept.
        """
        async for event in self._outbox.events():
            if isinstance(event, ResponseAudio):
                self._responder.sent(event.response)
            yield event
            if isinstance(event, SessionEnded):
                return

    def close(self) -> None:
        """Stop all that is under way."""
        self._conversation.close()


@asynccontextmanager
async def open_session(
    engines: Engines, settings: Settings, options: SessionOptions
) -> AsyncIterator[Session]:
    """A session for as long as the context lasts; no task of it is left afterwards.

    Raises:
        ExceptionGroup: a task of the session failed in a way that nobody foresaw.
    """
    async with asyncio.TaskGroup() as tasks:
        session = Session(engines, settings, options, tasks)
        try:
            yield session
        finally:
            session.close()
