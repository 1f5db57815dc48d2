"""Engines that several test files use: loaded once."""

import asyncio
from collections.abc import Iterator

import pytest

from tests import browser
from tests.chromium import Launch, chromium, skipped
from voice_agent.config import ModelsSettings, SttSettings
from voice_agent.stages.transcriber import FasterWhisper


@pytest.fixture(scope="session")
def whisper() -> Iterator[FasterWhisper]:
    """The default transcriber, started. It belongs to no event loop: every test may use it from its own."""
    engine = FasterWhisper(SttSettings(), ModelsSettings())
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def launch() -> Iterator[Launch]:
    """Starts browsers. No test of the same module may be asynchronous: Playwright's own loop runs in this thread."""
    with chromium() as launch:
        yield launch


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of the run: what was left out for want of a browser."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter and (count := skipped(config)):
        reporter.write_line(f"{count} tests of the page did not run: {browser.MISSING}", red=True)
