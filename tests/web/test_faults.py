"""What goes wrong, and what the page says and does about it."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from tests.chromium import Launch
from tests.scripted_server import Call, Script, tone
from tests.web.conftest import Talk, begin
from tests.web.microphone import write_track
from tests.web.site import Site, hold
from tests.web.visit import NOT_CONNECTED, Visit, visit

BLOCKED_SOUND = [r"AudioContext was not allowed to start"]
"""Chromium says so itself, whatever a page does about it."""


def closing(code: int, error: str = "", message: str = "") -> Script:
    """A script: say what is wrong, and close."""

    async def close(call: Call) -> None:
        if error:
            await call.send("error", code=error, message=message)
        await call.socket.close(code)

    return close


def reply(talk: Talk, turn: int, said: str, answer: str) -> None:
    """A turn, to its end."""
    talk.hear(turn, said)
    talk.site.do(talk.call.begin(turn, answer, tone(0.3, 24_000)))
    talk.wait_until_played(turn, 300)
    talk.site.do(talk.call.end(turn))


def test_without_leave_for_the_microphone_it_says_so_and_one_can_type(
    launch: Launch, served: Site, tmp_path: Path
) -> None:
    browser = launch("--use-fake-device-for-media-stream", "--deny-permission-prompts")
    with visit(browser, served.http) as visited:
        visited.button("Start talking").click()
        notice = visited.notice("permission_denied")
        expect(notice).to_contain_text(re.compile("allow", re.IGNORECASE))
        expect(notice).to_have_attribute("role", "alert")
        visited.expect_floor("idle")
        expect(visited.button("Start talking")).to_be_visible()
        visited.type("Hello.")
        visited.until(lambda: served.calls, "a call")
        assert Talk(visited, served).wait_for("text")["text"] == "Hello."


def test_leave_that_is_given_later_is_enough(launch: Launch, served: Site) -> None:
    browser = launch("--use-fake-device-for-media-stream", "--deny-permission-prompts")
    with visit(browser, served.http) as visited:
        visited.button("Start talking").click()
        expect(visited.notice("permission_denied")).to_be_visible()
        visited.page.context.grant_permissions(["microphone"])
        visited.notice("permission_denied").get_by_role("button", name="Try again").click()
        visited.expect_floor("listening")
        expect(visited.notice("permission_denied")).to_have_count(0)
        expect(visited.button("Mute")).to_be_visible()


def test_without_a_microphone_it_says_so_and_one_can_type(visited: Visit, served: Site) -> None:
    visited.page.evaluate(
        """() => {
            const none = new DOMException("Requested device not found", "NotFoundError");
            navigator.mediaDevices.getUserMedia = () => Promise.reject(none);
        }"""
    )
    visited.button("Start talking").click()
    expect(visited.notice("no_microphone")).to_be_visible()
    visited.expect_floor("idle")
    visited.type("Hello.")
    visited.until(lambda: served.calls, "a call")
    assert Talk(visited, served).wait_for("text")["text"] == "Hello."


def test_on_a_page_that_is_not_secure_it_says_what_to_do(browser: Browser, served: Site) -> None:
    with visit(browser, served.http.replace("127.0.0.1", "voice.test")) as visited:
        assert visited.page.evaluate("isSecureContext") is False
        visited.button("Start talking").click()
        expect(visited.notice("insecure")).to_contain_text("https")
        visited.expect_floor("idle")


def test_a_dead_microphone_is_noticed(launch: Launch, served: Site, tmp_path: Path) -> None:
    dead = write_track(tmp_path / "dead.wav", [np.zeros(16_000, np.int16)], loops=True)
    with visit(launch(*dead.flags), served.http) as visited:
        begin(visited, served)
        expect(visited.notice("silent_microphone")).to_be_visible()
        visited.button("End call").click()
        visited.expect_floor("idle")


def test_a_muted_microphone_is_not_taken_for_a_dead_one(visited: Visit, served: Site) -> None:
    visited.type("Hello.")
    visited.until(lambda: served.calls, "a call")
    visited.page.clock.install()
    visited.button("Start talking").click()
    visited.button("Mute").click()
    Talk(visited, served).wait_for_audio(5)
    expect(visited.notice("silent_microphone")).to_have_count(0)


def test_a_microphone_that_is_unplugged_is_replaced(talk: Talk) -> None:
    page = talk.visit.page
    page.evaluate(
        """() => {
            const [track] = recordings[0].stream.getTracks();
            track.stop();
            track.dispatchEvent(new Event("ended"));
        }"""
    )
    talk.visit.until(
        lambda: page.evaluate("recordings[0].stream.getTracks()[0].readyState") == "live",
        "another microphone",
    )
    talk.wait_for_audio(0.5)
    assert max(talk.wait_for_audio(1.0)) > 1000
    talk.visit.expect_floor("listening")


@pytest.mark.parametrize(("code", "word"), [("server_full", "busy|full"), ("not_ready", "start|load")])
def test_a_server_that_takes_no_call_yet_is_asked_again(
    visited: Visit, served: Site, code: str, word: str
) -> None:
    served.script = closing(1013, code, "Come back later.")
    visited.button("Start talking").click()
    expect(visited.notice(code)).to_contain_text(re.compile(word))
    visited.expect_floor("connecting")
    served.script = hold
    visited.expect_floor("listening")
    expect(visited.notice(code)).to_have_count(0)
    assert max(Talk(visited, served).wait_for_audio(1.0)) > 1000


@pytest.mark.parametrize("code", [1012, 1011, 1006])
def test_a_conversation_outlives_its_connection(talk: Talk, code: int) -> None:
    reply(talk, 1, "My name is Ada.", "Hello Ada.")
    talk.hear(2, "Tell me of the sea.")
    talk.site.do(talk.call.begin(2, "One two three four five.", tone(2.5, 24_000)))
    talk.visit.expect_floor("speaking")
    expect(talk.visit.agent.last.locator(".spoken")).not_to_be_empty()  # a word of it was heard
    first = talk.call
    if code == 1006:
        talk.site.do(_cut(first))
    else:
        talk.site.do(first.socket.close(code))
    talk.visit.until(lambda: len(talk.site.calls) == 2, "another connection")
    assert talk.call is not first
    talk.visit.expect_floor("listening")
    history = talk.call.start["history"]
    assert history[:3] == [
        {"role": "user", "text": "My name is Ada."},
        {"role": "assistant", "text": "Hello Ada."},
        {"role": "user", "text": "Tell me of the sea."},
    ]
    assert history[3]["role"] == "assistant"
    assert "One two three four five.".startswith(history[3]["text"])
    spoken = talk.visit.agent.last.locator(".spoken").text_content() or ""
    assert history[3]["text"] == spoken.strip()
    assert max(talk.wait_for_audio(1.0)) > 1000
    heard = talk.visit.heard()
    assert len(heard.speaker) / heard.rate - heard.silent_since(heard.messages_of("ready")[-1].at) > 0.5
    reply(talk, 1, "And now?", "Now we go on.")
    expect(talk.visit.user).to_have_count(3)
    expect(talk.visit.agent).to_have_count(3)


async def _cut(call: Call) -> None:
    call.socket.transport.abort()


@pytest.mark.parametrize("field", ["voice", "language", "instructions", "history"])
def test_what_the_server_refuses_of_a_start_costs_nothing_else_of_it(talk: Talk, field: str) -> None:
    reply(talk, 1, "My name is Ada.", "Hello Ada.")
    chosen = {"voice": "amy", "language": "xx", "instructions": "You are a baker."}
    talk.visit.page.evaluate(
        "chosen => Object.entries(chosen).forEach(([name, value]) =>"
        " document.querySelector('voice-agent').setAttribute(name, value))",
        chosen,
    )
    starts: list[dict[str, Any]] = []

    async def refuse(call: Call) -> None:
        await call.until(lambda: bool(call.messages))
        for _ in range(2):  # it may be told of several starts at once
            await call.send("error", code="invalid_field", field=field, message=f"start.{field}: no")
        await call.until(lambda: len(call.messages) == 2)
        starts.extend(message for _, message in call.messages)
        await hold(call)

    talk.site.script = refuse
    talk.site.do(talk.call.socket.close(1012))
    talk.visit.until(lambda: len(starts) == 2, "another start", 15)
    talk.visit.expect_floor("listening")
    first, second = starts
    assert first.keys() >= {*chosen, "history"}
    assert second == {name: value for name, value in first.items() if name != field}


def test_what_was_not_answered_is_asked_again(talk: Talk) -> None:
    reply(talk, 1, "My name is Ada.", "Hello Ada.")
    talk.hear(2, "Tell me of the sea.")
    talk.visit.expect_floor("thinking")
    refused: list[Call] = []

    async def refuse(call: Call) -> None:
        await call.until(lambda: bool(call.messages))
        refused.append(call)
        await closing(1013, "not_ready", "Come back later.")(call)

    talk.site.script = refuse
    talk.site.do(talk.call.socket.close(1012))
    talk.visit.until(lambda: len(refused) == 2, "two more attempts", 15)
    talk.site.script = hold
    talk.visit.expect_floor("thinking", 15)
    assert talk.wait_for("text")["text"] == "Tell me of the sea."
    talk.wait_for_audio(0.5)
    assert len(talk.sent("text")) == 1
    assert [said["text"] for said in talk.call.start["history"]] == ["My name is Ada.", "Hello Ada."]
    reply(talk, 1, "Tell me of the sea.", "It is wide.")
    expect(talk.visit.user).to_have_count(2)


def test_while_the_server_is_away_it_says_so(talk: Talk) -> None:
    talk.site.script = closing(1012)
    talk.site.do(talk.call.socket.close(1012))
    talk.visit.expect_floor("away")
    expect(talk.visit.notice("server_gone")).to_be_visible()
    talk.site.script = hold
    talk.visit.expect_floor("listening")
    expect(talk.visit.notice("server_gone")).to_have_count(0)


def test_without_a_network_it_waits_for_one(browser: Browser, served: Site) -> None:
    with visit(browser, served.http, but=[NOT_CONNECTED]) as visited:
        talk = begin(visited, served)
        visited.page.context.set_offline(True)
        served.do(talk.call.socket.close(1012))
        visited.expect_floor("away")
        expect(visited.notice("offline")).to_be_visible()
        visited.page.context.set_offline(False)
        visited.expect_floor("listening")
        expect(visited.notice("offline")).to_have_count(0)


def test_the_end_of_a_call_by_the_agent_is_said(talk: Talk) -> None:
    reply(talk, 1, "Good bye.", "Good bye.")
    talk.site.do(talk.call.send("ended", reason="quiet"))
    talk.site.do(talk.call.socket.close(1000))
    talk.visit.expect_floor("idle")
    expect(talk.visit.notice("hung_up")).to_be_visible()
    again = begin(talk.visit, talk.site)
    assert [said["text"] for said in again.call.start["history"]] == ["Good bye.", "Good bye."]
    expect(talk.visit.notice("hung_up")).to_have_count(0)


def test_an_error_of_the_server_is_shown_in_its_own_words_where_there_are_no_better(talk: Talk) -> None:
    talk.site.do(talk.call.send("error", code="of_tomorrow", message="The flux <b>is</b> low."))
    expect(talk.visit.notice("of_tomorrow")).to_contain_text("The flux <b>is</b> low.")
    talk.visit.expect_floor("listening")


def test_sound_that_the_browser_holds_back_is_let_out_by_a_click(browser: Browser, served: Site) -> None:
    """A script presses the button, which counts for nothing with a browser."""
    press = """
        const press = () => {
            const button = document.querySelector("voice-agent")?.shadowRoot?.querySelector("[data-does=start]");
            if (button) button.click();
            else requestAnimationFrame(press);
        };
        press();"""
    served.pages[
        "/host"
    ] = f"""<!doctype html><html lang="en"><title>A host</title><link rel="icon" href="data:,">
        <script type="module" src="/voice-agent.js"></script><voice-agent></voice-agent>
        <script>{press}</script></html>"""
    with visit(browser, f"{served.http}/host", but=BLOCKED_SOUND, record=False) as visited:
        notice = visited.notice("autoplay_blocked")
        expect(notice).to_be_visible()
        notice.get_by_role("button").first.click()
        expect(notice).to_have_count(0)
        visited.expect_floor("listening")
        assert max(Talk(visited, served).wait_for_audio(1.0)) > 1000


def test_a_tab_that_was_asleep_goes_on(browser: Browser, served: Site) -> None:
    page = browser.new_page(bypass_csp=True)
    page.clock.install()
    visited = Visit(page)
    page.goto(served.http)
    visited.button("Start talking").click()
    visited.until(lambda: served.calls, "a call")
    page.clock.run_for(5000)
    visited.expect_floor("listening")
    page.clock.fast_forward(60_000)
    page.clock.run_for(5000)
    expect(visited.notice("asleep")).to_be_visible()
    visited.expect_floor("listening")
    page.close()
    assert visited.complaints == []


def test_markup_in_what_is_said_is_only_text(talk: Talk) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    reply(talk, 1, hostile, hostile)
    expect(talk.visit.user).to_contain_text(hostile)
    expect(talk.visit.agent.locator(".spoken")).to_have_text(hostile)
    expect(talk.visit.page.locator("img")).to_have_count(0)
