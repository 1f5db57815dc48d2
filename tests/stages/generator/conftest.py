"""No account of the developer's own is used; an endpoint for a module; the weights of a small model, fetched once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.stages.generator.serving import Endpoint, says, serving
from voice_agent.config import ModelsSettings
from voice_agent.models import ensure


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def gguf() -> Path:
    """SmolLM2-135M: the smallest of the catalogue. What is tested here holds for any."""
    folder = ensure("smollm2-135m-instruct", directory=ModelsSettings().dir)
    return next(folder.glob("*.gguf"))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def endpoint() -> AsyncIterator[Endpoint]:
    """For tests that share the loop of their module."""
    async with serving(says("Hi.")) as endpoint:
        yield endpoint
