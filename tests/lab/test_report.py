"""The report, as text and as a browser shows it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from tests.chromium import Launch
from tests.lab.results import level, measured, result, spoken, turn
from voice_agent.lab.fail_if import fail_if
from voice_agent.lab.report import write_report
from voice_agent.lab.result import Result

HOSTILE = "<img src=x onerror=alert(1)></script>.wav"


def ramp() -> tuple[Result, Result]:
    """A ramp to four sessions, and one from before it became slower."""
    old = result(measured(1), measured(3, sessions=4, load_ms=100))
    new = result(measured(2, slower_ms=80), measured(4, sessions=4, load_ms=300, slower_ms=80))
    new.ramp_p95_ms = 1200.0
    turns = new.levels[0].turns
    turns.append(turn(None, dialogue=HOSTILE, outcome="no_reply"))
    turns[0].audio, turns[0].audio_zero_ms = spoken(), 2100.0
    new.verdicts = fail_if(["p50>+5%"], new, old)
    return new, old


def verdict(html: str) -> str:
    heading = re.search(r"<header>(.*?)</header>", html, re.DOTALL)
    assert heading
    return " ".join(re.sub(r"<[^>]+>", "", heading[1]).split())


def test_the_verdict_comes_first_and_says_it_in_words(tmp_path: Path) -> None:
    turns = [turn(600.0 + n, dialogue=f"{n}.wav") for n in range(20)]
    write_report(result(level([*turns, turn(None, outcome="no_reply")])), tmp_path / "in" / "report.html")
    said = verdict((tmp_path / "in" / "report.html").read_text())
    assert "Half of the replies begin within 610 ms; 19 of 20 within 618 ms." in said
    assert "1 of 21 turns failed: no reply (1)." in said


def test_a_ramp_says_how_many_sessions_are_held_and_a_baseline_what_became_of_it(tmp_path: Path) -> None:
    new, old = ramp()
    write_report(new, tmp_path / "report.html", old)
    said = verdict((tmp_path / "report.html").read_text())
    assert "This machine holds 1 session at once at a 95th percentile of 1200 ms." in said
    assert "typical voice-to-voice with 1 session slower by" in said
    assert "Broken: p50&gt;+5%." in said


def test_a_run_with_nothing_in_it_is_a_page_all_the_same(tmp_path: Path) -> None:
    for run in (result(), result(level([]))):
        write_report(run, tmp_path / "report.html")
        assert "No turn was measured." in verdict((tmp_path / "report.html").read_text())


def test_nothing_from_outside_becomes_markup(tmp_path: Path) -> None:
    write_report(
        result(level([turn(dialogue=HOSTILE, error=HOSTILE, outcome="failed")])), tmp_path / "r.html"
    )
    assert "<img src=x" not in (tmp_path / "r.html").read_text()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    new, old = ramp()
    write_report(new, path, old)
    return path


@pytest.fixture(scope="module")
def browser(launch: Launch) -> Browser:
    return launch()


@pytest.fixture
def page(report: Path, browser: Browser) -> Iterator[Page]:
    """The report, open; afterwards, that it asked for nothing and complained of nothing."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    yield page
    outside = [url for url in asked if not url.startswith(("data:", "blob:"))]
    page.close()
    assert complaints == []
    assert outside == [report.as_uri()]


def until(page: Page, expression: str) -> None:
    """Wait until it is true. `Page.wait_for_function` can't: the page's own policy forbids it to evaluate text."""
    for _ in range(500):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(20)
    raise TimeoutError(expression)


def drawn(page: Page, selector: str) -> int:
    """How many bars and lines the plots have that are in sight and not of no size."""
    count: int = page.locator(selector).evaluate_all(
        """plots => plots.flatMap(plot => [...plot.querySelectorAll('.main-svg .trace path')])
            .filter(path => { const box = path.getBoundingClientRect(); return box.width + box.height > 2; }).length"""
    )
    return count


def test_every_plot_is_drawn(page: Page) -> None:
    assert page.locator("[data-plot]").evaluate_all("plots => plots.map(plot => plot.dataset.plot)") == [
        "distributions",
        "concurrency",
        "differences",
    ]
    assert page.locator("[data-waterfall]").count() == 4
    for selector in ("[data-plot=distributions]", "[data-plot=concurrency]", "[data-plot=differences]"):
        assert drawn(page, selector) >= 2, selector
    assert drawn(page, "[data-waterfall]") >= 4 * 8
    assert "limit 1200 ms" in page.locator("[data-plot=concurrency]").inner_text()


def test_a_click_on_a_turn_plays_it_and_shows_its_waterfall(page: Page) -> None:
    detail = page.locator("#turns li").first.locator(".detail")
    assert not detail.is_visible()
    page.click("#turns button[data-turn='0']")
    assert drawn(page, "#turns li:first-child .plot") >= 8
    audio = detail.locator("audio")
    until(page, "document.querySelector('#turns audio').duration > 4")
    assert (audio.get_attribute("src") or "").startswith("data:audio/mpeg;base64,")
    cursor = detail.locator(".plot > i")
    audio.evaluate("audio => { audio.pause(); audio.currentTime = 2.5; }")
    cursor.wait_for(state="visible")  # 400 ms after the end of the speech
    page.click("#turns button[data-turn='0']")
    assert not detail.is_visible()


def test_what_failed_can_be_shown_alone(page: Page) -> None:
    rows = page.locator("#turns li:visible")
    everything = rows.count()
    page.check("#failed")
    assert 1 == rows.count() < everything
    assert HOSTILE in rows.first.inner_text()


def test_the_plots_follow_the_light(page: Page) -> None:
    fill = "getComputedStyle(document.querySelector('[data-waterfall] .trace path')).fill"
    accent = "getComputedStyle(document.documentElement).getPropertyValue('--accent')"
    light = page.evaluate(f"[{accent}, {fill}]")
    page.emulate_media(color_scheme="dark")
    until(page, f"{fill} !== '{light[1]}'")
    assert page.evaluate(accent) != light[0]


def test_it_fits_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.click("#turns button[data-turn='0']")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_on_paper_nothing_is_on_top_of_anything(page: Page) -> None:
    page.set_viewport_size({"width": 760, "height": 1000})
    page.emulate_media(media="print", color_scheme="dark")
    until(
        page,
        """[...document.querySelectorAll("main .js-plotly-plot")].every(
            plot => plot.clientWidth === plot.querySelector(".main-svg").clientWidth)""",
    )
    boxes = page.locator("main .js-plotly-plot:visible").evaluate_all(
        """plots => plots.map(plot => [plot.getBoundingClientRect().bottom,
            plot.querySelector('.main-svg').getBoundingClientRect().bottom])"""
    )
    assert len(boxes) == 7
    assert all(drawn_to <= bottom + 1 for bottom, drawn_to in boxes)
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(251, 250, 247)"
    assert not page.locator("#failed").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_of_it_is_not_blank(page: Page, tmp_path: Path, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    page.screenshot(path=tmp_path / f"report-{scheme}.png", full_page=True)
    with av.open(str(tmp_path / f"report-{scheme}.png")) as file:
        picture = next(file.decode(video=0)).to_ndarray(format="gray")
    assert picture.shape[0] > 1500
    background = np.bincount(picture.ravel()).argmax()
    assert (background > 128) == (scheme == "light")
    assert 0.01 < np.mean(np.abs(picture.astype(int) - background) > 40) < 0.5
