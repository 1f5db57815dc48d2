"""The fitting of the weights: its material, its limits, and that it learns."""

import numpy as np
import pytest

from voice_agent.audio import RATE, Pcm16
from voice_agent.dialogue.end_of_turn import Evidence, Terms
from voice_agent.lab.fit_endpoint import (
    PRIOR,
    SIGNS,
    Material,
    Sample,
    cut,
    fit,
    noisy,
    source_of,
    telephone,
    weighed,
)
from voice_agent.lab.replay import Moment

TEXT = "Can I have a small latte with soy milk?"


def silence(start: float, lasts_ms: float, audio: float) -> list[Moment]:
    frames = np.arange(120, lasts_ms, 20)
    return [Moment(start + ms / 1000, 0.0, Evidence(ms, 1000, audio, TEXT, "", ())) for ms in frames]


def turn(pause_ms: float, pause_audio: float, end_audio: float, source: str = "one") -> Sample:
    """A turn of 3 s with a pause after 1 s."""
    moments = [*silence(1.0, pause_ms, pause_audio), *silence(3.0, 4000, end_audio)]
    return Sample(source, "original", "query", True, 3.0, moments)


def tone(seconds: float) -> Pcm16:
    pcm: Pcm16 = (8000 * np.sin(np.arange(round(seconds * RATE)) * 0.2)).astype(np.int16)
    return pcm


def test_it_makes_the_loss_less_and_keeps_the_signs() -> None:
    material = Material([turn(pause_ms, 0.3, 0.9) for pause_ms in (200, 500, 800, 1500)])
    weights = fit(material, np.ones(4))
    assert material.loss(np.array(weights), np.ones(4)) < material.loss(np.array(PRIOR), np.ones(4))
    assert all(weight * sign >= 0 for weight, sign in zip(weights, SIGNS, strict=True))


def test_what_is_held_out_teaches_nothing() -> None:
    material = Material([turn(900, 0.2, 0.99), turn(900, 0.9, 0.2)])
    alone = Material([turn(900, 0.2, 0.99)])
    assert fit(material, np.array([1.0, 0.0])) == pytest.approx(fit(alone, np.ones(1)), abs=0.02)


def test_a_pause_that_is_committed_is_a_price_and_not_a_delay() -> None:
    eager, patient = (np.array(PRIOR._replace(bias=bias)) for bias in (5.0, -3.0))
    material = Material([turn(600, 0.9, 0.9), turn(100, 0.9, 0.9)])
    assert material.loss(eager, np.ones(2)) > 2
    assert material.loss(patient, np.ones(2)) < 2


def test_weighed_clips_have_the_probabilities_of_the_weights() -> None:
    clip = weighed(turn(900, 0.2, 0.99), Terms(*([0.0] * len(Terms._fields))))
    assert {moment.probability for moment in clip.replay.moments} == {0.5, 1.0}


def test_variants_keep_what_was_said() -> None:
    pcm, rng = tone(2), np.random.default_rng(0)
    assert np.corrcoef(telephone(pcm)[: len(pcm)], pcm[: len(telephone(pcm))])[0, 1] > 0.95
    assert np.corrcoef(noisy(pcm, rng)[: len(pcm)], pcm)[0, 1] > 0.8
    short = cut(pcm, 2.0, rng)
    assert 0.2 * len(pcm) < len(short) < len(pcm)
    np.testing.assert_array_equal(short, pcm[: len(short)])


def test_recordings_of_one_collection_are_held_out_together() -> None:
    assert source_of("hesitation/mfa_um.wav") == source_of("hesitation/mfa_words.wav")
    assert source_of("noisy/0334e17c_rir1.wav") == source_of("commands/0334e17c.wav")
    assert source_of("commands/0334e17c.wav") != source_of("commands/0704c731.wav")
