"""One response: text from the language model, cut into chunks, spoken, and sent as fast as it may be."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from voice_agent.audio import SILENCE, Pcm16, Resampler, samples_to_ms
from voice_agent.errors import StageError
from voice_agent.events import Event, ResponseAudio, ResponseText
from voice_agent.playback import Playback
from voice_agent.stages.chunker import Chunker
from voice_agent.stages.synthesizer import Synthesizer
from voice_agent.timeline import Timeline

MS_PER_CHARACTER: Final = 65.0
"""How long English speech takes for a character of text, about 15 a second: for audio that is still being
made when the user interrupts it."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How a response is spoken."""

    synthesizer: Synthesizer
    name: str | None
    language: str | None
    output_rate: int
    """Of the audio given to the client, hertz."""
    lead_ms: float
    """How far ahead of the client's playback audio is sent."""


@dataclass(slots=True)
class _SpokenChunk:
    text: str
    start_ms: float
    """Where its audio begins in the response."""
    audio_ms: float = 0.0
    """Audio made of it so far."""
    whole: bool = False
    """All of its audio is made."""


class Response:
    """What the agent says in one turn. `run` speaks it; `heard` tells how far the user got."""

    def __init__(
        self,
        response_id: str,
        timeline: Timeline,
        chunker: Chunker,
        voice: Voice,
        emit: Callable[[Event], None],
    ) -> None:
        self.id = response_id
        self.timeline = timeline
        self._chunker = chunker
        self._voice = voice
        self._emit = emit
        self._clock = asyncio.get_running_loop().time
        self._chunks: list[_SpokenChunk] = []
        self.playback = Playback(
            voice.output_rate, voice.lead_ms, lambda pcm: emit(ResponseAudio(response_id, pcm))
        )

    async def run(self, tokens: AsyncGenerator[str, None]) -> None:
        """Speak the text as it comes, and wait until it has been played.

        Raises:
            StageError: the text or the voice failed; what was sent until then stays sent.
        """
        async with aclosing(self._chunker.split(self._noting_first(tokens))) as chunks:
            async for chunk in chunks:
                self.timeline.mark("first_chunk", self._clock())
                self._emit(ResponseText(self.id, chunk.text))
                await self._speak(chunk.text, chunk.spoken)
        if not any(chunk.audio_ms for chunk in self._chunks):
            raise StageError("generator", "the language model gave an empty reply")
        await self.playback.finish()

    def heard(self) -> str:
        """The text up to the last word that was played, as far as is known now."""
        played = self.playback.played_ms
        return "".join(_heard_of(chunk, played - chunk.start_ms) for chunk in self._chunks).strip()

    async def _noting_first(self, tokens: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        async with aclosing(tokens) as stream:
            async for token in stream:
                self.timeline.mark("llm_first_token", self._clock())
                yield token

    async def _speak(self, text: str, spoken: str) -> None:
        start = self._chunks[-1].start_ms + self._chunks[-1].audio_ms if self._chunks else 0.0
        chunk = _SpokenChunk(text, start)
        self._chunks.append(chunk)
        if spoken:
            resampler = Resampler(self._voice.synthesizer.rate, self._voice.output_rate)
            audio = self._voice.synthesizer.stream(
                spoken, voice=self._voice.name, language=self._voice.language
            )
            async with aclosing(audio):
                async for pcm in audio:
                    self.timeline.mark("tts_first_audio", self._clock())
                    await self._put(chunk, resampler.feed(pcm))
            await self._put(chunk, resampler.feed(SILENCE, last=True))
        chunk.whole = True

    async def _put(self, chunk: _SpokenChunk, pcm: Pcm16) -> None:
        chunk.audio_ms += samples_to_ms(len(pcm), self._voice.output_rate)
        await self.playback.put(pcm)


def _heard_of(chunk: _SpokenChunk, played_ms: float) -> str:
    """The words of a chunk of which at least half was played, taking its characters as evenly spoken."""
    total_ms = chunk.audio_ms if chunk.whole else max(chunk.audio_ms, len(chunk.text) * MS_PER_CHARACTER)
    if played_ms >= total_ms - 1:
        return chunk.text
    reached = len(chunk.text) * played_ms / total_ms
    end = 0
    for word in re.finditer(r"\S+", chunk.text):
        if (word.start() + word.end()) / 2 > reached:
            break
        end = word.end()
    return chunk.text[:end]
