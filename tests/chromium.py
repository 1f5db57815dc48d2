"""An installed Chromium, driven by Playwright."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")

Launch = Callable[..., Browser]
"""Start a Chromium with these flags."""


@contextmanager
def chromium() -> Iterator[Launch]:
    """Start browsers as needed, until the end. Playwright's event loop runs in this thread for as long.

    Skips the test where no Chromium is installed.
    """
    if not CHROMIUM:
        pytest.skip("no Chromium is installed: nothing to open the page in")
    with sync_playwright() as playwright, ExitStack() as started:

        def launch(*flags: str) -> Browser:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
            started.callback(browser.close)
            return browser

        yield launch
