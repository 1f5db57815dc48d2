"""The part of a model's text that is for the user: without thoughts, and without remains of its template."""

from typing import Final

from voice_agent.stages.generator.deltas import Delta, Retract, TextDelta, ThoughtDelta
from voice_agent.stages.generator.markers import MARKER, Mark, mark_of, unfinished

_LONGEST_HEADER: Final = 64
"""Characters; a header that is longer is none."""


class ThoughtFilter:
    """Reads a reply that comes in pieces, wherever they cut the markers. Text without markers is not held back.

    Before a closing marker stands a thought, also where nothing opened it (the chat template did): then what
    was taken for text is taken back, as soon as other text or a call follows it. A reply of an endpoint that is known
    for this is begun with `opened`: nothing of it is text until the thought is closed, or the reply is over.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self.ended = False
        """Whether a marker said that the reply is over."""
        self.opened_unseen: bool | None = None
        """Whether the reply began within a thought: found out where it has one, or was thought to have one."""
        self._held = ""
        """Text that may be the beginning of a marker."""
        self._reading = "thought" if opened else "text"  # or "aside", "header"
        self._unclosed: list[str] | None = [] if opened else None
        """The text so far of a thought that may be none."""
        self._header = ""
        self._harmony = False
        self._said = False
        self._retract = False

    def feed(self, text: str) -> list[Delta]:
        """The deltas for `text`, the next piece, and for text that was held back."""
        deltas: list[Delta] = []
        text, self._held, read = self._held + text, "", 0
        for marker in MARKER.finditer(text):
            self._read(text[read : marker.start()], deltas)
            read = marker.end()
            self._marked(mark_of(marker[0]), deltas)
            if self.ended:
                return deltas
        end = len(text) - unfinished(text[read:])
        self._read(text[read:end], deltas)
        self._held = text[end:]
        return deltas

    def end(self, *, whole: bool) -> list[Delta]:
        """The deltas for held back text, once nothing follows; `whole` where the model came to an end by itself."""
        deltas: list[Delta] = []
        held, self._held = self._held, ""
        if not self.ended:
            self._read(held, deltas)
        if self._unclosed is not None and whole:  # it did not think this time
            self.opened_unseen = False
            self._reading = "text"
            self._read("".join(self._unclosed), deltas)
        return deltas

    def answered(self) -> list[Delta]:
        """The answer begins, be it in text or with a call: now what stood before a closing marker was a thought."""
        if not self._retract:
            return []
        self._retract = self._said = False
        self.opened_unseen = True
        return [Retract()]

    def _read(self, text: str, deltas: list[Delta]) -> None:
        if text and self._reading == "header":
            text = self._past_header(text)
        if not text:
            return
        if self._reading != "text":
            if self._unclosed is not None:
                self._unclosed.append(text)
            deltas.append(ThoughtDelta(text))
            return
        if text.strip():
            deltas += self.answered()
        if not self._said or self._retract:
            text = text.lstrip()
        if text:
            self._said = True
            deltas.append(TextDelta(text))

    def _past_header(self, text: str) -> str:
        """The part of `text` behind the header."""
        self._header += text
        if self._harmony or ("\n" not in self._header and len(self._header) <= _LONGEST_HEADER):
            return ""
        header, end, rest = self._header.partition("\n")
        self._reading, self._header = "text", ""
        return rest if end else header

    def _marked(self, mark: Mark, deltas: list[Delta]) -> None:
        match mark:
            case Mark.THOUGHT | Mark.ASIDE:
                self._unclosed = None
                self._reading = "thought" if mark is Mark.THOUGHT else "aside"
            case Mark.ANSWER if self._reading == "thought":
                if self._unclosed is not None:
                    self.opened_unseen, self._unclosed = True, None
                self._reading = "text"
            case Mark.ANSWER:
                self._reading = "text"
                self._retract = self._said
            case Mark.ASIDE_OVER:
                self._reading = "text"
            case Mark.CHANNEL:
                self._unclosed = None
                if self._reading != "header":  # who speaks, and to whom, may stand before it
                    self._reading, self._header = "header", ""
                self._harmony = True
            case Mark.BODY if self._reading == "header":
                channel = self._header.split("assistant")[-1].strip()
                thinks = channel.startswith("analysis") or " to=" in self._header
                self._reading = "thought" if self._harmony and thinks else "text"
                self._header = ""
            case Mark.HEADER | Mark.SPEAKER | Mark.MESSAGE_OVER if not self._harmony:
                if self._said or mark is Mark.MESSAGE_OVER:
                    self.ended = True
                elif mark is Mark.HEADER:
                    self._reading, self._header = "header", ""
            case Mark.HEADER | Mark.MESSAGE_OVER:
                self._reading, self._header = "header", ""
            case Mark.REPLY_OVER:
                self.ended = True
            case _:
                pass
