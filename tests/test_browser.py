"""The set-up brings a browser, or says that it could not."""

from pathlib import Path

import pytest

from tests import browser

pytest_plugins = ["pytester"]


def put(folder: Path, name: str, script: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only folder that programs are found in; Playwright's own browsers are elsewhere, and not there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "none"))
    return tmp_path


def test_a_browser_that_does_not_start_is_none(path: Path) -> None:
    assert browser.find() is None
    put(path, "chromium", "echo 'requires the chromium snap to be installed'; exit 1")
    assert browser.find() is None
    starts = put(path, "google-chrome", "exit 0")
    assert browser.find() == starts


def test_what_is_there_is_taken_and_nothing_fetched(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(path, "chromium", "exit 0")
    monkeypatch.setattr(browser, "_from_playwright", lambda: pytest.fail("fetched"))
    assert browser.main() == 0


def test_the_distribution_is_asked_after_playwright(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(browser, "_from_playwright", lambda: "its host can't be reached")
    monkeypatch.setattr(browser, "_as_root", lambda: [])
    put(path, "env", 'shift; exec "$@"')
    put(
        path,
        "apt-get",
        f"""
case "$*" in
  *install*chromium*) printf '#!/bin/sh\\nexit 0\\n' > {path}/chromium; /bin/chmod 755 {path}/chromium;;
esac""",
    )
    assert browser.main() == 0
    said = capsys.readouterr().out
    assert (
        "from Playwright" in said and "its host can't be reached" in said and "from the distribution" in said
    )


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_without_any_ci_fails_and_a_person_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, code: int
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(browser, "_from_playwright", lambda: "its host can't be reached")
    monkeypatch.setattr(browser, "_as_root", lambda: None)
    put(path, "apt-get", "exit 1")
    assert browser.main() == code
    said = capsys.readouterr()
    assert "may not install packages" in said.out
    assert browser.MISSING in said.err


def test_the_last_line_of_a_run_says_what_was_left_out(
    path: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)  # there it is a failure
    pytester.makeconftest(
        """
from collections.abc import Iterator
import pytest
from tests.chromium import Launch, chromium
from tests.conftest import pytest_unconfigure

@pytest.fixture(scope="module")
def launch():
    with chromium() as launch:
        yield launch
"""
    )
    pytester.makepyfile("def test_one(launch): pass\ndef test_two(launch): pass\ndef test_other(): pass")
    ran = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    ran.assert_outcomes(passed=1, skipped=2)
    assert ran.outlines[-1] == f"2 tests of the page did not run: {browser.MISSING}"
