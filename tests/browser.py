"""Brings a Chromium for the tests of the page: `python -m tests.browser`, which `make test` does.

What is there is taken; else Playwright's own is fetched; else, where this user may, the distribution's is installed.
"""

import os
import shutil
import subprocess
import sys
from typing import Final

from playwright.sync_api import sync_playwright

NAMES: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
MISSING: Final = (
    "no Chromium: install one (Debian, Ubuntu: `sudo apt-get install chromium`), or run `make browser` where "
    "https://cdn.playwright.dev can be reached"
)
FETCH_S: Final = 600
CONNECT_MS: Final = 5000
"""Playwright would wait 30 s, several times, for a host that a firewall keeps silent."""


def find() -> str | None:
    """The path of a Chromium that starts: one that is installed, or Playwright's own."""
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return next((path for name in (*NAMES, own) if (path := shutil.which(name)) and _starts(path)), None)


def _starts(path: str) -> bool:
    """Whether it does: some are a script that asks for a snap, and some lack a library."""
    command = [path, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "about:blank"]
    return _run(command, timeout_s=60) is None


def _run(command: list[str], timeout_s: float, **environment: str) -> str | None:
    """Why a command failed, or None."""
    try:
        ran = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = [line.strip() for line in ran.stdout.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "e:"))] or lines
    return None if ran.returncode == 0 else " ".join(errors[-2:]) or f"exit code {ran.returncode}"


def _as_root() -> list[str] | None:
    """What to put in front of a command that installs; None where this user may not, without being asked."""
    if os.geteuid() == 0:
        return []
    return ["sudo", "-n"] if _run(["sudo", "-n", "true"], timeout_s=10) is None else None


def _from_playwright() -> str | None:
    playwright = [sys.executable, "-m", "playwright"]
    environment = {"PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": str(CONNECT_MS)}
    failure = _run([*playwright, "install", "chromium"], FETCH_S, **environment)
    if failure is None and find() is None and (as_root := _as_root()) is not None:
        return _run(
            [*as_root, *playwright, "install-deps", "chromium"], FETCH_S
        )  # the libraries that it lacks
    return failure


def _from_distribution() -> str | None:
    """Debian's, and its kin's."""
    apt, as_root = shutil.which("apt-get"), _as_root()
    if apt is None:
        return "only apt-get is known here"
    if as_root is None:
        return "this user may not install packages (not root, and sudo asks for a password)"
    command = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", apt, "-o", "Acquire::http::Timeout=20"]
    _run([*command, "update"], FETCH_S)  # if it fails, the lists that are there may do
    return _run(
        [*command, "install", "-y", "--no-install-recommends", "chromium", "fonts-liberation"], FETCH_S
    )


def main() -> int:
    """Exit code 1 where there is no browser in the end, and CI would else pass without its tests of the page."""
    found = find()
    for name, fetch in (("Playwright", _from_playwright), ("the distribution", _from_distribution)):
        if found:
            break
        print(f"Bringing a Chromium for the tests of the page, from {name} ...", flush=True)
        failure = fetch()
        found = find()
        if not found:
            print(f"  {failure or 'what it gave does not start'}", flush=True)
    if found:
        return 0
    print(MISSING, file=sys.stderr)
    return int(in_ci())


def in_ci() -> bool:
    """Whether this runs where nobody reads what was skipped."""
    return os.environ.get("CI", "").lower() in ("true", "1", "yes")


if __name__ == "__main__":
    sys.exit(main())
