"""`voice-agent models`: what it prints, and its exit codes."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.models.conftest import CONTENT, FILE, HUB_PATH, HUGGING_FACE, Hub, entry
from voice_agent.models import cli, progress

Use = Callable[[str], None]
runner = CliRunner()


@pytest.fixture
def tiny(hub: Hub, use: Use) -> None:
    """A catalogue of one, which the hub has."""
    hub.files[HUB_PATH] = CONTENT
    use(entry(HUGGING_FACE))


def run(models: Path, *arguments: str) -> tuple[int, str]:
    result = runner.invoke(cli.models_app, [*arguments, "--dir", str(models)])
    return result.exit_code, result.output


def test_list_tells_what_is_here(tiny: None, models: Path) -> None:
    code, before = run(models, "list")
    assert code == 0
    assert run(models, "pull", "tiny")[0] == 0
    after = run(models, "list")[1]
    row = ["tiny", "0 MB", "MIT", "no", "A test."]
    assert [cell.strip() for cell in before.splitlines()[3].strip("│").split("│")] == row
    row[3] = "yes"
    assert [cell.strip() for cell in after.splitlines()[3].strip("│").split("│")] == row


def test_verify_fails_on_a_corrupt_file_and_pull_mends_it(tiny: None, models: Path) -> None:
    run(models, "pull", "--all")
    assert run(models, "verify") == (0, "tiny: ok\n")
    (models / "tiny" / FILE).write_bytes(bytes(len(CONTENT)))
    code, output = run(models, "verify")
    assert code == 1
    assert "is corrupt" in output
    assert "voice-agent models pull tiny" in output
    run(models, "pull", "tiny")
    assert run(models, "verify", "tiny")[0] == 0


def test_verify_of_weights_that_are_not_here_fails_only_if_they_are_named(tiny: None, models: Path) -> None:
    assert run(models, "verify") == (0, f"No weights in {models}\n")
    code, output = run(models, "verify", "tiny")
    assert code == 1
    assert "missing" in output


@pytest.mark.parametrize("command", ["pull", "verify"])
def test_an_unknown_name_fails(tiny: None, models: Path, command: str) -> None:
    code, output = run(models, command, "giant")
    assert code == 1
    assert "giant: no such weights" in output


@pytest.mark.parametrize("arguments", [("pull",), ("pull", "--all", "tiny")])
def test_pull_wants_names_or_all(tiny: None, models: Path, arguments: tuple[str, ...]) -> None:
    assert run(models, *arguments)[0] == 2


def test_a_failed_pull_exits_with_1_after_trying_the_others(tiny: None, hub: Hub, models: Path) -> None:
    code, output = run(models, "pull", "giant", "tiny")
    assert code == 1
    assert f"tiny: in {models / 'tiny'}" in output


def test_the_folder_of_the_settings_is_used(
    tiny: None, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE_AGENT_MODELS__DIR", str(models))
    assert runner.invoke(cli.models_app, ["pull", "tiny"]).exit_code == 0
    assert (models / "tiny" / FILE).is_file()


def test_fetches_side_by_side_share_one_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "console", Console(force_terminal=True, width=100, quiet=True))
    both_open = threading.Barrier(2, timeout=10)
    failures: list[BaseException] = []

    def fetch_one(name: str) -> None:
        try:
            with progress.shown(None) as tell:
                both_open.wait()
                tell(name, 5, 10)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=fetch_one, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert progress._bars._display is None
