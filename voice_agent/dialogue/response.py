"""One response: text, cut into chunks, spoken, and sent once it is due."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from voice_agent.audio import SILENCE, Pcm16, Resampler, samples_to_ms
from voice_agent.dialogue.bounds import engine_call
from voice_agent.dialogue.eager import eager
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
from voice_agent.dialogue.runway import Runway
from voice_agent.dialogue.spoken_text import SpokenChunk, SpokenText
from voice_agent.dialogue.timeline import Timeline
from voice_agent.errors import StageError
from voice_agent.speeds import Speeds
from voice_agent.stages.chunker import Chunk, Chunker
from voice_agent.stages.synthesizer import Synthesizer
from voice_agent.urgency import Need, Urgency

log = logging.getLogger(__name__)

SENTENCE_ENDS: Final = (".", "!", "?", "…", "。", "！", "？", ":")
"""A text that ends with one of these is whole."""
MOST_AT_ONCE: Final = 200
"""Characters that are cut and put in spoken words in one go, before other sessions get the event loop: an endpoint may
send a whole reply at once."""
MOST_HELD_S: Final = 0.6
"""Longest time for which audio is held back: a gap is better than a longer silence before the reply."""
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
    speeds: Speeds
    """Of the engines, at present."""


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
        self._runway = Runway(voice.speeds)
        self._begun = False
        """It is being heard."""
        self._hold_until: float | None = None
        """When it begins, whatever there is of it then, on the loop's clock; None before it has audio."""
        self._timer: asyncio.TimerHandle | None = None
        self._emit: Callable[[Event], None] | None = None
        self._committed = asyncio.Event()
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
        self._begin_if_it_can_go_on()

    def close(self) -> None:
        """Nothing more of it goes out."""
        self._emit = None
        if self._timer:
            self._timer.cancel()
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
        self._begin()
        await self.playback.finish()
        return reason

    async def _say(self, source: Source, *, remembered: bool) -> None:
        """Speak the text as it comes. It is read as fast as it is written: its model is then free for others."""
        async with aclosing(eager(self._chunks(source))) as chunks:
            async for chunk in chunks:
                if self.ready:
                    await self._committed.wait()
                async with self._speaking:
                    await self._speak(chunk, remembered=remembered)
        if self._broken:
            broken, self._broken = self._broken, None
            raise broken

    async def _chunks(self, source: Source) -> AsyncGenerator[Chunk, None]:
        """The text in pieces for the voice, without half a sentence where it broke off or, after whole ones, was cut
        short."""
        language = self._voice.synthesizer.speaks(self._voice.name, self._voice.language)
        first = True
        async with aclosing(self._chunker.split(self._words(source), language=language)) as chunks:
            async for chunk in chunks:
                if not chunk.text.rstrip(CLOSERS).endswith(SENTENCE_ENDS) and (
                    self._broken or (source.cut_short and not first)
                ):
                    break
                first = False
                self.timeline.mark("first_chunk", self._clock())
                self._runway.cut(len(chunk.text))
                yield chunk

    async def _bridge_wait(self) -> None:
        """Once committed, say the filler if the reply is late."""
        await self._committed.wait()
        await asyncio.sleep(self._bridge.after_s)
        if self._bridge.filler and not self.spoken.chunks:
            async with self._speaking:
                self._begin()
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
                    self._runway.wrote(len(text), self._clock())
                    for start in range(0, len(text), MOST_AT_ONCE):
                        if start:
                            await asyncio.sleep(0)
                        yield text[start : start + MOST_AT_ONCE]
                    self._begin_if_it_can_go_on()
        except Retracted:
            raise
        except StageError as error:
            self._broken = error
        self._runway.written()
        self._begin_if_it_can_go_on()

    async def _speak(self, chunk: Chunk, *, remembered: bool) -> None:
        spoken = self.spoken.begin(chunk.text, remembered=remembered)
        self._show_begin(spoken)
        self._runway.speaks(len(chunk.text), len(chunk.spoken), self._clock())
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
        self._runway.spoken()
        self._begin_if_it_can_go_on()
        self._show_end(spoken)

    async def _next_audio(self, audio: AsyncGenerator[Pcm16, None]) -> Pcm16 | None:
        """None at the end."""
        self._runway.asks(self._clock())
        async with engine_call("synthesizer", self._voice.timeout_s, "TTS__TIMEOUT_S"):
            pcm = await anext(audio, None)
        if pcm is not None and len(pcm):
            self._runway.made(len(pcm) / self._voice.synthesizer.rate, self._clock())
        return pcm

    def _show_begin(self, chunk: SpokenChunk) -> None:
        self._tell(ResponseText(self.id, chunk.text, chunk.start_ms))

    def _show_end(self, chunk: SpokenChunk) -> None:
        self._tell(ResponseTextEnded(self.id, chunk.end_ms))

    async def _put(self, chunk: SpokenChunk, pcm: Pcm16) -> None:
        chunk.audio_ms += samples_to_ms(len(pcm), self._voice.rate)
        self._begin_if_it_can_go_on()
        if self._begun:  # what comes next is wanted when the client has played what there is
            self.need.urgency = Urgency.AHEAD
            self.need.by = self.playback.dry_at + len(pcm) / self._voice.rate
        await self.playback.put(pcm)

    def _begin_if_it_can_go_on(self) -> None:
        """Let it be heard, if what follows will come in time, or this was waited for long enough."""
        if self._begun or not self._committed.is_set() or not self.ready:
            return
        now = self._clock()
        if self._hold_until is None:
            self._hold_until = now + MOST_HELD_S
        short_s = min(self._runway.short_s(now), self._hold_until - now)
        if short_s <= 0:
            self._begin()
            return
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(short_s, self._begin_if_it_can_go_on)

    def _begin(self) -> None:
        """Let it be heard from now on."""
        if not self._begun and self._emit:
            self._begun = True
            self.playback.start()
