"""One line for each thing, whatever is in it."""

import io
import logging
from collections.abc import Iterator

import pytest

from voice_agent.logs import Formatter, OneLine

FORGED = "x\n2026-01-01 00:00:00,000 ERROR voice_agent all is lost\r\x1b[31m\x85\u2028red\x00"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a logger like the service's writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter())
    log = logging.getLogger("one-line")
    log.addHandler(handler)
    log.propagate = False
    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(OneLine)
    yield stream
    logging.setLogRecordFactory(factory)
    log.removeHandler(handler)


def test_what_a_client_sent_writes_no_line_of_its_own(written: io.StringIO) -> None:
    logging.getLogger("one-line").warning("call %s: began", FORGED)
    lines = written.getvalue().splitlines()
    assert len(lines) == 1
    assert r"x\n2026-01-01 00:00:00,000 ERROR voice_agent all is lost\r\x1b[31m\x85\u2028red\x00" in lines[0]


def test_nor_does_it_in_a_traceback(written: io.StringIO) -> None:
    try:
        raise ValueError(FORGED)
    except ValueError:
        logging.getLogger("one-line").exception("a session failed")
    first, *traceback = written.getvalue().splitlines()
    assert first.endswith("ERROR one-line a session failed")
    assert traceback
    assert all(line.startswith("  | ") for line in traceback)
    assert "\x1b" not in written.getvalue()
