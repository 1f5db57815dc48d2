"""The figures of a level or a run, against turns whose figures are known."""

import numpy as np
import pytest

from tests.lab.results import level, measured, result, turn
from voice_agent.lab.result import Expectation, Underrun
from voice_agent.lab.statistics import complaints, needed, percentiles, quantiles, summarize
from voice_agent.lab.waterfall import bars

SILENT = Expectation(name="no_reply", limit=True, measured=True, met=True)


def test_percentiles_are_those_of_the_turns() -> None:
    values = list(range(1, 201))
    found = summarize(level([turn(float(ms), dialogue=f"{ms}.wav") for ms in values]))
    assert [p.percent for p in found.percentiles] == [50, 90, 95, 99]
    for percentile in found.percentiles:
        assert percentile.ms == pytest.approx(np.percentile(values, percentile.percent))
        assert None not in (percentile.low, percentile.ms, percentile.high)
        assert (percentile.low or 0) <= (percentile.ms or 0) <= (percentile.high or 0)


def test_a_percentile_of_too_few_turns_is_not_given() -> None:
    found = summarize(level([turn(float(ms), dialogue=f"{ms}.wav") for ms in range(10)]))
    assert [percentile.ms is None for percentile in found.percentiles] == [False, False, True, True]
    assert (needed(50), needed(95), needed(99)) == (2, 20, 100)


def test_no_turn_at_all_is_no_error() -> None:
    found = summarize(result())
    assert found.turns == 0
    assert all(percentile.ms is None for percentile in found.percentiles)
    assert (found.word_error_rate, found.cpu_s_per_session_minute, found.line_share) == (None, None, None)


def test_the_interval_holds_the_true_median_nineteen_times_of_twenty() -> None:
    held = 0
    for seed in range(100):
        drawn = np.random.default_rng(seed).normal(600, 100, 40)
        median = percentiles([[float(ms)] for ms in drawn])[0]
        held += (median.low or 0) <= 600 <= (median.high or 0)
    assert 88 <= held <= 99  # binomial: 95 +- 3 standard deviations


def test_repeats_of_a_recording_are_not_so_many_recordings() -> None:
    once = percentiles([[float(ms)] for ms in range(0, 1000, 50)])[0]
    often = percentiles([[float(ms)] * 20 for ms in range(0, 1000, 50)])[0]
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=60)


def test_only_replies_that_were_wanted_and_came_in_time_count_for_speed() -> None:
    found = summarize(
        level(
            [
                turn(500.0),
                turn(700.0),
                turn(-200.0, outcome="cut_in"),
                turn(None, outcome="no_reply"),
                turn(None, outcome="no_reply", expectations=[SILENT]),
                turn(90.0, expectations=[SILENT.model_copy(update={"measured": False, "met": False})]),
            ]
        )
    )
    assert found.percentile(50).ms == 600
    assert (found.turns, found.wanted, found.latencies) == (6, 4, 2)
    assert (found.cut_ins, found.missing, found.failed) == (1, 1, 3)
    assert found.outcomes == {"answered": 3, "cut_in": 1, "no_reply": 2}


def test_words_and_underruns_are_pooled_and_the_server_is_taken_per_session_minute() -> None:
    first = turn(word_errors=4)
    first.underruns = [Underrun(at_ms=300, lasted_ms=40), Underrun(at_ms=900, lasted_ms=20)]
    unknown = turn(word_errors=None)
    found = summarize(result(level([first, turn(), unknown]), level([turn(sessions=2)], sessions=2)))
    assert found.word_error_rate == pytest.approx(4 / 24)
    assert found.underruns == 2
    assert (found.prepared, found.wasted, found.wasted_s) == (120, 20, 8.4)
    assert found.cpu_s_per_session_minute == pytest.approx(60 / (2 + 4))  # 30 s in each; 2 and 2 x 2 minutes
    assert found.memory_mb == 1340


def test_the_network_is_what_is_not_the_server() -> None:
    steps = {"last_speech": 20.0, "vad_stop": 140.0, "end_of_turn": 400.0, "first_audio_sent": 410.0}
    found = summarize(level([turn(440.0, steps=steps)] * 2))
    assert found.line_ms == pytest.approx(50)
    assert found.line_share == pytest.approx(50 / 440)


def test_a_waterfall_says_what_the_reply_waited_for() -> None:
    steps = {
        "last_speech": 10.0,
        "vad_stop": 130.0,
        "transcript": 250.0,
        "end_of_turn": 600.0,
        "llm_first_token": 300.0,
        "first_chunk": 400.0,
        "tts_first_audio": 480.0,
        "first_audio_sent": 603.0,
    }
    by_step = {bar.step: bar for bar in bars(turn(620.0, steps=steps))}
    decisive = [step for step, bar in by_step.items() if bar.decisive]
    assert decisive == ["last_speech", "vad_stop", "end_of_turn", "first_audio_sent", "arrived", "heard"]
    assert sum(by_step[step].lasted for step in decisive) == pytest.approx(640)
    assert (by_step["first_chunk"].start, by_step["first_chunk"].end) == (300, 400)
    late_voice = steps | {"tts_first_audio": 700.0, "first_audio_sent": 703.0}
    assert not next(bar for bar in bars(turn(720.0, steps=late_voice)) if bar.step == "end_of_turn").decisive


def test_without_a_timeline_there_is_the_whole_wait_alone() -> None:
    assert [(bar.label, bar.lasted) for bar in bars(turn(600.0))] == [
        ("reply arrived", 600),
        ("until heard", 20),
    ]


def test_what_was_wrong_is_said() -> None:
    late = Expectation(name="reply_within_ms", limit=500.0, measured=640.0, met=False)
    assert complaints(turn(expectations=[late])) == ["reply_within_ms: 500 wanted, 640 measured"]
    assert complaints(turn(None, outcome="no_reply")) == ["no reply"]
    assert complaints(turn(None, outcome="no_reply", expectations=[SILENT])) == []


def test_the_same_turns_give_the_same_figures() -> None:
    assert summarize(measured(1)) == summarize(measured(1))


def test_quantiles_are_numpys_without_the_gaps() -> None:
    table = np.random.default_rng(0).normal(size=(20, 9))
    table[::2, 3:6] = np.nan
    expected = np.nanquantile(table, [0.1, 0.5, 0.95], axis=1).T
    np.testing.assert_allclose(quantiles(table, np.array([0.1, 0.5, 0.95])), expected)
