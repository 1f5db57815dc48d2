"""One response: text, cut into chunks, spoken, and sent once it is due."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from voice_agent.audio import SILENCE, Pcm16, Resampler, samples_to_ms
from voice_agent.dialogue.bounds import engine_call
from voice_agent.dialogue.events import (
    EndReason,
    Event,
    ResponseAudio,
    ResponseMade,
    ResponseStarted,
    ResponseText,
    ResponseTextEnded,
)
from voice_agent.dialogue.playback import Playback
from voice_agent.dialogue.replying import Retracted
from voice_agent.dialogue.spoken_text import SpokenChunk, SpokenText
from voice_agent.dialogue.timeline import Timeline
from voice_agent.errors import StageError
from voice_agent.stages.chunker import Chunk, Chunker
from voice_agent.stages.synthesizer import Synthesizer
from voice_agent.urgency import Need, Urgency

log = logging.getLogger(__name__)

SENTENCE_ENDS: Final = (".", "!", "?", "…", "。", "！", "？", ":")
"""A text that ends with one of these is whole."""
MOST_AT_ONCE: Final = 200
"""Characters that are cut and put in spoken words in one go, before other sessions get the event loop: an endpoint may
send a whole reply at once."""
CLOSERS: Final = " \t\n\"'”’)]}*_`»"
"""What may stand after them."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How a response is spoken."""

    synthesizer: Synthesizer
    name: str | None
    language: str | None
    rate: int
    """Of the audio that goes out, hertz."""
    timeout_s: float
    """Longest wait for the next piece of audio."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """What is said while a reply is late."""

    filler: str
    """Empty for nothing."""
    after_s: float
    """Counted from when the response is due."""
    apology: str
    """Said in place of what could not be made."""


class Source(Protocol):
    """Where the text comes from."""

    @property
    def cut_short(self) -> bool:
        """Whether the text ended in the midst of it."""

    def text(self) -> AsyncGenerator[str, None]:
        """The words, as they are written. Raises StageError."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A `Source` that is known beforehand."""

    words: str
    cut_short: bool = False

    async def text(self) -> AsyncGenerator[str, None]:
        """See `Source`."""
        yield self.words


class Response:
    """What the agent says at one time. `run` prepares it, and no more than its first chunk; `commit` lets it be heard.

    Before `commit` nothing of it is seen outside, and after `close` nothing any more.
    """

    def __init__(
        self,
        source: Source,
        timeline: Timeline,
        chunker: Chunker,
        voice: Voice,
        playback: Callable[[Callable[[Pcm16], None]], Playback],
        bridge: Bridge,
        *,
        remembered: bool,
    ) -> None:
        """`playback` makes the way out, given what takes its pieces; `remembered`: the model is told of it."""
        self.id = ""
        """Known once it is committed."""
        self.timeline = timeline
        self.spoken = SpokenText()
        self.playback = playback(self._audio)
        self.remembered = remembered
        self.failure: StageError | None = None
        """Why it is to be made anew: it failed before it was committed, or what was said was a thought."""
        self.begun = asyncio.get_running_loop().time()
        """On the loop's clock."""
        self.need = Need(Urgency.PREPARED, self.begun)
        """How urgent its next piece is."""
        self._source = source
        self._chunker = chunker
        self._voice = voice
        self._bridge = bridge
        self._clock = asyncio.get_running_loop().time
        self._emit: Callable[[Event], None] | None = None
        self._committed = asyncio.Event()
        self._written = False
        """All of the text has been given to the chunker."""
        self._broken: StageError | None = None
        """What ended the text before its end; what had come by then is said first."""
        self._speaking = asyncio.Lock()
        """Held for a chunk: what bridges a wait does not come into one."""

    @property
    def ready(self) -> bool:
        """Whether the first audio is there."""
        return self.spoken.audible

    @property
    def text(self) -> str:
        """All that was given to the voice so far, heard or not."""
        return self.spoken.text

    def aloud(self) -> str:
        """The words that were heard by now, remembered or not."""
        return self.spoken.aloud(self.playback.played_ms)

    def commit(self, response_id: str, emit: Callable[[Event], None]) -> None:
        """It is due: what was prepared goes out now, and the rest as it is made."""
        self.id, self._emit = response_id, emit
        self.timeline.response = response_id
        self.need.urgency, self.need.by = Urgency.DUE, self._clock()
        self._committed.set()
        emit(ResponseStarted(response_id, self.timeline.turn))
        for chunk in self.spoken.chunks:
            self._show_begin(chunk)
            if chunk.whole:
                self._show_end(chunk)
        self.playback.start()
        self._look_ahead()

    def close(self) -> None:
        """Nothing more of it goes out."""
        self._emit = None
        self.playback.close()

    async def run(self, failed: Callable[[StageError], None]) -> EndReason:
        """Make it, and wait until it has been played; tell `failed` what went wrong, and apologize if possible.

        One that fails before it was committed just ends: see `failure`.
        """
        async with asyncio.TaskGroup() as tasks:
            bridging = tasks.create_task(self._bridge_wait())
            reason = await self._make(failed)
            bridging.cancel()
        return reason

    async def _make(self, failed: Callable[[StageError], None]) -> EndReason:
        reason: EndReason = "completed"
        try:
            await self._say(self._source, remembered=self.remembered)
            await self._committed.wait()
            self._tell(ResponseMade(self.id))
        except Retracted as error:
            self.failure = error
            return "failed"
        except StageError as failure:
            if not self._committed.is_set():
                self.failure = failure
                return "failed"
            reason = "failed"
            failed(failure)
            if failure.stage != "synthesizer":
                try:
                    await self._say(Phrase(self._bridge.apology), remembered=False)
                except StageError as second:
                    failed(second)
        await self._committed.wait()
        await self.playback.finish()
        return reason

    async def _say(self, source: Source, *, remembered: bool) -> None:
        """Speak the text as it comes."""
        language = self._voice.synthesizer.speaks(self._voice.name, self._voice.language)
        async with aclosing(self._chunker.split(self._words(source), language=language)) as chunks:
            async for chunk in chunks:
                if self.ready:
                    await self._committed.wait()
                if self._is_torn(chunk, source):
                    break
                self.timeline.mark("first_chunk", self._clock())
                async with self._speaking:
                    await self._speak(chunk, remembered=remembered)
        if self._broken:
            broken, self._broken = self._broken, None
            raise broken

    def _is_torn(self, chunk: Chunk, source: Source) -> bool:
        """Whether it is half a sentence: of a text that broke off, or of one that was cut short after whole ones."""
        if chunk.text.rstrip(CLOSERS).endswith(SENTENCE_ENDS):
            return False
        return self._broken is not None or (self._written and source.cut_short and self.spoken.begun)

    async def _bridge_wait(self) -> None:
        """Once committed, say the filler if the reply is late."""
        await self._committed.wait()
        await asyncio.sleep(self._bridge.after_s)
        if self._bridge.filler and not self.spoken.chunks:
            async with self._speaking:
                filler = Chunk(f"{self._bridge.filler} ", self._bridge.filler)
                try:
                    await self._speak(filler, remembered=False)
                except StageError as error:
                    log.warning("no filler: %s", error)  # the reply will tell

    def _audio(self, pcm: Pcm16) -> None:
        self._tell(ResponseAudio(self.id, pcm))

    def _tell(self, event: Event) -> None:
        if self._emit:
            self._emit(event)

    async def _words(self, source: Source) -> AsyncGenerator[str, None]:
        try:
            async with aclosing(source.text()) as stream:
                async for text in stream:
                    if not isinstance(source, Phrase):
                        self.timeline.mark("llm_first_token", self._clock())
                    for start in range(0, len(text), MOST_AT_ONCE):
                        if start:
                            await asyncio.sleep(0)
                        yield text[start : start + MOST_AT_ONCE]
            self._written = True
        except Retracted:
            raise
        except StageError as error:
            self._broken = error

    async def _speak(self, chunk: Chunk, *, remembered: bool) -> None:
        spoken = self.spoken.begin(chunk.text, remembered=remembered)
        self._show_begin(spoken)
        if chunk.spoken:
            resampler = Resampler(self._voice.synthesizer.rate, self._voice.rate)
            audio = self._voice.synthesizer.stream(
                chunk.spoken, voice=self._voice.name, language=self._voice.language, need=self.need
            )
            async with aclosing(audio):
                while (pcm := await self._next_audio(audio)) is not None:
                    self.timeline.mark("tts_first_audio", self._clock())
                    await self._put(spoken, resampler.feed(pcm))
            await self._put(spoken, resampler.feed(SILENCE, last=True))
        spoken.whole = True
        self._show_end(spoken)

    async def _next_audio(self, audio: AsyncGenerator[Pcm16, None]) -> Pcm16 | None:
        """None at the end."""
        async with engine_call("synthesizer", self._voice.timeout_s, "TTS__TIMEOUT_S"):
            return await anext(audio, None)

    def _show_begin(self, chunk: SpokenChunk) -> None:
        self._tell(ResponseText(self.id, chunk.text, chunk.start_ms))

    def _show_end(self, chunk: SpokenChunk) -> None:
        self._tell(ResponseTextEnded(self.id, chunk.end_ms))

    async def _put(self, chunk: SpokenChunk, pcm: Pcm16) -> None:
        chunk.audio_ms += samples_to_ms(len(pcm), self._voice.rate)
        self._look_ahead(len(pcm) / self._voice.rate)
        await self.playback.put(pcm)

    def _look_ahead(self, more_s: float = 0.0) -> None:
        """What comes next is wanted when the client has played what there is, and `more_s`."""
        if self._committed.is_set() and self.ready:
            self.need.urgency, self.need.by = Urgency.AHEAD, self.playback.dry_at + more_s
