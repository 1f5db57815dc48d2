"""The page for everybody: by keyboard, by screen reader, in the dark, on a phone, without motion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.scripted_server import tone
from tests.web.conftest import Talk, begin
from tests.web.site import Site
from tests.web.visit import NOT_CONNECTED, Visit, visit

AXE = Path(__file__).parents[2] / ".venv" / "node" / "node_modules" / "axe-core" / "axe.min.js"
"""From requirements/package.json; `make test` fetches it."""

PHONE = {"width": 390, "height": 844}
LONG = "It is a long-winded answer, with Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenhersteller in it."

State = Callable[[Visit, Site], None]


def idle(visited: Visit, served: Site) -> None:
    visited.expect_floor("idle")


def listening(visited: Visit, served: Site) -> None:
    begin(visited, served).hear(1, "What do you", final=False)
    expect(visited.user).to_be_visible()


def speaking(visited: Visit, served: Site) -> None:
    talk = begin(visited, served)
    talk.hear(1, LONG)
    served.do(talk.call.begin(1, LONG, tone(2.9, 24_000)))
    visited.expect_floor("speaking")


def interrupted(visited: Visit, served: Site) -> None:
    """With its waterfall open."""
    talk = begin(visited, served)
    served.do(talk.call.send("speech_stopped", ms=300))
    talk.hear(1, "Go on.")
    served.do(talk.call.begin(1, LONG, tone(2.5, 24_000)))
    visited.expect_floor("speaking")
    steps = {"vad_stop": 200.0, "transcript": 300.0, "end_of_turn": 400.0, "llm_first_token": 350.0}
    served.do(talk.call.end(1, "interrupted", steps | {"first_audio_sent": 500.0}, heard="It is a"))
    visited.agent.locator("button.latency").click()
    expect(visited.agent.locator(".waterfall")).to_be_visible()


def away(visited: Visit, served: Site) -> None:
    talk = begin(visited, served)
    visited.page.context.set_offline(True)
    served.do(talk.call.socket.close(1012))
    visited.expect_floor("away")
    expect(visited.notice("offline")).to_be_visible()


def pushing_to_talk(visited: Visit, served: Site) -> None:
    settings(visited, served)
    visited.page.get_by_label("Push to talk").check()
    visited.button("Done").click()
    begin(visited, served)
    visited.button("Hold to talk").hover()
    visited.page.mouse.down()
    expect(visited.button("Hold to talk")).to_have_attribute("aria-pressed", "true")


def settings(visited: Visit, served: Site) -> None:
    visited.button("Settings").click()
    expect(visited.page.get_by_role("dialog", name="Settings")).to_be_visible()


STATES: list[State] = [idle, listening, speaking, interrupted, away, pushing_to_talk, settings]


@pytest.fixture(params=STATES, ids=lambda state: state.__name__)
def state(request: pytest.FixtureRequest) -> State:
    state: State = request.param
    return state


def faults(visited: Visit) -> list[str]:
    """What axe-core finds serious or critical."""
    visited.page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = visited.page.evaluate(
        "async () => (await axe.run({ preload: false })).violations"
    )
    return [
        f"{fault['impact']}: {fault['help']}: {[(node['target'], node['any'][:1]) for node in fault['nodes']]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: Browser, served: Site, state: State, scheme: str) -> None:
    still: dict[str, Any] = {"reduced_motion": "reduce"}  # nothing is to be judged while it fades in
    with visit(browser, served.http, but=[NOT_CONNECTED], color_scheme=scheme, **still) as visited:
        state(visited, served)
        assert faults(visited) == []


def test_axe_would_find_one(visited: Visit) -> None:
    visited.page.evaluate(
        """() => {
            const root = document.querySelector("voice-agent").shadowRoot;
            root.querySelector("[data-does=settings]").removeAttribute("aria-label");
            root.querySelector("[data-does=settings]").removeAttribute("title");
        }"""
    )
    assert len(faults(visited)) == 1


def test_nothing_is_wider_than_a_phone(browser: Browser, served: Site, state: State) -> None:
    with visit(browser, served.http, but=[NOT_CONNECTED], viewport=PHONE, has_touch=True) as visited:
        state(visited, served)
        assert visited.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        too_wide = visited.page.evaluate(
            """() => [...document.querySelector("voice-agent").shadowRoot.querySelectorAll("*")]
                .filter(element => element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 1)
                .map(element => element.outerHTML.slice(0, 200))"""
        )
        assert too_wide == []
        assert visited.page.evaluate(
            """() => [...document.querySelector("voice-agent").shadowRoot.querySelectorAll(".log")]
                .every(log => log.scrollWidth <= log.clientWidth)"""
        )


@pytest.mark.parametrize("height", [844, 500])
def test_on_a_phone_the_buttons_are_in_sight_and_big_enough_for_a_finger(
    browser: Browser, served: Site, height: int
) -> None:
    """44 pixels: WCAG 2.2, target size (enhanced); 500 pixels are left above the keyboard of a phone."""
    with visit(
        browser, served.http, but=[NOT_CONNECTED], viewport={"width": 390, "height": height}, has_touch=True
    ) as visited:
        speaking(visited, served)
        for name in ("Mute", "Stop", "End call", "Send", "Settings"):
            box = visited.button(name).bounding_box()
            assert box, name
            assert box["height"] >= 44, name
            assert box["width"] >= 44, name
            assert 0 <= box["y"] <= height - box["height"], name
        expect(visited.agent.locator(".spoken")).to_be_in_viewport()


def test_a_whole_conversation_needs_only_the_keyboard(visited: Visit, served: Site) -> None:
    press = visited.page.keyboard.press
    reach(visited, "Start talking")
    press("Enter")
    visited.until(lambda: served.calls, "a call")
    visited.expect_floor("listening")
    talk = Talk(visited, served)
    reach(visited, "Mute")
    press("Space")
    expect(visited.button("Mute")).to_have_attribute("aria-pressed", "true")
    reach(visited, "Message")
    visited.page.keyboard.type("Hello.")
    press("Enter")
    assert talk.wait_for("text")["text"] == "Hello."
    served.do(talk.call.send("speech_stopped", ms=300))
    talk.hear(1, "Hello.")
    served.do(talk.call.begin(1, "Good day.", tone(2.5, 24_000)))
    visited.expect_floor("speaking")
    reach(visited, "Stop")
    press("Enter")
    talk.wait_for("interrupt")
    served.do(talk.call.end(1, "interrupted", heard="Good"))
    latency = visited.agent.locator("button.latency")
    for _ in range(30):
        if focused(visited) == latency.get_attribute("aria-label"):
            break
        press("Tab")
    press("Enter")
    expect(latency).to_have_attribute("aria-expanded", "true")
    reach(visited, "Settings")
    press("Enter")
    dialog = visited.page.get_by_role("dialog", name="Settings")
    expect(dialog).to_be_visible()
    for name in ("Microphone", "Voice", "Language", "Instructions", "Push to talk", "Done"):
        reach(visited, name)
    press("Escape")
    expect(dialog).to_be_hidden()
    assert focused(visited) == "Settings"
    reach(visited, "Download transcript")
    reach(visited, "End call")
    press("Enter")
    visited.expect_floor("idle")


def focused(visited: Visit) -> str:
    """The name of what has the focus."""
    name: str = visited.page.evaluate(
        """() => {
            let element = document.activeElement;
            while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
            const label = element?.labels?.[0]?.firstChild?.textContent.trim() || element?.labels?.[0]?.innerText;
            return (element?.getAttribute("aria-label") ?? (label || element?.textContent) ?? "").trim();
        }"""
    )
    return name


def reach(visited: Visit, name: str) -> None:
    """Go there by Tab; what has the focus must be seen to have it."""
    for _ in range(40):
        if focused(visited) == name:
            break
        visited.page.keyboard.press("Tab")
    assert focused(visited) == name
    assert visited.page.evaluate(
        """async () => {
            const root = document.querySelector("voice-agent").shadowRoot;
            const element = root.activeElement;
            const look = async () => {
                await Promise.all(root.getAnimations().filter(({ transitionProperty }) => transitionProperty)
                    .map(({ finished }) => finished.catch(() => {})));
                return [element, element.closest("form, label") ?? element].map(getComputedStyle)
                    .map(style => [style.outline, style.boxShadow, style.borderColor, style.backgroundColor].join())
                    .join();
            };
            const focused = await look();
            element.blur();
            const other = await look();
            element.focus({ focusVisible: true });
            return focused !== other;
        }"""
    ), f"{name} has the focus, and it can't be seen"


def test_who_wants_no_motion_gets_none(browser: Browser, served: Site, state: State) -> None:
    with visit(browser, served.http, but=[NOT_CONNECTED], reduced_motion="reduce") as visited:
        state(visited, served)
        moving = visited.page.evaluate(
            """() => document.querySelector("voice-agent").shadowRoot.getAnimations({ subtree: true })
                .filter(({ playState, effect }) => playState === "running"
                    && effect.getKeyframes().some(frame => frame.transform || frame.translate || frame.scale
                        || frame.width || frame.height || frame.left))
                .map(({ effect }) => effect.target.outerHTML.slice(0, 200))"""
        )
        assert moving == []


def test_a_screen_reader_is_told_what_cannot_be_heard(talk: Talk) -> None:
    status = talk.visit.page.locator("voice-agent [role=status]")
    expect(status).to_have_text("The call has begun.")
    talk.hear(1, "Hello.")
    talk.visit.expect_floor("thinking")
    expect(status).to_have_text("The call has begun.")
    talk.visit.button("End call").click()
    expect(status).to_have_text("The call has ended.")


def test_the_schemes_differ(browser: Browser, served: Site) -> None:
    colours = []
    for scheme in ("light", "dark"):
        with visit(browser, served.http, but=[NOT_CONNECTED], color_scheme=scheme) as visited:
            colours.append(
                visited.page.evaluate(
                    """() => getComputedStyle(document.body).backgroundColor
                        + getComputedStyle(document.querySelector("voice-agent").shadowRoot
                            .querySelector(".panel")).backgroundColor"""
                )
            )
    assert colours[0] != colours[1]
