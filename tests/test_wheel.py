"""The wheel holds what the repository does: a plain `pip install` serves the page, too."""

import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]


def in_git(*folders: str) -> set[str]:
    """Files of the repository below these folders, and those about to become some."""
    command = [
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
        "--",
        *folders,
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ran.returncode:
        pytest.skip(f"this is no checkout of git: {ran.stderr}")
    return {name for name in ran.stdout.splitlines() if (ROOT / name).is_file()}


def test_the_wheel_has_every_file_of_the_package_and_of_the_page(tmp_path: Path) -> None:
    wanted = in_git("voice_agent") | {f"voice_agent/{name}" for name in in_git("web")}
    assert {"voice_agent/web/index.html", "voice_agent/web/worklets/speaker.js"} <= wanted
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    assert {name for name in names if ".dist-info" not in PurePosixPath(name).parts[0]} == wanted
