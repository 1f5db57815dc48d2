"""A page that is open, and watched."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Locator, Page, WebSocket, expect

from tests.web.recording import SCRIPT, Heard, Message, heard, messages

expect.set_options(timeout=10_000)

NOT_CONNECTED = r"WebSocket connection to .* failed"
"""What Chromium says of a server that is not there, whatever a page does about it."""


class Visit:
    """A page with `<voice-agent>` on it; Playwright's locators see into its shadow tree."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        """What the console was told, and errors that nothing caught."""
        self.asked: list[str] = []
        """Every address that was asked for."""
        self.sent: list[dict[str, Any]] = []
        """What the page sent over WebSockets, without the audio."""
        page.on("console", lambda told: self.complaints.append(f"{told.type}: {told.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", self._connected)

    def _connected(self, socket: WebSocket) -> None:
        self.asked.append(socket.url)
        socket.on("framesent", self._sent)

    def _sent(self, data: str | bytes) -> None:
        if isinstance(data, str):
            self.sent.append(json.loads(data))

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def message(self) -> Locator:
        """The field for typed text."""
        return self.page.get_by_role("textbox", name="Message")

    @property
    def user(self) -> Locator:
        """The user's entries in the transcript."""
        return self.page.locator("[role=log] [data-speaker=user]")

    @property
    def agent(self) -> Locator:
        """The agent's entries in the transcript."""
        return self.page.locator("[role=log] [data-speaker=agent]")

    def notice(self, code: str) -> Locator:
        return self.page.locator(f"[data-notice={code}]")

    def type(self, text: str) -> None:
        self.message.fill(text)
        self.message.press("Enter")

    def expect_floor(self, floor: str, timeout_s: float = 10) -> None:
        expect(self.page.locator("[data-floor]")).to_have_attribute(
            "data-floor", floor, timeout=timeout_s * 1000
        )

    def until(self, true: Callable[[], Any], what: str, timeout_s: float = 10) -> None:
        """Wait for something outside the page to be so, while the page goes on."""
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            self.page.wait_for_timeout(10)

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the server sent in the last call, with the times at which the page got it."""
        return messages(self.page)

    def heard(self, call: int = -1) -> Heard:
        return heard(self.page, call)


@contextmanager
def visit(
    browser: Browser,
    url: str,
    *,
    but: Sequence[str] = (),
    also: Sequence[str] = (),
    record: bool = True,
    **options: Any,
) -> Iterator[Visit]:
    """Open a page; at the end, nothing may have been wrong with it.

    Args:
        browser: Its microphone is what the page hears.
        url: Of the page.
        but: Patterns of what may be said on the console.
        also: Origins that may be asked besides the page's own.
        record: What is heard. Playwright can serve no module to a worklet, so that for this the page's own content
            security policy is not applied.
        options: Of Playwright's `new_page`, such as `color_scheme`.

    Raises:
        AssertionError: Something was said on the console, an error was not caught, or another origin was asked.
    """
    page = browser.new_page(bypass_csp=record, **options)
    if record:
        page.add_init_script(path=SCRIPT)
    visited = Visit(page)
    page.goto(url)
    try:
        yield visited
    finally:
        page.close()
    wrong = [said for said in visited.complaints if not any(re.search(pattern, said) for pattern in but)]
    assert not wrong, wrong
    origins = {_origin(address) for address in visited.asked if not address.startswith(("data:", "blob:"))}
    outside = origins - {_origin(url), *map(_origin, also)}
    assert not outside, outside


def _origin(url: str) -> str:
    """Host and port: a WebSocket's is that of the page that it belongs to."""
    return url.split("/")[2]
