"""Engines that do as they are told, on the event loop's own (virtual) time: for tests of timing and failure."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from voice_agent.audio import FRAME_MS, RATE, Pcm16, frames, ms_to_samples
from voice_agent.engines import Engines
from voice_agent.errors import StageError
from voice_agent.speculation import Speculation
from voice_agent.stages.chunker import SentenceChunker
from voice_agent.stages.generator.deltas import Delta, Finish, TextDelta
from voice_agent.stages.generator.request import Message, Request
from voice_agent.stages.transcriber import Transcript
from voice_agent.urgency import Need

LOUD = 8000
"""Amplitude that the scripted VAD takes for speech."""

MS_PER_CHARACTER = 60
"""How long the scripted voice speaks a character, milliseconds."""


def speech(ms: float, rate: int = RATE) -> Pcm16:
    return np.full(ms_to_samples(ms, rate), LOUD, np.int16)


def silence(ms: float, rate: int = RATE) -> Pcm16:
    return np.zeros(ms_to_samples(ms, rate), np.int16)


class ScriptedVad:
    """Loud is speech."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def stream(self, rate: int = RATE) -> "ScriptedVad":
        self.frame = ms_to_samples(FRAME_MS, rate)
        return self

    def reset(self) -> None: ...

    def feed(self, frame: Pcm16) -> float:
        assert len(frame) == self.frame
        return 1.0 if np.abs(frame).max() > LOUD // 2 else 0.0

    def feed_frames(self, audio: Pcm16) -> list[float]:
        return [self.feed(frame) for frame in frames(audio, self.frame)]


@dataclass
class ScriptedTranscriber:
    texts: list[str | StageError] = field(default_factory=list)
    """What is said, silence by silence; a look while the user speaks finds the first, and uses none up."""
    delay_s: float = 0.1
    heard: list[Pcm16] = field(default_factory=list)
    languages: tuple[str, ...] = ("de", "en")

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def transcribe(
        self,
        pcm: Pcm16,
        *,
        language: str | None = None,
        prompt: str | None = None,
        partial: bool = False,
        need: Need | None = None,
    ) -> Transcript:
        await asyncio.sleep(self.delay_s)
        text = self.texts[0] if self.texts else "hello"
        if not partial:
            self.heard.append(pcm)
            self.texts[:1] = []
        if isinstance(text, StageError):
            raise text
        return Transcript(text, "en", avg_logprob=-0.2, no_speech_prob=0.0, compression_ratio=1.0)


@dataclass
class ScriptedEndpoint:
    scores: list[float | StageError] = field(default_factory=list)
    delay_s: float = 0.05

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def score(self, pcm: Pcm16) -> float:
        await asyncio.sleep(self.delay_s)
        score = self.scores.pop(0) if self.scores else 0.9
        if isinstance(score, StageError):
            raise score
        return score


@dataclass
class ScriptedGenerator:
    replies: list[str | Exception | Sequence[Delta | Exception | float]] = field(default_factory=list)
    """Words, a failure, or what comes one after the other, a number being a wait in seconds."""
    delay_s: float = 0.1
    """Before each token, a word."""
    asked: list[Sequence[Message]] = field(default_factory=list)
    needs: list[Need | None] = field(default_factory=list)
    """How urgent each was, and is now."""
    running: int = 0
    """Streams that were begun and not closed."""
    model: str = "scripted"
    instructions: str = "Be brief."
    destination: str = "conversations go nowhere"

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.asked.append(list(request.messages))
        self.needs.append(request.need)
        reply = self.replies.pop(0) if self.replies else "Hello to you."
        self.running += 1
        try:
            for step in _steps(reply):
                await asyncio.sleep(step if isinstance(step, float) else self.delay_s)
                if isinstance(step, Exception):
                    raise step
                if not isinstance(step, float):
                    yield step
        finally:
            self.running -= 1


def _steps(
    reply: str | Exception | Sequence[Delta | Exception | float],
) -> Iterable[Delta | Exception | float]:
    match reply:
        case str():
            return [*(TextDelta(f"{word} ") for word in reply.split(" ")), Finish("stop")]
        case Exception():
            return [reply]
        case _:
            return reply


@dataclass
class ScriptedSynthesizer:
    delay_s: float = 0.1
    error: StageError | None = None
    running: int = 0
    said: list[str] = field(default_factory=list)
    rate: int = 16_000
    voices: tuple[str, ...] = ("one", "two")

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def speaks(self, voice: str | None, language: str | None) -> str | None:
        return language or "en"

    async def stream(
        self, text: str, *, voice: str | None = None, language: str | None = None, need: Need | None = None
    ) -> AsyncGenerator[Pcm16, None]:
        self.said.append(text)
        self.running += 1
        try:
            await asyncio.sleep(self.delay_s)
            if self.error:
                raise self.error
            yield np.full(ms_to_samples(MS_PER_CHARACTER * len(text), self.rate), 1000, np.int16)
        finally:
            self.running -= 1


@dataclass
class Script:
    """A set of scripted engines, each open to the test."""

    transcriber: ScriptedTranscriber = field(default_factory=ScriptedTranscriber)
    generator: ScriptedGenerator = field(default_factory=ScriptedGenerator)
    synthesizer: ScriptedSynthesizer = field(default_factory=ScriptedSynthesizer)
    endpoint: ScriptedEndpoint = field(default_factory=ScriptedEndpoint)
    speculation: Speculation = field(default_factory=lambda: Speculation(4))

    def engines(self) -> Engines:
        return Engines(
            vad=ScriptedVad(),
            endpoint=self.endpoint,
            transcriber=self.transcriber,
            generator=self.generator,
            chunker=SentenceChunker(),
            synthesizer=self.synthesizer,
            speculation=self.speculation,
        )
