"""The service's log: one line for each event, whatever a client put into it."""

import logging
from typing import Final

_CONTROL: Final = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
"""Characters that end a line, move a terminal's cursor or colour it."""

_ESCAPES: Final = {code: repr(chr(code))[1:-1] for code in _CONTROL}


class OneLine(logging.LogRecord):
    """A record whose message is one line: with a line break in a name, a client could write lines of its own."""

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """See logging."""
        return super().getMessage().rstrip().translate(_ESCAPES)


class Formatter(logging.Formatter):
    """Puts a traceback, whose last lines may quote a client, behind a margin."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        """See logging."""
        lines = super().formatException(ei).splitlines()  # type: ignore[arg-type]
        return "\n".join(f"  | {line.translate(_ESCAPES)}" for line in lines)


def log_to_stderr() -> None:
    """Have this project's log written, and every other one escaped. BentoML configures its own loggers only."""
    logging.setLogRecordFactory(OneLine)
    log = logging.getLogger("voice_agent")
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(Formatter())
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
