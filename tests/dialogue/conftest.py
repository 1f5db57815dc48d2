"""What the tests of whole sessions share."""

import pytest

from tests.dialogue.calling import ENDPOINT_MS
from voice_agent.dialogue import turn_taking


@pytest.fixture
def plain_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The turn is over after a fixed silence: what the evidence weighs is another test's."""
    monkeypatch.setattr(
        turn_taking, "probability", lambda evidence: float(evidence.silence_ms >= ENDPOINT_MS)
    )
