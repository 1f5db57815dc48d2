"""One response: text from the language model, cut into chunks, spoken, and sent once it is due."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from voice_agent.audio import SILENCE, Pcm16, Resampler, samples_to_ms
from voice_agent.dialogue.events import Event, ResponseAudio, ResponseStarted, ResponseText, ResponseTextEnded
from voice_agent.dialogue.playback import Playback
from voice_agent.dialogue.timeline import Timeline
from voice_agent.errors import StageError
from voice_agent.stages.chunker import Chunker
from voice_agent.stages.synthesizer import Synthesizer

MS_PER_CHARACTER: Final = 65.0
"""How long English speech takes for a character of text, about 15 a second: for audio that is still being
made when the user interrupts it."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How a response is spoken."""

    synthesizer: Synthesizer
    name: str | None
    language: str | None


@dataclass(slots=True)
class _SpokenChunk:
    shown: str
    text: str
    """As the history has it: empty for what is not part of the reply."""
    start_ms: float
    """Where its audio begins in the response."""
    audio_ms: float = 0.0
    """Audio made of it so far."""
    whole: bool = False
    """All of its audio is made."""

    @property
    def end_ms(self) -> float:
        """Where the audio made of it so far ends in the response."""
        return self.start_ms + self.audio_ms


class Response:
    """What the agent says in one turn. `run` prepares it, and no more than its first chunk; `commit` lets it be heard.

    Before `commit` nothing of it is seen outside.
    """

    def __init__(
        self,
        timeline: Timeline,
        chunker: Chunker,
        voice: Voice,
        playback: Callable[[Callable[[Pcm16], None]], Playback],
        rate: int,
    ) -> None:
        """`playback` makes the way out, at `rate`, given what takes its pieces."""
        self.id = ""
        """Known once it is committed."""
        self.timeline = timeline
        self.text = ""
        """What was given to the voice so far, heard or not."""
        self.playback = playback(self._audio)
        self._chunker = chunker
        self._voice = voice
        self._rate = rate
        self._clock = asyncio.get_running_loop().time
        self._emit: Callable[[Event], None] | None = None
        self.committed = asyncio.Event()
        """Set by `commit`."""
        self._chunks: list[_SpokenChunk] = []
        self._speaking = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether the first audio is there."""
        return any(chunk.audio_ms for chunk in self._chunks)

    def commit(self, response_id: str, emit: Callable[[Event], None]) -> None:
        """It is due: what was prepared goes out now, and the rest as it is made."""
        self.id, self._emit = response_id, emit
        self.timeline.response = response_id
        self.committed.set()
        emit(ResponseStarted(response_id, self.timeline.turn))
        for chunk in self._chunks:
            self._show_begin(chunk)
            if chunk.whole:
                self._show_end(chunk)
        self.playback.start()

    async def run(self, tokens: AsyncGenerator[str, None]) -> None:
        """Speak the text as it comes, and wait until it has been played.

        Raises:
            StageError: the text or the voice failed; what was sent until then stays sent.
        """
        language = self._voice.synthesizer.speaks(self._voice.name, self._voice.language)
        async with aclosing(self._chunker.split(self._noting_first(tokens), language=language)) as chunks:
            async for chunk in chunks:
                if self.ready:
                    await self.committed.wait()
                self.timeline.mark("first_chunk", self._clock())
                async with self._speaking:
                    await self._speak(chunk.text, chunk.spoken, chunk.text)
        if not self.ready:
            raise StageError("generator", "the language model gave an empty reply")
        await self.playback.finish()

    async def bridge(self, filler: str, after_s: float) -> None:
        """Once committed, say `filler` if the reply is this late. The history does not hold it.

        Raises:
            StageError: the voice failed.
        """
        await self.committed.wait()
        await asyncio.sleep(after_s)
        if not self._chunks:
            async with self._speaking:
                await self._speak(f"{filler} ", filler, "")

    def heard(self) -> str:
        """The text up to the last word that was played, as far as is known now."""
        played = self.playback.played_ms
        return "".join(_heard_of(chunk, played - chunk.start_ms) for chunk in self._chunks).strip()

    def _audio(self, pcm: Pcm16) -> None:
        assert self._emit
        self._emit(ResponseAudio(self.id, pcm))

    async def _noting_first(self, tokens: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        async with aclosing(tokens) as stream:
            async for token in stream:
                self.timeline.mark("llm_first_token", self._clock())
                yield token

    async def _speak(self, shown: str, spoken: str, remembered: str) -> None:
        chunk = _SpokenChunk(shown, remembered, self._chunks[-1].end_ms if self._chunks else 0.0)
        self._chunks.append(chunk)
        self.text += shown
        self._show_begin(chunk)
        if spoken:
            resampler = Resampler(self._voice.synthesizer.rate, self._rate)
            audio = self._voice.synthesizer.stream(
                spoken, voice=self._voice.name, language=self._voice.language
            )
            async with aclosing(audio):
                async for pcm in audio:
                    self.timeline.mark("tts_first_audio", self._clock())
                    await self._put(chunk, resampler.feed(pcm))
            await self._put(chunk, resampler.feed(SILENCE, last=True))
        chunk.whole = True
        self._show_end(chunk)

    def _show_begin(self, chunk: _SpokenChunk) -> None:
        if self._emit:
            self._emit(ResponseText(self.id, chunk.shown, chunk.start_ms))

    def _show_end(self, chunk: _SpokenChunk) -> None:
        if self._emit:
            self._emit(ResponseTextEnded(self.id, chunk.end_ms))

    async def _put(self, chunk: _SpokenChunk, pcm: Pcm16) -> None:
        chunk.audio_ms += samples_to_ms(len(pcm), self._rate)
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
