"""What came out of a page's speaker and into its microphone, on one clock: recorder.js, from this side."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page
from scipy.signal import correlate, resample_poly

from tests.web.microphone import Utterance
from voice_agent.audio import RATE, Pcm16, read_audio

SCRIPT = Path(__file__).with_name("recorder.js")
"""For `add_init_script`, before the page is opened. The page's own policy does not allow it: see `visit`."""

AUDIBLE = 100
"""Amplitude from which a sample counts as sound: -50 dBFS."""
PAUSE_S = 0.25
"""Sound is over when none follows for this long: no pause within a word lasts so."""


@dataclass(frozen=True)
class Message:
    """What the server sent, and when the page got it, in seconds on the clock."""

    at: float
    behind: float
    """How far the clock is behind the browser's, in seconds, from any zero. It grows when a machine under load has no
    time to render the sound: the clock then stands still."""
    fields: dict[str, Any]


@dataclass(frozen=True)
class Heard:
    """A call as it was heard; times are seconds on the clock of its AudioContext, which begins with it."""

    rate: int
    speaker: Pcm16
    microphone: Pcm16
    messages: tuple[Message, ...]

    def first_sound(self, after: float) -> float:
        """When the speaker is first heard.

        Raises:
            AssertionError: It never is.
        """
        loud = self._loud(after)
        assert loud.size, f"nothing was heard after {after:.2f} s"
        return float(loud[0] / self.rate)

    def silent_since(self, after: float) -> float:
        """From when on the speaker is silent, for `PAUSE_S` at least; `after` itself if it already is."""
        loud = np.concatenate([[round(after * self.rate)], self._loud(after)])
        ends = np.flatnonzero(np.diff(loud) >= PAUSE_S * self.rate)
        return float(loud[ends[0] if ends.size else -1] / self.rate)

    def between(self, start: float, end: float | None = None) -> Pcm16:
        """What the speaker played, at `RATE`, as the transcriber takes it."""
        piece = self.speaker[round(start * self.rate) : None if end is None else round(end * self.rate)]
        return self._at_rate(piece)

    def spoken(self, utterance: Utterance) -> tuple[float, float]:
        """When the microphone heard the speech of this utterance: its start and its end.

        The clip is sought in what came through the browser's own processing, which changes its level and colour but
        not its place.
        """
        recording = utterance.recording
        assert recording.speech_start is not None and recording.speech_end is not None
        clip = read_audio(recording.path)[
            round(recording.speech_start * RATE) : round(recording.speech_end * RATE)
        ]
        heard = self._at_rate(self.microphone).astype(np.float64)
        likeness = np.abs(correlate(heard, clip.astype(np.float64), mode="valid"))
        start = int(likeness.argmax()) / RATE
        return start, start + len(clip) / RATE

    def messages_of(
        self, kind: str, true: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> list[Message]:
        """Those of this type of which it is true."""
        return [
            message for message in self.messages if message.fields["type"] == kind and true(message.fields)
        ]

    def _loud(self, after: float) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        first = round(after * self.rate)
        return np.flatnonzero(np.abs(self.speaker[first:].astype(np.int32)) >= AUDIBLE) + first

    def _at_rate(self, pcm: Pcm16) -> Pcm16:
        return np.asarray(resample_poly(pcm.astype(np.float64), RATE, self.rate), np.int16)


def messages(page: Page, call: int = -1) -> tuple[Message, ...]:
    """What the server sent so far in one of the page's calls, the last by default."""
    raw = page.evaluate("call => recordings.at(call)?.messages ?? []", call)
    return tuple(Message(at, behind, json.loads(text)) for at, behind, text in raw)


def heard(page: Page, call: int = -1) -> Heard:
    """What was heard so far in one of the page's calls, the last by default."""
    raw = page.evaluate("call => window.heard(call)", call)
    return Heard(
        round(raw["rate"]),
        _samples(raw["speaker"]),
        _samples(raw["microphone"]),
        messages(page, call),
    )


def _samples(text: str) -> Pcm16:
    return np.frombuffer(base64.b64decode(text), "<i2").astype(np.int16)
