"""The page in a browser, before a server that says what the test wants."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from tests.scripted_server import tone
from tests.web.conftest import Talk, begin
from tests.web.site import OPTIONS, Site
from tests.web.visit import Visit, visit

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "web.md"
RATE_OUT = 24_000
STEPS: dict[str, float] = {
    "last_speech": 0,
    "vad_stop": 50,
    "transcript": 80,
    "llm_first_token": 100,
    "first_chunk": 110,
    "tts_first_audio": 150,
    "end_of_turn": 160,
    "first_audio_sent": 170,
}
SILENT_WITHIN_S = 0.15
"""After the server's decision, as the issue has it."""


def speech(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return tone(seconds, RATE_OUT)


def test_one_button_begins_a_call_and_the_microphone_goes_out_in_real_time(
    visited: Visit, served: Site
) -> None:
    visited.expect_floor("idle")
    talk = begin(visited, served)
    start = talk.call.start
    assert (start["input_rate"], start["output_rate"], start["history"]) == (16_000, RATE_OUT, [])
    assert max(talk.wait_for_audio(1.5)) > 1000
    frames = talk.call.frames
    assert {len(pcm) for _, pcm in frames} <= {320, 640}
    took = frames[-1][0] - frames[0][0]
    sent = sum(len(pcm) for _, pcm in frames[1:]) / 16_000
    assert sent == pytest.approx(took, abs=0.15)


def test_the_end_of_a_call_lets_go_of_the_microphone_and_of_the_line(talk: Talk) -> None:
    talk.visit.button("End call").click()
    talk.visit.expect_floor("idle")
    talk.wait_for("stop")
    talk.visit.until(lambda: talk.call.socket.close_code is not None, "the end of the connection")
    tracks = talk.visit.page.evaluate("recordings[0].stream.getTracks().map(track => track.readyState)")
    assert tracks == ["ended"]
    expect(talk.visit.button("Start talking")).to_be_focused()


def test_a_muted_microphone_sends_silence_and_says_so(talk: Talk) -> None:
    mute = talk.visit.button("Mute")
    assert max(talk.wait_for_audio(1.0)) > 1000
    mute.click()
    expect(mute).to_have_attribute("aria-pressed", "true")
    talk.wait_for_audio(0.5)  # what was on its way
    assert max(talk.wait_for_audio(1.0)) == 0
    mute.click()
    expect(mute).to_have_attribute("aria-pressed", "false")
    talk.wait_for_audio(0.5)
    assert max(talk.wait_for_audio(1.0)) > 1000


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_push_to_talk_is_heard_only_while_the_button_is_held(visited: Visit, served: Site, by: str) -> None:
    visited.button("Settings").click()
    visited.page.get_by_label("Push to talk").check()
    visited.button("Done").click()
    talk = begin(visited, served)
    hold = visited.button("Hold to talk")
    assert max(talk.wait_for_audio(1.0)) == 0
    if by == "mouse":
        hold.hover()
        visited.page.mouse.down()
    else:
        hold.focus()
        visited.page.keyboard.down(" ")
    assert talk.wait_for("push_to_talk", 1)["pressed"] is True
    assert max(talk.wait_for_audio(1.0)) > 1000
    if by == "mouse":
        visited.page.mouse.up()
    else:
        visited.page.keyboard.up(" ")
    assert talk.wait_for("push_to_talk", 2)["pressed"] is False
    talk.wait_for_audio(0.3)
    assert max(talk.wait_for_audio(1.0)) == 0
    assert len(talk.sent("push_to_talk")) == 2


def test_a_typed_message_needs_no_microphone_and_its_answer_is_heard(visited: Visit, served: Site) -> None:
    visited.type("What is the time?")
    visited.until(lambda: served.calls, "a call")
    talk = Talk(visited, served)
    assert talk.wait_for("text")["text"] == "What is the time?"
    expect(visited.message).to_have_value("")
    talk.hear(1, "What is the time?")
    expect(visited.user).to_have_text(re.compile("What is the time?"))
    served.do(talk.call.begin(1, "Ten past nine.", speech(1.0)))
    talk.wait_until_played(1, 1000)
    heard = visited.heard()
    begun = heard.first_sound(heard.messages_of("response_started")[0].at)
    assert heard.silent_since(begun) - begun == pytest.approx(1.0, abs=0.02)
    assert visited.page.evaluate("recordings[0].stream === undefined")
    expect(visited.button("Start talking")).to_be_visible()


def test_the_users_words_are_shown_while_they_are_recognized(talk: Talk) -> None:
    entry = talk.visit.user
    talk.hear(1, "What is", final=False)
    expect(entry).to_have_attribute("data-state", "partial")
    expect(entry).to_contain_text("What is")
    talk.hear(1, "What is the", final=False)
    expect(entry).to_contain_text("What is the")
    talk.hear(1, "What is the time?")
    expect(entry).to_have_attribute("data-state", "final")
    expect(entry).to_contain_text("What is the time?")
    talk.hear(2, "Hm", final=False)
    expect(entry).to_have_count(2)
    talk.hear(2, "")
    expect(entry).to_have_count(1)


def test_the_agents_words_appear_as_they_are_spoken(talk: Talk) -> None:
    spoken = talk.visit.agent.locator(".spoken")
    talk.hear(1, "Go on.")
    talk.visit.expect_floor("thinking")
    talk.site.do(talk.call.begin(1, "One two three four. ", speech(1.5)))
    talk.site.do(talk.call.piece(1, "Five six seven eight.", speech(1.5), start_ms=1500))
    talk.visit.expect_floor("speaking")
    expect(spoken).to_contain_text("One")
    assert "four" not in (spoken.text_content() or "")
    expect(spoken).to_contain_text("four")
    assert "Five" not in (spoken.text_content() or "")
    expect(spoken).to_contain_text("Five")
    heard = talk.visit.heard()
    begun = heard.first_sound(heard.messages_of("response_started")[0].at)
    assert len(heard.speaker) / heard.rate - begun >= 1.4
    talk.wait_until_played(1, 3000)
    talk.site.do(talk.call.end(1))
    expect(spoken).to_have_text("One two three four. Five six seven eight.")
    talk.visit.expect_floor("listening")
    expect(talk.visit.agent.locator("s")).to_be_empty()


def test_an_interruption_silences_the_speaker_and_strikes_out_the_rest(talk: Talk) -> None:
    talk.hear(1, "Go on.")
    talk.site.do(talk.call.begin(1, "One two three four five.", speech(2.5)))
    talk.visit.expect_floor("speaking")
    talk.site.do(talk.call.end(1, "interrupted", heard="One two"))
    talk.site.do(talk.call.play(speech(0.5)))  # late: it was on its way
    expect(talk.visit.agent.locator(".spoken")).to_have_text("One two")
    expect(talk.visit.agent.locator("s")).to_have_text(re.compile(r"^\s*three four five\.$"))
    talk.visit.expect_floor("listening")
    talk.wait_for_audio(1.0)
    heard = talk.visit.heard()
    [ended] = heard.messages_of("response_ended")
    assert heard.silent_since(ended.at) - ended.at < SILENT_WITHIN_S
    assert len(heard.speaker) / heard.rate - ended.at > 0.9
    assert not np.any(np.abs(heard.speaker[round((ended.at + SILENT_WITHIN_S) * heard.rate) :]) > 100)


def test_a_pause_keeps_what_was_not_yet_heard(talk: Talk) -> None:
    talk.hear(1, "Go on.")
    talk.site.do(talk.call.begin(1, "One two three.", speech(1.5)))
    talk.visit.expect_floor("speaking")
    talk.site.do(talk.call.send("pause", response="r1", heard_ms=0))
    talk.wait_for_audio(0.7)
    talk.site.do(talk.call.send("resume", response="r1"))
    talk.wait_until_played(1, 1500)
    heard = talk.visit.heard()
    [pause], [resume] = heard.messages_of("pause"), heard.messages_of("resume")
    begun = heard.first_sound(heard.messages_of("response_started")[0].at)
    stopped = heard.silent_since(pause.at)
    went_on = heard.first_sound(stopped + 0.1)
    ended = heard.silent_since(went_on)
    assert stopped - pause.at < SILENT_WITHIN_S
    assert 0 <= went_on - resume.at < SILENT_WITHIN_S
    assert (stopped - begun) + (ended - went_on) == pytest.approx(1.5, abs=0.03)


def test_the_next_reply_is_heard_after_one_that_was_interrupted(talk: Talk) -> None:
    talk.hear(1, "Go on.")
    talk.site.do(talk.call.begin(1, "One two three.", speech(2.5)))
    talk.visit.expect_floor("speaking")
    talk.site.do(talk.call.end(1, "interrupted", heard="One"))
    talk.hear(2, "No, stop.")
    talk.site.do(talk.call.begin(2, "Yes.", speech(0.5)))
    talk.wait_until_played(2, 500)
    heard = talk.visit.heard()
    begun = heard.first_sound(heard.messages_of("response_started")[1].at + 0.03)
    assert heard.silent_since(begun) - begun == pytest.approx(0.5, abs=0.05)


def test_the_stop_button_is_there_while_the_agent_speaks_and_stops_it(talk: Talk) -> None:
    stop = talk.visit.button("Stop")
    assert not stop.is_visible() or stop.is_disabled()
    talk.hear(1, "Go on.")
    talk.site.do(talk.call.begin(1, "One two three.", speech(2.5)))
    stop.click()
    talk.wait_for("interrupt")


def test_a_click_on_the_latency_shows_where_the_time_went(talk: Talk) -> None:
    latency = talk.visit.agent.locator("button.latency")
    waterfall = talk.visit.agent.locator(".waterfall")
    position = sum(len(pcm) for _, pcm in talk.call.frames) / 16
    talk.site.do(talk.call.send("speech_started", ms=max(0, position - 500)))
    talk.site.do(talk.call.send("speech_stopped", ms=position))
    talk.hear(1, "Go on.")
    talk.wait_for_audio(0.4)
    talk.site.do(talk.call.begin(1, "One.", speech(0.5)))
    talk.wait_until_played(1, 500)
    talk.site.do(talk.call.end(1, steps=STEPS))
    expect(latency).to_have_attribute("aria-expanded", "false")
    expect(waterfall).to_be_hidden()
    latency.click()
    expect(latency).to_have_attribute("aria-expanded", "true")
    rows = waterfall.locator("[data-step]")
    steps = rows.evaluate_all("rows => rows.map(row => row.dataset.step)")
    assert steps[-1] == "heard"
    assert {*STEPS} - {"last_speech"} <= {*steps}
    latency.click()
    expect(waterfall).to_be_hidden()


def test_the_latency_is_from_the_last_word_to_the_first_sound(talk: Talk) -> None:
    """What the page says about itself, against the recording. The microphone is heard as it arrives in the page."""
    talk.wait_for_audio(0.5)
    before = talk.visit.page.evaluate("recordings[0].context.currentTime")
    position = sum(len(pcm) for _, pcm in talk.call.frames) / 16
    after = talk.visit.page.evaluate("recordings[0].context.currentTime")
    talk.site.do(talk.call.send("speech_stopped", ms=position))
    talk.hear(1, "Go on.")
    talk.wait_for_audio(0.5)
    talk.site.do(talk.call.begin(1, "One.", speech(0.5)))
    latency = talk.visit.agent.locator("button.latency")
    expect(latency).to_be_visible()
    said_ms = float(latency.get_attribute("data-ms") or "nan")
    heard = talk.visit.heard()
    begun = heard.first_sound(heard.messages_of("response_started")[0].at)
    # Between reading the two clocks, and on the way to the server and to the ear, time passes.
    assert (begun - after) * 1000 - 20 < said_ms < (begun - before) * 1000 + 120


def test_the_transcript_can_be_kept(talk: Talk, tmp_path: Path) -> None:
    save = talk.visit.button("Download transcript")
    expect(save).to_be_hidden()
    talk.hear(1, "What is the time?")
    talk.site.do(talk.call.begin(1, "Ten past nine, and all is well.", speech(0.5)))
    talk.visit.expect_floor("speaking")
    talk.site.do(talk.call.end(1, "interrupted", heard="Ten past nine,"))
    with talk.visit.page.expect_download() as download:
        save.click()
    download.value.save_as(tmp_path / "transcript.txt")
    assert download.value.suggested_filename.endswith(".txt")
    user, agent = (tmp_path / "transcript.txt").read_text().splitlines()
    assert "What is the time?" in user
    assert "Ten past nine," in agent
    assert "all is well" not in agent


def test_another_voice_begins_a_session_that_knows_of_the_one_before(talk: Talk) -> None:
    talk.hear(1, "My name is Ada.")
    talk.site.do(talk.call.begin(1, "Hello Ada.", speech(0.3)))
    talk.wait_until_played(1, 300)
    talk.site.do(talk.call.end(1))
    page = talk.visit.page
    talk.visit.button("Settings").click()
    voice = page.get_by_role("combobox", name="Voice", exact=True)
    expect(voice.locator("option")).to_have_count(1 + len(OPTIONS["voices"] or ()))
    voice.select_option("amy")
    page.get_by_role("combobox", name="Language", exact=True).select_option("de")
    page.get_by_label("Instructions").fill("You are a baker.")
    talk.visit.button("Done").click()
    talk.visit.until(lambda: len(talk.site.calls) == 2, "another session")
    start = talk.call.start
    assert (start["voice"], start["language"], start["instructions"]) == ("amy", "de", "You are a baker.")
    assert start["history"] == [
        {"role": "user", "text": "My name is Ada."},
        {"role": "assistant", "text": "Hello Ada."},
    ]
    talk.visit.expect_floor("listening")
    expect(talk.visit.user).to_have_count(1)


def test_a_new_conversation_knows_nothing_of_the_one_before(talk: Talk) -> None:
    talk.hear(1, "My name is Ada.")
    talk.site.do(talk.call.begin(1, "Hello Ada.", speech(0.3)))
    talk.wait_until_played(1, 300)
    talk.site.do(talk.call.end(1))
    talk.visit.button("New conversation").click()
    talk.visit.until(lambda: len(talk.site.calls) == 2, "another session")
    assert talk.call.start["history"] == []
    expect(talk.visit.user).to_have_count(0)
    expect(talk.visit.agent).to_have_count(0)
    talk.visit.expect_floor("listening")
    assert max(talk.wait_for_audio(1.0)) > 1000


def test_what_was_chosen_is_kept_for_the_next_visit(visited: Visit, served: Site) -> None:
    page = visited.page
    visited.button("Settings").click()
    expect(page.get_by_role("combobox", name="Voice", exact=True).locator("option")).to_have_count(3)
    page.get_by_role("combobox", name="Voice", exact=True).select_option("amy")
    visited.button("Done").click()
    page.reload()
    visited.button("Settings").click()
    expect(page.get_by_role("combobox", name="Voice", exact=True)).to_have_value("amy")
    visited.button("Done").click()
    assert begin(visited, served).call.start["voice"] == "amy"


def test_the_dialog_names_the_microphones(talk: Talk) -> None:
    talk.visit.button("Settings").click()
    options = talk.visit.page.get_by_role("combobox", name="Microphone", exact=True).locator("option")
    expect(options.filter(has_text="Fake")).not_to_have_count(0)
    names = options.all_text_contents()
    assert len(set(names)) == len(names) >= 2


def test_it_does_all_this_under_its_own_policy(browser: Browser, served: Site) -> None:
    """The other tests of this file lift it, to record."""
    with visit(browser, served.http, record=False) as visited:
        talk = begin(visited, served)
        talk.hear(1, "Go on.")
        served.do(talk.call.begin(1, "One.", speech(0.5)))
        talk.wait_until_played(1, 500)
        fonts = "document.fonts.ready.then(fonts => [...fonts].map(({ family, status }) => family + ' ' + status))"
        assert visited.page.evaluate(fonts) == ['"Voice Agent" loaded']
        assert visited.complaints == []


def test_it_can_be_put_on_a_page_of_another_origin(browser: Browser, served: Site, other: Site) -> None:
    other.pages["/host"] = f"""<!doctype html>
        <html lang="en"><meta charset="utf-8"><title>A bakery</title><link rel="icon" href="data:,">
        <style>* {{ color: red; font-size: 40px }} button {{ display: none }}</style>
        <script type="module" src="{served.http}/voice-agent.js"></script>
        <h1>A bakery</h1>
        <voice-agent url="{served.ws}" instructions="You are a baker."></voice-agent></html>"""
    with visit(browser, f"{other.http}/host", also=[served.http]) as visited:
        talk = begin(visited, served)
        assert talk.call.start["instructions"] == "You are a baker."
        assert other.calls == []
        talk.hear(1, "Go on.")
        served.do(talk.call.begin(1, "One.", speech(0.5)))
        talk.wait_until_played(1, 500)
        visited.button("Settings").click()
        expect(
            visited.page.get_by_role("combobox", name="Voice", exact=True).locator("option")
        ).to_have_count(3)


def test_the_example_in_the_documentation_works(browser: Browser, served: Site, other: Site) -> None:
    [example] = re.findall(r"```html\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    example = example.replace("wss://agent.example.com/ws", served.ws)
    example = example.replace("https://agent.example.com", served.http)
    other.pages["/host"] = example.replace("</head>", '<link rel="icon" href="data:," /></head>')
    with visit(browser, f"{other.http}/host", also=[served.http]) as visited:
        begin(visited, served)
        box = visited.page.locator("voice-agent").bounding_box()
        assert box and box["height"] == 36 * 16
