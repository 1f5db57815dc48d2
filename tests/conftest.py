"""Engines that several test files use: loaded once."""

import asyncio
from collections.abc import Iterator

import pytest

from voice_agent.config import ModelsSettings, SttSettings
from voice_agent.stages.transcriber import FasterWhisper


@pytest.fixture(scope="session")
def whisper() -> Iterator[FasterWhisper]:
    """The default transcriber, started. It belongs to no event loop: every test may use it from its own."""
    engine = FasterWhisper(SttSettings(), ModelsSettings())
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())
