"""A client of the native wire (`WS /ws`): a microphone, a player, and the server's messages between them.

    async with Client(url) as client, Microphone(client) as microphone:
        spoken = await microphone.say(pcm)
        at_s, event = await client.receive()

Every time here is in seconds on the running event loop's clock, so a test that drives that clock drives all.
"""

from voice_agent.client.connection import Client, NoServerError
from voice_agent.client.exchange import Exchange, hold_exchange
from voice_agent.client.messages import (
    Ended,
    Error,
    Id,
    Pause,
    Pong,
    Ready,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    ResponseTextEnded,
    Resume,
    ServerError,
    ServerEvent,
    SpeechStarted,
    SpeechStopped,
    Timeline,
    Transcript,
)
from voice_agent.client.microphone import Microphone, Spoken
from voice_agent.client.player import Piece, Player, Reply, speech_bounds
from voice_agent.client.twilio import TwilioClient
from voice_agent.client.wire import Arrived, Wire

__all__ = [
    "Arrived",
    "Client",
    "Ended",
    "Error",
    "Exchange",
    "Id",
    "Microphone",
    "NoServerError",
    "Pause",
    "Piece",
    "Player",
    "Pong",
    "Ready",
    "Reply",
    "ResponseEnded",
    "ResponseStarted",
    "ResponseText",
    "ResponseTextEnded",
    "Resume",
    "ServerError",
    "ServerEvent",
    "SpeechStarted",
    "SpeechStopped",
    "Spoken",
    "Timeline",
    "Transcript",
    "TwilioClient",
    "Wire",
    "hold_exchange",
    "speech_bounds",
]
