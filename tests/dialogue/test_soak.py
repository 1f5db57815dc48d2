"""A hundred hours of conversation, each of another seed, on both wires: `make soak`, for it takes a while.

What fails is tried again by its test's name, and looked at with `converse(seed, SECONDS, WIRES[wire])`.
"""

import logging

import pytest

from tests.dialogue.simulation import WIRES, check, converse

SECONDS = 3600
HOURS = 100


@pytest.mark.soak
@pytest.mark.parametrize("wire", sorted(WIRES))
@pytest.mark.parametrize("seed", range(1000, 1000 + HOURS // len(WIRES)))
def test_an_hour(seed: int, wire: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL + 1, "voice_agent"):  # thousands of failures are drawn
        check(converse(seed, SECONDS, WIRES[wire]))
