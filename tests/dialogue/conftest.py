"""What the tests of whole sessions share."""

from collections.abc import Iterator

import pytest

from tests.dialogue.calling import ENDPOINT_MS
from voice_agent.dialogue import turn_taking


@pytest.fixture
def plain_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The turn is over after a fixed silence: what the evidence weighs is another test's."""
    monkeypatch.setattr(
        turn_taking, "probability", lambda evidence: float(evidence.silence_ms >= ENDPOINT_MS)
    )


@pytest.fixture(scope="module")
def plain_evidence_throughout() -> Iterator[None]:
    """The same for all tests of a module: hypothesis wants no fixture of a single test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turn_taking, "probability", lambda evidence: float(evidence.silence_ms >= ENDPOINT_MS))
        yield
