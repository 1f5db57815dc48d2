"""Text as it is written, cut into pieces that a voice can speak: the `Chunker` protocol and its engine."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from voice_agent.stages.sentences import Cutter
from voice_agent.stages.spoken import spoken


@dataclass(frozen=True)
class Chunk:
    """A speakable piece of a response: a sentence, an early clause, a heading, a list item."""

    text: str
    """As the model wrote it, white space included: the texts of all chunks make up the whole stream."""
    spoken: str
    """What a voice should say. Empty where there is nothing to say: a rule, a line of code, an emoji."""


class Chunker(Protocol):
    """Cuts a stream of tokens into chunks."""

    def split(self, tokens: AsyncIterator[str]) -> AsyncGenerator[Chunk, None]:
        """Give each chunk as soon as it is known to be complete.

        However it ends (exhausted, closed, cancelled, an error of the stream), `tokens` is closed too.
        """


class SentenceChunker:
    """Chunks of a sentence, the first one an early clause where the sentence is long.

    Decisions are taken on characters: the same text gives the same chunks however it is cut into tokens.
    """

    def __init__(self, *, first_chunk_words: int = 7, max_words: int = 24) -> None:
        """Set the sizes, in words.

        Args:
            first_chunk_words: a reply's first sentence, once it is known to be this long, is cut at the first
                clause boundary that leaves no chopped fragment on either side. 7 is the least that leaves
                three words before it and four after; each word fewer is about 20 ms of Piper's time.
            max_words: a longer sentence is cut at its best clause boundary, so that the voice need not wait
                for it. 24 words are about 8 s of speech, and within what XTTS takes in one piece.

        Raises:
            ValueError: `first_chunk_words` is below 6, or `max_words` below `first_chunk_words`.
        """
        self._limits = (first_chunk_words, max_words)
        Cutter(*self._limits)  # refuses bad sizes now, not at the first reply

    async def split(self, tokens: AsyncIterator[str]) -> AsyncGenerator[Chunk, None]:
        """Give each chunk as soon as it is known to be complete; see `Chunker.split`."""
        cutter = Cutter(*self._limits)
        try:
            async for token in tokens:
                for piece in cutter.feed(token):
                    yield Chunk(piece.text, "" if piece.silent else spoken(piece.text))
            for piece in cutter.end():
                yield Chunk(piece.text, "" if piece.silent else spoken(piece.text))
        finally:
            # An async generator that is left half-way keeps its connection open until it is collected.
            close = getattr(tokens, "aclose", None)
            if close is not None:
                await close()
