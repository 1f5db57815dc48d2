"""Engines that are now fast, now slow, that fail, hang, and do not listen."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from tests.dialogue.simulation.replies import draw_reply
from tests.scripted import (
    MS_PER_CHARACTER,
    ScriptedEndpoint,
    ScriptedGenerator,
    ScriptedSynthesizer,
    ScriptedTranscriber,
)
from voice_agent.audio import SILENCE, Pcm16, ms_to_samples
from voice_agent.errors import ContextTooLong, StageError
from voice_agent.stages.generator.deltas import Delta
from voice_agent.stages.generator.request import Request
from voice_agent.stages.transcriber import Transcript
from voice_agent.urgency import Need

TROUBLES = {None: 0.958, "fails": 0.03, "is faulty": 0.005, "hangs": 0.007}
"""What happens to a call to an engine, or to the wait for a piece of what it gives, and how often."""
HANGS_S = 1e6
DEAF = 0.1
"""Share of the calls that go on for `DEAF_S` when they are cancelled."""
DEAF_S = 1.0
LONGEST_SPOKEN = 300
"""Characters of a chunk that the voice says."""


class Lots:
    """What is drawn for the engines of one conversation, and what came of it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.drawn: Counter[str] = Counter()
        """Troubles that came about."""
        self.under_way: Counter[str] = Counter()
        """Calls that were begun and have not ended, by stage."""

    @contextmanager
    def call(self, stage: str) -> Iterator[None]:
        """For as long as a call to an engine takes."""
        self.under_way[stage] += 1
        try:
            yield
        finally:
            self.under_way[stage] -= 1

    async def wait(self, stage: str, shortest_s: float, longest_s: float) -> None:
        """As long as an engine takes; now and then it never comes to an end, or to a bad one."""
        chance = self.chance
        seconds = chance.uniform(shortest_s, longest_s) * (20 if chance.random() < 0.02 else 1)
        [trouble] = chance.choices(tuple(TROUBLES), tuple(TROUBLES.values()))
        deaf = chance.random() < DEAF
        if trouble == "hangs":
            self.drawn[trouble] += 1
        try:
            await asyncio.sleep(HANGS_S if trouble == "hangs" else seconds)
        except asyncio.CancelledError:
            if deaf:
                self.drawn["is deaf"] += 1
                await asyncio.sleep(DEAF_S)
            raise
        if trouble:
            self.drawn[trouble] += 1
        if trouble == "fails":
            raise StageError(stage, "drawn by lot")
        if trouble == "is faulty":
            raise ZeroDivisionError(f"{stage}: drawn by lot")


@dataclass
class Transcriber(ScriptedTranscriber):
    """Knows what the caller says now."""

    lots: Lots = field(default_factory=lambda: Lots(0))
    saying: str = ""

    async def transcribe(
        self,
        pcm: Pcm16,
        *,
        language: str | None = None,
        prompt: str | None = None,
        partial: bool = False,
        need: Need | None = None,
    ) -> Transcript:
        text = self.saying
        with self.lots.call("transcriber"):
            await self.lots.wait("transcriber", 0.05, 0.15)
        return Transcript(text, "en", avg_logprob=-0.2, no_speech_prob=0.0, compression_ratio=1.0)


@dataclass
class Endpoint(ScriptedEndpoint):
    lots: Lots = field(default_factory=lambda: Lots(0))

    async def score(self, pcm: Pcm16) -> float:
        with self.lots.call("endpoint"):
            await self.lots.wait("endpoint", 0.01, 0.1)
        return self.lots.chance.random()


@dataclass
class Generator(ScriptedGenerator):
    lots: Lots = field(default_factory=lambda: Lots(0))
    requests: list[Request] = field(default_factory=list)

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        with self.lots.call("generator"):
            if self.lots.chance.random() < 0.02:
                raise ContextTooLong("generator", "too long, drawn by lot")
            for piece in draw_reply(self.lots.chance):
                await self.lots.wait("generator", 0.02, 0.3)
                yield piece


@dataclass
class Synthesizer(ScriptedSynthesizer):
    lots: Lots = field(default_factory=lambda: Lots(0))

    async def stream(
        self, text: str, *, voice: str | None = None, language: str | None = None, need: Need | None = None
    ) -> AsyncGenerator[Pcm16, None]:
        with self.lots.call("synthesizer"):
            await self.lots.wait("synthesizer", 0.02, 0.1)
            if self.lots.chance.random() < 0.02:
                yield SILENCE
            if self.lots.chance.random() < 0.01:
                return
            ms = MS_PER_CHARACTER * min(len(text), LONGEST_SPOKEN)
            for part in np.array_split(np.full(ms_to_samples(ms, self.rate), 1000, np.int16), 4):
                await self.lots.wait("synthesizer", 0.01, 0.05)
                yield part
