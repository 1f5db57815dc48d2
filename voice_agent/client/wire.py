"""The interface of a connection to a microphone and the lab, whatever wire it speaks."""

from typing import NamedTuple, Protocol

from voice_agent.audio import Pcm16
from voice_agent.client.messages import Ready, ServerEvent
from voice_agent.client.player import Player


class Arrived(NamedTuple):
    """A message of the server, and when it came."""

    at_s: float
    event: ServerEvent


class Wire(Protocol):
    """One session, from the caller's side. Times are in seconds on the event loop's clock."""

    @property
    def ready(self) -> Ready:
        """The rates, once it is entered."""

    @property
    def player(self) -> Player:
        """The caller's loudspeaker."""

    @property
    def reports_speech(self) -> bool:
        """Whether the server says when it hears speech, and what it understood."""

    async def send_audio(self, pcm: Pcm16) -> None:
        """Send microphone audio. Raises `ServerError` where the connection is closed."""

    async def receive(self) -> Arrived:
        """The next event. Raises `ServerError` where the connection is closed and all events were given out."""

    async def ping(self, id: int) -> None:
        """Ask for the server's time; a `Pong` with this `id` may bring it."""
