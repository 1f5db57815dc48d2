"""The body of an answer, as bytes come, to the JSON documents in it.

Server-sent events as the HTML standard has them (section 9.2), and what endpoints make of them: no blank line
between two events, another content type, one plain JSON document or one on each line instead of a stream.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

DONE: Final = object()
"""The endpoint says that its stream is over: `data: [DONE]`."""

MAX_EVENT_BYTES: Final = 4 * 2**20
"""A document longer than this is taken for an endless one. Far above any token: a whole reply has some kilobytes."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r(?!\Z)")  # "\r" at the very end: "\n" may follow
_FIELD: Final = re.compile(r"(data|event|id|retry)(?::|\Z) ?")
_DONE_WORDS: Final = frozenset({"[done]", "done", '"[done]"'})


class NotAStreamError(ValueError):
    """The body is no stream of chat completions, nor one in a document."""


class EventDecoder:
    """Cuts a body into its JSON documents, wherever the bytes are cut. Each is given as soon as it is whole."""

    def __init__(self) -> None:
        self._bytes = b""
        self._event = ""
        """Name of the event that is being read; empty for the usual ones."""
        self._data = ""
        """Of the document that is being read."""
        self._bare: bool | None = None
        """Whether the body is JSON itself; None before its first line."""

    def feed(self, piece: bytes) -> Iterator[Any]:
        """The documents, and `DONE`s, that `piece` completes; to be read to the end.

        Raises:
            NotAStreamError: what came is neither events nor JSON.
        """
        self._bytes += piece
        if len(self._bytes) + len(self._data) > MAX_EVENT_BYTES:
            raise NotAStreamError(f"an event of over {MAX_EVENT_BYTES // 2**20} MiB")
        *lines, self._bytes = _LINE_END.split(self._bytes)
        for line in lines:
            yield from self._line(line)

    def end(self) -> Iterator[Any]:
        """The document that the end of the body completes.

        Raises:
            NotAStreamError: it ended in the midst of a document.
        """
        line, self._bytes = self._bytes.rstrip(b"\r\n"), b""
        yield from self._line(line)
        yield from self._blank()

    def _line(self, line: bytes) -> list[Any]:
        text = line.decode("utf-8", errors="replace").removeprefix("\ufeff")
        if not text.strip():
            return [] if self._bare else self._blank()
        if self._bare is None:
            self._bare = _is_bare(text)
        if self._bare:
            return self._document(text)
        field = _FIELD.match(text)
        if field and field[1] == "data":
            return self._document(text[field.end() :])
        if field and field[1] == "event":
            self._event = text[field.end() :].strip().lower()
        return []  # a comment, or a field that says nothing

    def _document(self, text: str) -> list[Any]:
        """One more line of a document. Mostly it is all of it, and that is known before a blank line comes."""
        self._data = f"{self._data}\n{text}" if self._data else text
        if self._data.strip().lower() in _DONE_WORDS:
            self._data = ""
            return [DONE]
        if self._data is not text and not text.rstrip().endswith(("}", "]")):
            return []  # in the midst of one that has many lines
        try:
            document = json.loads(self._data)
        except (ValueError, RecursionError):
            return []  # more of it may come
        return [self._named(document)]

    def _blank(self) -> list[Any]:
        """The end of an event: what is no document by now never will be."""
        data, event = self._data.strip(), self._event
        self._data = self._event = ""
        if data and event == "error":
            return [{"error": data}]
        if data:
            raise NotAStreamError(f"this is not JSON: {data[:200]}")
        return []

    def _named(self, document: Any) -> Any:
        """The document; under the name of an error it is one, whatever it looks like."""
        self._data = ""
        is_error = self._event == "error" and not (isinstance(document, dict) and document.get("error"))
        return {"error": document} if is_error else document


def _is_bare(line: str) -> bool:
    """Whether a body that begins with `line` is JSON, and not events."""
    if line.lstrip()[0] in "{[":
        return True
    if not (_FIELD.match(line) or line.startswith(":")):
        raise NotAStreamError(f"it begins with {line.strip()[:100]!r}")
    return False
