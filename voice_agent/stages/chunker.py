"""Text as it is written, cut into pieces that a voice can speak: the `Chunker` protocol and its engine."""

import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from voice_agent.stages.breath import parted
from voice_agent.stages.scripts import readable
from voice_agent.stages.sentences import Cutter, Inside, Piece
from voice_agent.stages.spoken import spoken
from voice_agent.stages.spoken.numbers import digits

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunk:
    """A speakable piece of a response: a sentence, an early clause, a heading, a list item."""

    text: str
    """As the model wrote it, white space included: the texts of all chunks make up the whole stream."""
    spoken: str
    """The words that a voice should say, at most `breath.MOST_SAID` characters. Empty where there is nothing to say:
    a rule, a line of code, an emoji, or a text in a script that the voice can't read."""


class Chunker(Protocol):
    """Cuts a stream of tokens into chunks."""

    def split(
        self, tokens: AsyncIterator[str], *, language: str | None = "en"
    ) -> AsyncGenerator[Chunk, None]:
        """Give each chunk as soon as it is known to be complete.

        However it ends (exhausted, closed, cancelled, an error of the stream), `tokens` is closed too.

        Args:
            tokens: the text, as it comes.
            language: a code of the voice's language, such as "en" or "en-us"; None where it is not known. Text that
                it can't read (Chinese for an English voice) is shown and not said; the log says so once.
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

    async def split(
        self, tokens: AsyncIterator[str], *, language: str | None = "en"
    ) -> AsyncGenerator[Chunk, None]:
        """Give each chunk as soon as it is known to be complete; see `Chunker.split`."""
        cutter = Cutter(*self._limits)
        saying = _Saying(language)
        try:
            async for token in tokens:
                for piece in cutter.feed(token):
                    for chunk in saying.chunks(piece):
                        yield chunk
            for piece in cutter.end():
                for chunk in saying.chunks(piece):
                    yield chunk
        finally:
            # An async generator that is left half-way keeps its connection open until it is collected.
            close = getattr(tokens, "aclose", None)
            if close is not None:
                await close()


class _Saying:
    """The words that a voice says for the pieces of one reply."""

    def __init__(self, language: str | None) -> None:
        self._language = language
        self._told = False
        """The log has it that something of this reply can't be read."""

    def chunks(self, piece: Piece) -> Iterator[Chunk]:
        """The piece as one chunk, or as several where that is more than a voice says in one go."""
        for said, text in parted("" if piece.silent else self._said(piece), piece.text):
            yield Chunk(text, said)

    def _said(self, piece: Piece) -> str:
        said, foreign = readable(_spoken(piece), piece.text, self._language)
        if foreign and not self._told:
            self._told = True
            log.warning(
                "part of a reply is in a script (%s) that a voice of language %s can't read: shown, not said",
                foreign.lower(),
                self._language,
            )
        return said


_DIGITS: Final = re.compile(r"\d*")
_RUN: Final = re.compile(r"\S*")


def _spoken(piece: Piece) -> str:
    """The words for a piece, or for the rest of it where its beginning belongs to what the last one began."""
    match piece.inside:
        case None:
            return spoken(piece.text)
        case Inside.NUMBER:
            begun = _DIGITS.match(piece.text)
        case Inside.WORD:
            begun = _RUN.match(piece.text)
    assert begun
    rest = spoken(piece.text[begun.end() :])
    if piece.inside is Inside.WORD:
        return rest
    return " ".join(filter(None, (digits(begun[0]), rest)))
