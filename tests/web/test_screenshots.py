"""The pictures in the README: they are what the page looks like now.

`make screenshots` takes them anew.
"""

import os
from pathlib import Path
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Browser, expect

from tests.fixtures import packaged
from tests.web.conftest import Talk, begin
from tests.web.site import Site
from tests.web.visit import visit
from voice_agent.audio import Pcm16, read_audio

IMAGES = Path(__file__).parents[2] / "docs" / "images"
UPDATE = "UPDATE_SCREENSHOTS" in os.environ

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
CELL = 8
"""Pictures are compared by the mean of squares of so many pixels: fonts are not drawn alike on every machine."""
DIFFERENT = 24
"""Of 255, from which a square is another."""
SHARE = 0.04
"""Of the squares that may be others: the levels move, and a latency is never twice the same."""

STEPS = {
    "last_speech": 0.0,
    "vad_stop": 62.0,
    "transcript": 297.0,
    "end_of_turn": 640.0,
    "llm_first_token": 409.0,
    "first_chunk": 518.0,
    "tts_first_audio": 586.0,
    "first_audio_sent": 690.0,
}
"""The middle of what was measured on two cores (docs/latency.md)."""
ANSWER_AFTER_S = 0.69


def converse(talk: Talk) -> None:
    """Two turns and the half of a third; the agent has the floor at the end."""
    answer(talk, 1, "Do you still have sourdough today?")
    talk.site.do(talk.call.begin(1, "Yes, there are two loaves left. ", voice(2.0)))
    talk.wait_until_played(1, 1900)
    talk.site.do(talk.call.end(1, steps=STEPS))

    talk.hear(2, "What's in the rye bread?")
    talk.site.do(
        talk.call.begin(2, "Whole rye, water, salt, and a sourdough that is fed every evening.", voice(4.0))
    )
    talk.visit.expect_floor("speaking")
    talk.visit.page.wait_for_timeout(1800)
    talk.site.do(talk.call.end(2, "interrupted", heard="Whole rye, water, salt,"))

    answer(talk, 3, "Great, keep one loaf of it for me, please.")
    # The words are over before the sound is, so that all of them are there while it speaks.
    talk.site.do(talk.call.send("response_started", response="r3", turn=3))
    said = "One rye loaf is put aside for you until six."
    talk.site.do(talk.call.send("response_text", response="r3", text=said, start_ms=0))
    talk.site.do(talk.call.send("response_text_ended", response="r3", end_ms=800))
    talk.site.do(talk.call.play(voice(6.0)))
    expect(talk.visit.agent.last.locator(".spoken")).to_have_text(said)


def answer(talk: Talk, turn: int, text: str) -> None:
    """The user has just said this, and waits for as long as a user does."""
    samples = sum(len(pcm) for _, pcm in talk.call.frames)
    talk.site.do(talk.call.send("speech_stopped", ms=samples // 16))
    talk.hear(turn, text)
    talk.visit.page.wait_for_timeout(ANSWER_AFTER_S * 1000)


def voice(seconds: float) -> Pcm16:
    speech = np.concatenate([read_audio(recording.path, 24_000) for recording in packaged()[-4:]])
    return speech[: round(seconds * 24_000)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_looks_as_it_does_in_the_readme(
    browser: Browser, served: Site, tmp_path: Path, scheme: Literal["light", "dark"], size: str
) -> None:
    width, height = SIZES[size]
    viewport = {"width": width, "height": height}
    with visit(browser, served.http, record=False, color_scheme=scheme, viewport=viewport) as visited:
        talk = begin(visited, served)
        converse(talk)
        if size == "desktop":
            visited.page.locator("button.latency").first.click()
        visited.page.mouse.move(0, 0)
        visited.page.locator("[role=log]").evaluate("log => log.scrollTop = log.scrollHeight")
        visited.page.wait_for_timeout(1200)  # so that there is a level to be seen
        taken = (IMAGES if UPDATE else tmp_path) / f"{size}-{scheme}.png"
        visited.page.screenshot(path=taken)
    new, old = squares(taken), squares(IMAGES / taken.name)
    assert new.shape == old.shape
    assert np.mean(np.abs(new - old).max(axis=-1) > DIFFERENT) < SHARE, "the page changed: `make screenshots`"


def squares(path: Path) -> npt.NDArray[np.float64]:
    """The picture's colours, each the mean of a square."""
    with av.open(str(path)) as file:
        pixels = next(file.decode(video=0)).to_ndarray(format="rgb24").astype(float)
    height, width = (side - side % CELL for side in pixels.shape[:2])
    cells = pixels[:height, :width].reshape(height // CELL, CELL, width // CELL, CELL, 3)
    return np.asarray(cells.mean(axis=(1, 3)))
