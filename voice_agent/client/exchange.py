"""A recording said, and the reply to it waited for."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from voice_agent.audio import Pcm16
from voice_agent.client.connection import Client
from voice_agent.client.messages import (
    Error,
    Id,
    ResponseEnded,
    ResponseStarted,
    ServerError,
    SpeechStarted,
    SpeechStopped,
    Timeline,
    Transcript,
)
from voice_agent.client.microphone import Microphone
from voice_agent.client.player import speech_bounds
from voice_agent.client.wire import Arrived

NO_SPEECH_S: Final = 3.0
"""Silence, with nothing under way, after which a recording counts as unanswered. Speech is reported within a
second of its start even by a busy server."""
TIMELINE_WAIT_S: Final = 2.0
"""After the end of the reply; the server sends the timeline right behind it."""
TICK_S: Final = 0.001
"""Timers fire up to the clock's resolution early; what is left then is no wait."""


@dataclass(slots=True)
class Exchange:
    """The events since a recording began, and whether more is to come.

    Often one turn. A pause in the recording may make it several; then the last response is the reply.
    """

    said_s: float = 0.0
    """When the last frame of the recording was sent."""
    speech_s: float = 0.0
    """When the frame with the last speech in it was sent: where the user's wait begins."""
    speech_heard: bool = False
    """The server reported speech."""
    transcripts: dict[Id, str] = field(default_factory=dict)
    """The user's words, by turn; empty where no words were found."""
    reply: ResponseStarted | None = None
    """The start of the last response."""
    ended: ResponseEnded | None = None
    """The end of `reply`."""
    timelines: dict[Id | None, dict[str, float]] = field(default_factory=dict)
    """By response: milliseconds from the last speech sample to each step."""
    error: str | None = None
    """The last error that the server reported."""
    lost: str | None = None
    """The reason that the connection ended, if it did."""

    _speaking: bool = False
    _untranscribed: bool = False
    _unanswered: set[Id] = field(default_factory=set)
    """Turns with words, and no response yet."""
    _reply_s: float = 0.0
    _last_s: float = 0.0
    """When the last event came."""

    @property
    def transcript(self) -> str:
        """The words of all turns."""
        return " ".join(filter(None, self.transcripts.values()))

    @property
    def awaited(self) -> bool:
        """Something was begun that is not finished: speech, its transcript, the response to it."""
        in_reply = self.reply is not None and self.ended is None
        return self._speaking or self._untranscribed or bool(self._unanswered) or in_reply

    def expect_reply(self) -> None:
        """Wait for one although the server does not report speech."""
        self._untranscribed = True

    def take(self, arrived: Arrived) -> None:
        """Take note of an event."""
        self._last_s, event = arrived
        match event:
            case SpeechStarted():
                self._speaking = self.speech_heard = True
            case SpeechStopped():
                self._speaking, self._untranscribed = False, True
            case Transcript(turn=turn, text=text, final=True):
                self._untranscribed = False
                self.transcripts[turn] = text.strip()
                if self.transcripts[turn]:
                    self._unanswered.add(turn)
            case ResponseStarted():
                self._untranscribed = False  # an apology for a transcription that failed comes without one
                self._unanswered.clear()
                self.reply, self._reply_s, self.ended = event, self._last_s, None
            case ResponseEnded(response=response) if self.reply and self.reply.response == response:
                self.ended = event
            case Timeline(response=response, steps=steps):
                self.timelines[response] = {name: ms for name, ms in steps.items() if ms is not None}
            case Error(code=code, message=message):
                self.error = f"{message} ({code})"
                self._untranscribed = False
                self._unanswered.clear()

    def over_s(self, silent_s: float, timeout_s: float) -> float:
        """When to stop waiting if nothing else comes and the audio received so far ends at `silent_s`."""
        last_s = max(self.said_s, silent_s, self._last_s)
        if self.awaited:
            return last_s + timeout_s
        if self.reply is None or self._reply_s < self.speech_s:
            return last_s + NO_SPEECH_S
        if self.reply.response in self.timelines:
            return silent_s
        return max(silent_s, self._last_s + TIMELINE_WAIT_S)


async def hold_exchange(client: Client, microphone: Microphone, pcm: Pcm16, timeout_s: float) -> Exchange:
    """Say a recording, and wait until its reply has been played.

    Gives up after `timeout_s` in which nothing came of what was begun, or `NO_SPEECH_S` in which nothing was
    begun. That the connection was lost is in the exchange, beside what came before.
    """
    clock = asyncio.get_running_loop().time
    exchange = Exchange()
    for _ in client.pending():
        pass  # too late for the exchange before
    try:
        spoken = None
        with suppress(ServerError):  # `receive` raises it again, after what came before
            spoken = await microphone.say(pcm)
        exchange.said_s = exchange.speech_s = clock()
        bounds = speech_bounds(pcm, client.ready.input_rate)
        if spoken is not None and bounds is not None:
            exchange.speech_s = spoken.sent_at(bounds[1] - 1)
        while (wait_s := exchange.over_s(client.player.ends_s, timeout_s) - clock()) > TICK_S:
            with suppress(TimeoutError):  # audio that came meanwhile may have moved the end
                async with asyncio.timeout(wait_s):
                    exchange.take(await client.receive())
    except ServerError as error:
        exchange.lost = str(error)
    client.player.advance(clock())
    return exchange
