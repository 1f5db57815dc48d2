"""The part of a model's text that is for the user: without thoughts, and without remains of its template."""

import re
from typing import Final

from voice_agent.stages.generator.deltas import Delta, Retract, TextDelta, ThoughtDelta
from voice_agent.stages.generator.markers import MARKER, Mark, is_mentionable, mark_of, unfinished
from voice_agent.stages.generator.places import Place

_LONGEST_HEADER: Final = 64
"""Characters; a header that is longer is none."""
_CALL: Final = re.compile(r"[{\[<]\s*[\w\"'{]")
"""What looks like a call of a function, in JSON or in tags."""
_MAYBE_TEXT: Final = {(1, "thought"), (0, "aside")}
"""How deep in thoughts, and in what, the text may yet be for the user."""


class ThoughtFilter:
    """Reads a reply that comes in pieces, wherever they cut the markers. Text without markers is not held back.

    Before a closing marker stands a thought, also where nothing opened it (the chat template did): then what
    was taken for text is taken back, once in a reply, as soon as other text or a call follows it. A reply of an
    endpoint that is known for this is begun with `opened`: nothing of it is text until the thought is closed, or
    the reply is over. A marker amid a sentence, or within backticks, is only mentioned there: it is text.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self.ended = False
        """Whether a marker said that the reply is over."""
        self.opened_unseen: bool | None = None
        """Whether the reply began within a thought: found out where it has one, or was thought to have one."""
        self._held = ""
        """Text that may be the beginning of a marker."""
        self._mentioned = ""
        """A marker amid a sentence, and white space: text, if the sentence goes on after it."""
        self._mentioned_open = 0
        """Opening markers that were only mentioned, without a closing one yet."""
        self._place = Place()
        self._reading = "thought" if opened else "text"  # or "aside", "header"
        self._around = "text"
        """What is read after an aside."""
        self._depth = 1 if opened else 0
        """Thoughts that are open, one within the other."""
        self._assumed = opened
        """Whether nothing has shown yet that there is a thought."""
        self._unclosed: list[str] | None = [] if opened else None
        """The text so far of a thought or an aside that may be none."""
        self._header = ""
        self._harmony = False
        self._said = False
        self._retract = False
        self._retracted = False

    def feed(self, text: str) -> list[Delta]:
        """The deltas for `text`, the next piece, and for text that was held back."""
        deltas: list[Delta] = []
        text, self._held, read = self._held + text, "", 0
        for marker in MARKER.finditer(text):
            self._read(text[read : marker.start()], deltas)
            read = marker.end()
            self._found(marker[0], deltas)
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
        if self._unclosed is not None and whole:
            if self._assumed:  # it did not think this time
                self.opened_unseen = False
            text, aside = "".join(self._unclosed), self._reading == "aside" and self._around == "text"
            if not (aside and _CALL.search("".join(self._unclosed[1:]))):
                self._reading, self._place = "text", Place()
                self._read(text, deltas)
        return deltas

    def answered(self) -> list[Delta]:
        """The answer begins, be it in text or with a call: now what stood before a closing marker was a thought."""
        if not self._retract:
            return []
        self._retract = self._said = False
        self._retracted = True
        self.opened_unseen = True
        return [Retract()]

    def _read(self, text: str, deltas: list[Delta]) -> None:
        if text and self._reading == "header":
            text = self._past_header(text)
        if self._mentioned and text:
            mentioned, self._mentioned = self._mentioned, ""
            if not text.strip():
                self._mentioned = mentioned + text
                return
            marker = mentioned.rstrip()
            text, mark = mentioned[len(marker) :] + text, mark_of(marker)
            if self._acts_yet(mark, text):
                self._marked(mark, marker, deltas)
                self._place = Place()
            else:
                text = marker + text
        if not text:
            return
        self._place.feed(text)
        if self._reading != "text":
            if self._unclosed is not None and (self._depth, self._reading) in _MAYBE_TEXT:
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

    def _found(self, marker: str, deltas: list[Delta]) -> None:
        mark = mark_of(marker)
        if self._is_mentioned(marker, mark):
            self._mentioned_open += mark is Mark.THOUGHT
            if self._reading == "text":
                self._mentioned += marker
            else:
                self._read(marker, deltas)
            return
        self._mentioned = ""
        before = self._reading
        self._marked(mark, marker, deltas)
        if self._reading != before or self._retract:
            self._place = Place()

    def _is_mentioned(self, marker: str, mark: Mark) -> bool:
        if self._reading == "header" or not is_mentionable(marker):
            return False
        match mark, self._reading:
            case Mark.THOUGHT, "thought":
                return self._place.in_code
            case Mark.ANSWER, "thought":  # a stray backtick must not keep the answer back
                return self._place.in_code and self._place.after == "`"
            case ((Mark.ANSWER | Mark.ASIDE_OVER), "aside"):
                return False
            case Mark.NOTHING, "text" if self._said and not self._retract:
                return True  # it is a special token only where a reply begins
        return self._place.amid

    def _acts_yet(self, mark: Mark, text: str) -> bool:
        """Whether a marker amid a sentence is one, for `text` follows it: a call; or an answer, after a thought that
        ends without a mark: it touches the thought's last word, or a new line or a capital follows."""
        following = text.lstrip()
        if mark is Mark.ASIDE:
            return following.startswith(("{", "["))
        if mark is not Mark.ANSWER or self._place.in_code:
            return False
        if self._mentioned_open:  # it closes what was only mentioned, too
            self._mentioned_open -= 1
            return False
        new_line = "\n" in text[: len(text) - len(following)]
        return new_line or following[:1].isupper() or not self._place.after.isspace()

    def _marked(self, mark: Mark, marker: str, deltas: list[Delta]) -> None:
        match mark:
            case Mark.THOUGHT | Mark.ANSWER:
                self._thought_marked(mark, marker)
            case Mark.ASIDE if self._reading != "aside":
                self._around = self._reading
                if self._reading == "text":
                    self._unclosed = [marker]
                self._reading = "aside"
            case Mark.ASIDE_OVER if self._reading == "aside":
                self._reading = self._around
                if self._reading == "text":
                    self._unclosed = None
            case Mark.CHANNEL:
                self._unclosed, self._depth = None, 0
                if self._reading != "header":  # who speaks, and to whom, may stand before it
                    self._reading, self._header = "header", ""
                self._harmony = True
            case Mark.BODY if self._reading == "header":
                channel = self._header.split("assistant")[-1].strip()
                thinks = channel.startswith("analysis") or " to=" in self._header
                self._reading = "thought" if self._harmony and thinks else "text"
                self._depth = int(self._reading == "thought")
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

    def _thought_marked(self, mark: Mark, marker: str) -> None:
        thinks = self._reading == "thought" or (self._reading == "aside" and self._around == "thought")
        if mark is Mark.THOUGHT:
            if not thinks:
                self._depth, self._unclosed = 1, [marker] if self._said and not self._retract else None
            elif self._assumed and not "".join(self._unclosed or ()).strip():
                self._assumed, self._unclosed = False, None  # what was assumed is opened here
            else:
                self._depth += 1
            self._reading = "thought"
        elif thinks:
            self._depth -= 1
            if self._depth <= 0:
                self.opened_unseen = True if self._assumed else self.opened_unseen
                self._reading, self._unclosed, self._assumed = "text", None, False
            else:
                self._reading = "thought"
                if not self._assumed:
                    self._unclosed = []  # where the inner one was only mentioned, the answer begins here
        else:
            self._retract = self._said and self._reading == "text" and not self._retracted
            self._reading, self._unclosed = "text", None
