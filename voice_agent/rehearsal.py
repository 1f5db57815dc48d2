"""One turn with nobody there, to know what a conversation takes of this machine."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import numpy as np

from voice_agent.audio import RATE, Pcm16, Resampler, samples_to_ms
from voice_agent.engines import Engines
from voice_agent.errors import VoiceAgentError
from voice_agent.load import Meter, processor_s
from voice_agent.stages.generator.deltas import TextDelta
from voice_agent.stages.generator.llamacpp import LlamaCppGenerator
from voice_agent.stages.generator.request import Message, Request

log = logging.getLogger(__name__)

QUESTION: Final = "What can you tell me about the weather in the mountains today?"
ANSWER: Final = (
    "It is sunny in the mountains today, and there is hardly any wind. Take a hat, and enough water."
)
"""Spoken where no model of this machine's writes one."""
MOST_TOKENS: Final = 40
PAUSES_S: Final = 1.5
"""Of a turn, in which neither of the two speaks."""


async def rehearse(engines: Engines) -> None:
    """Hear a question and answer it, and note what that took. Where it fails, nothing is known."""
    meters: dict[str, Meter] = {"processor": processor_s}
    engines.load.meter(meters)
    try:
        question = await _spoken(engines, QUESTION)
        with engines.load.rehearsal() as took:
            transcript = await engines.transcriber.transcribe(question)
            await engines.endpoint.score(question)
            answer = await _spoken(engines, await _answer(engines, transcript.text or QUESTION))
            took((samples_to_ms(len(question)) + samples_to_ms(len(answer))) / 1000 + PAUSES_S)
    except VoiceAgentError as error:
        log.warning("it is not known what a conversation takes of this machine: %s", error)


async def _answer(engines: Engines, question: str) -> str:
    """In spoken words. A model elsewhere is not asked: what it does costs this machine nothing."""
    if not isinstance(engines.generator, LlamaCppGenerator):
        return ANSWER
    messages = (Message("system", engines.generator.instructions), Message("user", question))
    text = ""
    async with aclosing(engines.generator.stream(Request(messages, max_tokens=MOST_TOKENS))) as deltas:
        async for delta in deltas:
            if isinstance(delta, TextDelta):
                text += delta.text

    async def written() -> AsyncGenerator[str, None]:
        yield text

    async with aclosing(engines.chunker.split(written())) as chunks:
        return " ".join([chunk.spoken async for chunk in chunks if chunk.spoken]) or ANSWER


async def _spoken(engines: Engines, text: str) -> Pcm16:
    """The voice's audio of `text`, at `RATE`."""
    resampler = Resampler(engines.synthesizer.rate, RATE)
    async with aclosing(engines.synthesizer.stream(text)) as audio:
        return np.concatenate([resampler.feed(pcm) async for pcm in audio])
