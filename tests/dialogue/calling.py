"""A client of one session, on virtual time, and a turn that is over after a fixed silence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import numpy as np

from tests.scripted import MS_PER_CHARACTER, Script, silence, speech
from voice_agent.audio import Pcm16, samples_to_ms
from voice_agent.config import Settings, TurnSettings
from voice_agent.dialogue.events import Event, ResponseAudio, UserTranscript
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.session import Session, open_session

SETTINGS = Settings(turn=TurnSettings(start_ms=60, stop_ms=120, quiet_s=10, filler_after_ms=1500))
ENDPOINT_MS = 600
TIMEOUT_S = 60


STORY = "Once upon a time there was a king who had three very clever daughters."
STORY_MS = MS_PER_CHARACTER * (len(STORY) - 1)
"""It is spoken in two chunks, without the space between them."""

E = TypeVar("E")


class Caller:
    """A client of one session: its microphone, and a record of what it was told."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.events: list[Event] = []
        self._news = asyncio.Condition()

    async def listen(self) -> None:
        async for event in self.session.events():
            async with self._news:
                self.events.append(event)
                self._news.notify_all()

    async def say(self, *parts: Pcm16) -> None:
        """Into the microphone, in real time."""
        rate = self.session.options.input_rate
        audio = np.concatenate(parts)
        for start in range(0, len(audio), rate // 50):
            frame = audio[start : start + rate // 50]
            await asyncio.sleep(len(frame) / rate)
            await self.session.hear(frame)

    async def ask(self) -> None:
        await self.say(speech(500), silence(800))

    async def until(self, kind: type[E], count: int = 1) -> E:
        """The `count`th event of a kind, waiting for it."""
        async with asyncio.timeout(TIMEOUT_S), self._news:
            await self._news.wait_for(lambda: len(self.all(kind)) >= count)
        return self.all(kind)[count - 1]

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def final(self) -> list[UserTranscript]:
        """What the user is known to have said, utterance by utterance."""
        return [event for event in self.all(UserTranscript) if event.final]

    def audio_ms(self, response: str) -> float:
        pcm = [event.pcm for event in self.all(ResponseAudio) if event.response == response]
        return samples_to_ms(sum(map(len, pcm)), self.session.options.output_rate)


@asynccontextmanager
async def calling(
    script: Script, options: SessionOptions | None = None, settings: Settings = SETTINGS
) -> AsyncIterator[Caller]:
    async with open_session(script.engines(), settings, options or SessionOptions()) as session:
        caller = Caller(session)
        listening = asyncio.create_task(caller.listen())
        yield caller
        listening.cancel()
