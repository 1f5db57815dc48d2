"""A run as JUnit XML, which every CI shows."""

import re
from pathlib import Path

from voice_agent.errors import LabError
from voice_agent.lab.result import Expectation, Level, Result, Turn
from voice_agent.lab.statistics import complaints


def write_junit(result: Result, path: Path) -> None:
    """A suite for each level with a case for each turn, and one with a case for each bar that the run had to meet.

    A turn that did not pass is a failure, one that the server failed at an error.
    Raises `LabError` where the package that writes it is missing.
    """
    try:
        import junitparser
    except ImportError as error:
        raise LabError(
            f"{error}. JUnit output needs the lab's packages: pip install 'voice-agent[lab]'"
        ) from error

    def of_turn(turn: Turn) -> junitparser.TestCase:
        name = f"{turn.dialogue} step {turn.step + 1} repeat {turn.repeat + 1}"
        if turn.sessions > 1:
            name += f" session {turn.session + 1}"
        spent = (turn.speech_ms + max(0.0, turn.voice_to_voice_ms or 0.0)) / 1000
        case = junitparser.TestCase(_legal(name), _legal(turn.dialogue), spent)
        case.result = [
            junitparser.Error(_legal(wrong))
            if turn.outcome == "failed"
            else junitparser.Failure(_legal(wrong))
            for wrong in complaints(turn)[:1]
        ]
        details = [*complaints(turn), f"said: {turn.said or '(unknown)'}", f"understood: {turn.transcript}"]
        case.system_out = _legal("\n".join([*details, f"answered: {turn.reply}"]))
        return case

    def of_level(level: Level) -> junitparser.TestSuite:
        suite = junitparser.TestSuite(f"{level.sessions} session{'s' * (level.sessions != 1)}")
        suite.add_testcases(list(map(of_turn, level.turns)))
        return suite

    def of_verdict(verdict: Expectation) -> junitparser.TestCase:
        case = junitparser.TestCase(_legal(verdict.name), "bars")
        if not verdict.met:
            measured = (
                "nothing could be measured" if verdict.measured is None else f"measured {verdict.measured}"
            )
            case.result = [junitparser.Failure(_legal(f"{verdict.name}: {measured}"))]
        return case

    xml = junitparser.JUnitXml("voice-agent lab")
    for suite in map(of_level, result.levels):
        xml.add_testsuite(suite)
    if result.verdicts:
        bars = junitparser.TestSuite("bars")
        bars.add_testcases(list(map(of_verdict, result.verdicts)))
        xml.add_testsuite(bars)
    path.parent.mkdir(parents=True, exist_ok=True)
    xml.write(str(path), pretty=True)


def _legal(text: str) -> str:
    """Without what XML 1.0 can't hold at all (its production [2], Char): a server may send anything."""
    return re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)
