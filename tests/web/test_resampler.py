"""The worklets' resampler, in the browser that runs it."""

import numpy as np
import pytest

from tests.web.visit import Visit

TONE = """async ([from, to, hertz, seconds]) => {
    const { Resampler } = await import("/worklets/resampler.js");
    const resampler = new Resampler(from, to);
    const samples = [];
    for (let block = 0; block * 128 < seconds * from; block++) {
        const tone = (_, n) => Math.sin((2 * Math.PI * hertz * (block * 128 + n)) / from);
        samples.push(...resampler.feed(Float32Array.from({ length: 128 }, tone)));
    }
    return samples;
}"""
SECONDS = 0.5
RATES = [(48_000, 16_000), (44_100, 16_000), (96_000, 16_000), (24_000, 48_000), (24_000, 44_100)]


def level_db(visited: Visit, rates: tuple[int, int], hertz: float) -> float:
    """How loud a tone comes out, against how it went in."""
    samples = np.array(visited.page.evaluate(TONE, [*rates, hertz, SECONDS]))
    assert len(samples) == pytest.approx(SECONDS * rates[1], abs=rates[1] * 0.005)
    settled = samples[len(samples) // 4 :]
    return float(10 * np.log10(2 * np.mean(settled**2) + 1e-12))


@pytest.mark.parametrize("rates", RATES)
def test_speech_passes_as_it_is(visited: Visit, rates: tuple[int, int]) -> None:
    for hertz in (150, 1000, 6000):
        assert level_db(visited, rates, hertz) == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("rates", [(above, below) for above, below in RATES if above > below])
def test_what_the_lower_rate_cannot_hold_does_not_fold_back(visited: Visit, rates: tuple[int, int]) -> None:
    assert level_db(visited, rates, 8400) < -40
    assert level_db(visited, rates, 9500) < -80
    assert level_db(visited, rates, 15_000) < -80


def test_equal_rates_change_nothing(visited: Visit) -> None:
    samples = visited.page.evaluate(TONE, [16_000, 16_000, 1000, SECONDS])
    expected = np.sin(2 * np.pi * 1000 * np.arange(len(samples)) / 16_000)
    assert np.abs(np.array(samples) - expected).max() < 1e-5
