"""Puts one reply together from the documents of a stream, without waiting."""

from contextlib import suppress
from typing import Final

from voice_agent.stages.generator.calls import Calls
from voice_agent.stages.generator.characters import Characters
from voice_agent.stages.generator.chunks import StreamChunk, read_chunk
from voice_agent.stages.generator.deltas import Delta, Finish, FinishReason, TextDelta, ThoughtDelta, Usage
from voice_agent.stages.generator.events import DONE
from voice_agent.stages.generator.failures import EndpointError
from voice_agent.stages.generator.thoughts import ThoughtFilter

MAX_CHARACTERS: Final = 2**20
"""Of a reply, thoughts and calls included. An endpoint that heeds no limit is cut off here, as by `length`."""


class ReplyReader:
    """Takes the documents of one stream, and gives the deltas; `Finish` it gives by `finish`, once it is over."""

    def __init__(self, *, opened: bool = False) -> None:
        """`opened`: see `ThoughtFilter`."""
        self.over: FinishReason | None = None
        """Why the reply is over, as far as is known: some endpoints say so with each piece, and go on."""
        self.ends = 0
        """How often that was said, each time with more text before it."""
        self.closed = False
        """Whether it is over for good; what comes then can only tell its usage."""
        self._early: FinishReason | None = None
        """Why it would be over, said before there was anything of it."""
        self._usage: Usage | None = None
        self._filter = ThoughtFilter(opened=opened)
        self._said, self._thought = Characters(), Characters()
        self._calls = Calls()
        self._spoke = self._pieces = False
        self._characters = 0

    @property
    def opened_unseen(self) -> bool | None:
        """See `ThoughtFilter`."""
        return self._filter.opened_unseen

    def feed(self, document: object) -> list[Delta]:
        """The deltas of the next document of the stream.

        Raises:
            EndpointError: the endpoint failed.
        """
        if self.closed or (self.over and document is not DONE and not _is_chunk(document)):
            self._take_usage(document)
            return []
        if document is DONE:
            reason = self.over or self._early
            return self._end(reason or "stop")
        chunk = read_chunk(document)
        self._usage = chunk.usage or self._usage
        more = bool(chunk.thought or chunk.calls or (chunk.text and not (chunk.whole and self._pieces)))
        deltas = self._content(chunk)
        for piece in chunk.calls:
            if calls := self._calls.feed(piece):
                deltas += [*self._filter.answered(), *calls]
        self._characters += (
            len(chunk.thought) + len(chunk.text) + sum(len(str(piece)) for piece in chunk.calls)
        )
        if self._filter.ended:
            return deltas + self._end("stop")
        if self._characters > MAX_CHARACTERS:
            return deltas + self._end("length")
        self._note_reason(chunk.finish, more)
        return deltas

    def end_of_stream(self) -> list[Delta]:
        """The deltas that the end of the stream makes known, if the reply was not over before.

        Raises:
            EndpointError: it ended before the model said or called anything.
        """
        if self.closed:
            return []
        reason = self.over or self._early
        deltas = self._end(reason or "stop", whole=bool(reason))
        if not (reason or self._spoke or self._calls.made):
            raise EndpointError("its stream ended before the reply began")
        return deltas

    def finish(self) -> Finish:
        """The last delta."""
        assert self.over
        return Finish(self.over, self._usage)

    def _content(self, chunk: StreamChunk) -> list[Delta]:
        deltas: list[Delta] = []
        if thought := self._thought.feed(chunk.thought):
            deltas.append(ThoughtDelta(thought))
        if chunk.whole and self._pieces:
            return deltas  # said already, in pieces
        self._pieces |= bool(chunk.text) and not chunk.whole
        return deltas + self._noted(self._filter.feed(self._said.feed(chunk.text)))

    def _end(self, reason: FinishReason, *, whole: bool = True) -> list[Delta]:
        deltas = self._noted(self._filter.feed(self._said.end()))
        whole = whole and reason == "stop" and not self._calls.made
        deltas += self._noted(self._filter.end(whole=whole))
        deltas += self._calls.end()
        self.over = "tool_calls" if self._calls.made and reason == "stop" else reason
        self.closed = True
        return deltas

    def _note_reason(self, reason: FinishReason | None, more: bool) -> None:
        """Take down that the reply is over; `more`: the same chunk has something of it."""
        if more:
            self.over = None
        if reason and not self._characters:
            self._early = self._early or reason
        elif reason and not self.over:
            self.over, self.ends = reason, self.ends + 1

    def _noted(self, deltas: list[Delta]) -> list[Delta]:
        self._spoke |= any(isinstance(delta, TextDelta) for delta in deltas)
        return deltas

    def _take_usage(self, document: object) -> None:
        with suppress(EndpointError):  # the reply is whole
            self._usage = read_chunk(document).usage or self._usage


def _is_chunk(document: object) -> bool:
    """Whether it can be read; a reply that is whole is not lost to what comes behind it."""
    with suppress(EndpointError):
        read_chunk(document)
        return True
    return False


def is_output(delta: Delta) -> bool:
    """Whether `delta` is part of the answer: after it no other attempt can take this one's place."""
    return not isinstance(delta, ThoughtDelta | Finish)
