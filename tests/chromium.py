"""An installed Chromium, driven by Playwright."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import browser

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")

Launch = Callable[..., Browser]
"""Start a Chromium with these flags."""

find = cache(browser.find)


@contextmanager
def chromium() -> Iterator[Launch]:
    """Start browsers as needed, until the end. Playwright's event loop runs in this thread for as long.

    Without a Chromium the test is skipped, which the last line of the run tells; in CI it fails.
    """
    path = find()
    if path is None:
        if browser.in_ci():
            pytest.fail(browser.MISSING)
        pytest.skip(browser.MISSING)
    with sync_playwright() as playwright, ExitStack() as started:

        def launch(*flags: str) -> Browser:
            browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])
            started.callback(browser.close)
            return browser

        yield launch


def skipped(config: pytest.Config) -> int:
    """How many tests were for want of a Chromium."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    return sum(browser.MISSING in str(report.longrepr) for report in reports)
