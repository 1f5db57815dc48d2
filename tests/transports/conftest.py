"""For every test of a wire."""

import pytest

from voice_agent.transports import pace


@pytest.fixture(autouse=True)
def unpaced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audio is heard as fast as a test sends it, where the test is not about that."""
    if "paced" not in request.keywords:
        monkeypatch.setattr(pace, "AHEAD_S", 3600.0)
