"""The JUnit file, as a CI reads it."""

from pathlib import Path

import pytest

from tests.lab.results import level, result, turn
from voice_agent.lab.junit import write_junit
from voice_agent.lab.result import Expectation

junitparser = pytest.importorskip("junitparser")


def test_each_turn_and_each_bar_is_a_case_and_says_what_was_wrong(tmp_path: Path) -> None:
    too_late = Expectation(name="reply_within_ms", limit=500.0, measured=640.0, met=False)
    run = result(
        level(
            [
                turn(),
                turn(None, outcome="no_reply"),
                turn(-300.0, outcome="cut_in"),
                turn(expectations=[too_late]),
                turn(None, outcome="failed", error="llm: no answer <after> 10 s \x00"),
            ]
        ),
        level([turn(sessions=2, session=1)], sessions=2),
    )
    run.verdicts = [
        Expectation(name="p95>900ms", limit=900.0, measured=640.0, met=True),
        Expectation(name="failures>0", limit=0.0, measured=4.0, met=False),
    ]
    write_junit(run, tmp_path / "out" / "junit.xml")

    suites = list(junitparser.JUnitXml.fromfile(str(tmp_path / "out" / "junit.xml")))
    assert [(suite.name, suite.tests, suite.failures, suite.errors) for suite in suites] == [
        ("1 session", 5, 3, 1),
        ("2 sessions", 1, 0, 0),
        ("bars", 2, 1, 0),
    ]
    messages = [case.result[0].message if case.result else None for case in suites[0]]
    assert messages == [
        None,
        "no reply",
        "cut in 300 ms before the end of the speech",
        "reply_within_ms: 500 wanted, 640 measured",
        "llm: no answer <after> 10 s ",
    ]
    assert [case.name for case in suites[1]] == ["commands/lights.wav step 1 repeat 1 session 2"]


def test_silence_that_was_wanted_is_no_failure(tmp_path: Path) -> None:
    silent = Expectation(name="no_reply", limit=True, measured=True, met=True)
    write_junit(
        result(level([turn(None, outcome="no_reply", expectations=[silent])])), tmp_path / "junit.xml"
    )
    assert junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml")).failures == 0
