"""What is called a difference, and what is not; and the bars of `--fail-if`."""

from pathlib import Path

import pytest
from rich.console import Console

from tests.lab.results import level, measured, result, turn
from voice_agent.errors import LabError, SettingsError
from voice_agent.lab.compare import Comparison, compare, read_result, table
from voice_agent.lab.fail_if import fail_if, parse
from voice_agent.lab.result import Result

TRIALS = 20
NEEDED = 19


def names(comparison: Comparison) -> set[str]:
    return {difference.name for difference in comparison.regressed}


def pairs(slower_ms: float) -> list[Comparison]:
    return [
        compare(result(measured(1000 + 2 * seed)), result(measured(1001 + 2 * seed, slower_ms=slower_ms)))
        for seed in range(TRIALS)
    ]


def test_a_regression_of_80_ms_is_found_and_placed() -> None:
    found = [names(comparison) for comparison in pairs(80)]
    assert sum("typical voice-to-voice" in one for one in found) >= NEEDED
    assert sum("first token" in one for one in found) >= NEEDED


def test_two_runs_of_the_same_build_are_not_called_different() -> None:
    assert sum(not any(d.real for d in comparison.differences) for comparison in pairs(0)) >= NEEDED


def test_what_became_faster_is_no_regression() -> None:
    found = compare(result(measured(1, slower_ms=80)), result(measured(2)))
    typical = found.differences[0]
    assert (typical.verdict, found.regressed) == ("faster", [])
    assert typical.low is not None and typical.high is not None
    assert typical.low < -80 < typical.high < 0


def test_a_difference_that_nobody_hears_is_noise_however_sure() -> None:
    old = [turn(600.0 + number, dialogue=f"{number}.wav") for number in range(40)]
    new = [turn(605.0 + number, dialogue=f"{number}.wav") for number in range(40)]
    found = compare(result(level(old)), result(level(new)))
    assert found.differences[0].low == pytest.approx(5)
    assert not any(difference.real for difference in found.differences)


def test_replies_that_fail_to_come_are_worse() -> None:
    new = [
        turn(None, outcome="no_reply", dialogue=f"recording-{number:02}.wav", repeat=repeat)
        if number % 2
        else turn(dialogue=f"recording-{number:02}.wav", repeat=repeat)
        for number in range(20)
        for repeat in range(3)
    ]
    assert {"failures", "missing replies"} <= names(compare(result(measured(1)), result(level(new))))


def test_few_recordings_with_few_repeats_are_too_few_to_tell() -> None:
    found = compare(result(measured(1, recordings=2)), result(measured(2, recordings=2, slower_ms=500)))
    assert {difference.verdict for difference in found.differences} == {"unknown"}
    assert "Too few" in found.verdict


def test_one_recording_repeated_often_is_enough() -> None:
    found = compare(
        result(measured(1, recordings=1, repeats=25)),
        result(measured(2, recordings=1, repeats=25, slower_ms=150)),
    )
    assert found.differences[0].verdict == "slower"


def test_only_what_is_in_both_is_compared_and_levels_apart() -> None:
    old = result(measured(1, recordings=22), measured(3, sessions=4))
    new = result(measured(2), measured(4, sessions=4, load_ms=200))
    found = compare(old, new)
    assert (found.paired, found.only_old, found.only_new) == (40, 2, 0)
    typical = {d.sessions: d.verdict for d in found.differences if d.name == "typical voice-to-voice"}
    assert typical == {1: "noise", 4: "slower"}


def test_runs_of_other_recordings_have_nothing_in_common() -> None:
    found = compare(result(level([turn(dialogue="a.wav")])), result(level([turn(dialogue="b.wav")])))
    assert found.differences == ()
    assert "Too few" in found.verdict


def test_the_table_names_each_difference() -> None:
    found = compare(result(measured(1)), result(measured(2, slower_ms=80)))
    console = Console(width=160, record=True, quiet=False)
    with console.capture() as capture:
        console.print(table(found))
    assert all(difference.name in capture.get() for difference in found.differences)


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    good = tmp_path / "good.json"
    good.write_text(result(measured(1)).model_dump_json())
    assert read_result(good).turns == measured(1).turns
    for text in ("{", '{"format": 2}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(LabError, match=r"bad\.json is not the result of a run"):
            read_result(tmp_path / "bad.json")
    with pytest.raises(LabError, match=r"absent\.json"):
        read_result(tmp_path / "absent.json")


def holds(bar: str, run: Result, baseline: Result | None = None) -> bool:
    return fail_if([bar], run, baseline)[0].met


@pytest.mark.parametrize(
    "bar",
    [
        "",
        "p95",
        "p95<900ms",
        "p95>900",
        "p95>10%",
        "p42>900ms",
        "wer>3",
        "wer>+3ms",
        "failures>-1",
        "underruns>2%",
    ],
)
def test_a_bar_that_can_not_be_read_is_told_the_grammar(bar: str) -> None:
    with pytest.raises(SettingsError, match=r"FIGURE\[@SESSIONS\]>LIMIT"):
        parse(bar)


def test_a_bar_on_the_figure_itself() -> None:
    run = result(level([turn(600.0, dialogue=f"{n}.wav", word_errors=n % 2) for n in range(20)]))
    measured_p50 = fail_if(["p50>500ms"], run)[0]
    assert (measured_p50.name, measured_p50.limit, measured_p50.measured, measured_p50.met) == (
        "p50>500ms",
        500,
        600,
        False,
    )
    assert holds("p95 > 900ms", run) and holds("failures>0", run) and holds("underruns>0", run)
    assert holds("wer>6.3%", run) and not holds("wer>6.2%", run)  # one of eight words in every other turn
    run.levels[0].turns[0].outcome = "cut_in"
    assert not holds("failures>0", run) and not holds("cut_ins>4%", run) and holds("cut_ins>5%", run)


def test_what_could_not_be_measured_does_not_hold() -> None:
    few = result(level([turn(dialogue=f"{n}.wav") for n in range(10)]))
    found = fail_if(["p95>900ms"], few)[0]
    assert (found.measured, found.met) == (None, False)


def test_every_level_must_hold_unless_one_is_named() -> None:
    run = result(measured(1), measured(3, sessions=4, load_ms=1000))
    assert not holds("p50>1200ms", run) and holds("p50@1>1200ms", run) and not holds("p50@4>1200ms", run)
    with pytest.raises(SettingsError, match="no level has 8"):
        fail_if(["p50@8>1s".replace("1s", "100ms")], run)


def test_a_bar_against_the_baseline_needs_one() -> None:
    with pytest.raises(SettingsError, match="--baseline"):
        fail_if(["p95>+10%"], result(measured(1)))


def test_a_bar_against_the_baseline_is_broken_by_a_real_difference_beyond_it() -> None:
    old, new = result(measured(1)), result(measured(2, slower_ms=200))
    assert not holds("p50>+50ms", new, old) and not holds("p50>+10%", new, old)
    assert holds("p50>+400ms", new, old) and holds("p50>+90%", new, old)
    assert holds("p50>+0ms", result(measured(2)), old), "noise breaks nothing, though it be above zero"
    assert holds("p50>+0ms", old, new), "faster"
    assert holds("wer>+1%", new, old)
