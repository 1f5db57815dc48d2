"""The page with the real server, its engines, and recorded speech in the microphone."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import jiwer
import pytest
from playwright.sync_api import expect

from tests.chromium import Launch
from tests.fixtures import Recording, corpus_word_error_rate, normalize, recordings
from tests.serving import Server, serving
from tests.web.microphone import track
from tests.web.recording import Message
from tests.web.visit import NOT_CONNECTED, visit
from voice_agent.audio import Pcm16
from voice_agent.stages.spoken import spoken
from voice_agent.stages.transcriber import FasterWhisper

# Whisper is loaded before Playwright's loop runs in this thread, where no other can be started then.
pytestmark = [pytest.mark.engines, pytest.mark.usefixtures("whisper")]

ENVIRONMENT = {
    "VOICE_AGENT_LLM__MAX_TOKENS": "48",
    "VOICE_AGENT_LLM__TEMPERATURE": "0",
    "VOICE_AGENT_TURN__FILLER": "",
}
"""Replies of eight seconds at most, for they are heard in real time; and the same in each run, however busy the
machine is: a filler is no part of what is remembered."""
REPLY_S = 15.0
"""Time for an answer, thinking included: the microphone is silent for as long."""
TRANSCRIPT_WER = 0.25
REPLY_ERRORS = 0.20
"""In letters: of two short replies, a word that Whisper spells in its own way is a tenth."""
SILENT_WITHIN_S = 0.15
"""After the server's decision, as the issue has it."""
ON_THE_WAY_MS = 400
"""Most that may pass between the server's figure and what is heard: to the page and back, and through its buffer."""
EAR_MS = 100
"""So much apart may be where somebody wrote down that the speech ended, and where the VAD did."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server"), ENVIRONMENT) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="module")
def questions() -> list[Recording]:
    """Recordings with words, real questions first."""
    return [r for r in recordings(("query", "command")) if len(r.transcript.split()) > 5] + [
        r for r in recordings(("packaged",)) if len(r.transcript.split()) > 5
    ]


@pytest.fixture
def transcribe(whisper: FasterWhisper) -> Callable[[Pcm16], str]:
    def transcribe(pcm: Pcm16) -> str:
        with ThreadPoolExecutor(1) as pool:  # where no loop runs
            return pool.submit(lambda: asyncio.run(whisper.transcribe(pcm))).result().text

    return transcribe


def replies(messages: Sequence[Message]) -> list[tuple[Message, str, Message]]:
    """The responses that are over: their start, their text and their end."""
    every = []
    starts = [n for n, message in enumerate(messages) if message.fields["type"] == "response_started"]
    for at, following in pairwise([*starts, len(messages)]):
        started, here = messages[at], messages[at:following]  # its id may come again in another session
        text = "".join(m.fields["text"] for m in here if m.fields["type"] == "response_text")
        ends = [m for m in here if m.fields["type"] == "response_ended"]
        every += [(started, text, end) for end in ends]
    return every


def letter_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Errors for each letter of the references, all normalized."""
    return float(jiwer.cer([*map(normalize, references)], [*map(normalize, hypotheses)]))


def test_a_conversation_of_two_turns_is_right_on_the_page_and_to_the_ear(
    launch: Launch,
    server: Server,
    questions: list[Recording],
    transcribe: Callable[[Pcm16], str],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    asked = questions[:2]
    microphone = track(tmp_path / "microphone.wav", 1.0, asked[0], REPLY_S, asked[1], tail=REPLY_S)
    with visit(launch(*microphone.flags), server.http) as visited:
        visited.button("Start talking").click()
        latencies = visited.agent.locator("button.latency")
        expect(visited.agent.locator(".spoken")).to_have_count(2, timeout=60_000)
        visited.until(lambda: len(replies(visited.messages)) == 2, "the end of the second reply", 30)
        expect(latencies).to_have_count(2)
        visited.expect_floor("listening")
        heard = visited.heard()

        on_page = [entry.strip() for entry in visited.user.locator(".words").all_text_contents()]
        said = [recording.transcript for recording in asked]
        assert len(on_page) == 2
        assert corpus_word_error_rate(list(zip(said, on_page, strict=True))) <= TRANSCRIPT_WER
        expect(visited.user.nth(0)).to_have_attribute("data-state", "final")

        answers = replies(heard.messages)
        assert [end.fields["reason"] for _, _, end in answers] == ["completed", "completed"]
        shown = visited.agent.locator(".spoken").all_text_contents()
        assert [text.strip() for text in shown] == [text.strip() for _, text, _ in answers]
        sounds = [transcribe(heard.between(start.at, end.at + 0.5)) for start, _, end in answers]
        assert letter_error_rate([spoken(text) for text in shown], sounds) <= REPLY_ERRORS

        for n, (start, _, _) in enumerate(answers):
            response = start.fields["response"]
            timeline = next(m for m in heard.messages_of("timeline") if m.fields["response"] == response)
            server_ms = timeline.fields["steps"]["first_audio_sent"]
            page_ms = float(latencies.nth(n).get_attribute("data-ms") or "nan")
            _, fell_silent = heard.spoken(microphone.utterances[n])
            ear_ms = (heard.first_sound(start.at) - fell_silent) * 1000
            print(f"voice-to-voice: heard {ear_ms:.0f} ms, page {page_ms:.0f} ms, server {server_ms:.0f} ms")
            record_property(f"voice_to_voice_ms_{n + 1}", [ear_ms, page_ms, server_ms])
            stopped = [m for m in heard.messages_of("speech_stopped") if m.at < start.at][-1]
            lost_ms = max(0, timeline.behind - stopped.behind) * 1000
            assert server_ms - lost_ms < page_ms < server_ms + ON_THE_WAY_MS
            assert server_ms - lost_ms - EAR_MS < ear_ms < server_ms + ON_THE_WAY_MS


def test_the_speaker_falls_silent_as_soon_as_the_server_says_so(
    launch: Launch, server: Server, questions: list[Recording], tmp_path: Path
) -> None:
    microphone = track(tmp_path / "microphone.wav", 5.6, questions[0], tail=REPLY_S)
    with visit(launch(*microphone.flags), server.http) as visited:
        visited.button("Start talking").click()
        visited.expect_floor("listening")
        visited.type("Tell me everything that you know about the sea.")
        visited.expect_floor("speaking", 20)
        visited.until(lambda: len(replies(visited.messages)) == 2, "the end of the second reply", 45)
        heard = visited.heard()
        (_, text, ended), (second, _, last) = replies(heard.messages)
        assert ended.fields["reason"] == "interrupted"
        assert last.fields["reason"] == "completed"
        decided = [*heard.messages_of("pause", lambda m: m["response"] == ended.fields["response"]), ended][0]
        silent = heard.silent_since(decided.at)
        print(f"barge-in: silent {(silent - decided.at) * 1000:.0f} ms after {decided.fields['type']}")
        assert heard.first_sound(decided.at - 1.0) < decided.at, "the agent was not speaking"
        assert silent - decided.at < SILENT_WITHIN_S
        assert heard.first_sound(silent + 0.05) > second.at
        first = visited.agent.first
        shown, struck = first.locator(".spoken").text_content() or "", first.locator("s").text_content() or ""
        assert shown.strip() == ended.fields["heard"]
        assert struck.strip()
        assert f"{shown} {struck}".split() == text.split()
        expect(visited.user).to_have_count(2)


def test_a_conversation_goes_on_after_the_server_was_restarted(launch: Launch, tmp_path: Path) -> None:
    microphone = track(tmp_path / "microphone.wav", 60.0)
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with serving(tmp_path / "first", ENVIRONMENT) as server:
        server.wait_until_ready()
        browser = launch(*microphone.flags)
        with visit(browser, server.http, but=[NOT_CONNECTED]) as visited:
            visited.button("Start talking").click()
            visited.expect_floor("listening")
            visited.type("Hello, my name is Ada.")
            visited.until(lambda: replies(visited.messages), "the first reply", 40)
            server.end(signal.SIGTERM)
            visited.expect_floor("away")
            expect(visited.notice("server_gone")).to_be_visible()
            before = len(visited.sent)
            with serving(tmp_path / "second", ENVIRONMENT, port=server.port) as again:
                visited.expect_floor("listening", 90)
                expect(visited.notice("server_gone")).to_have_count(0)
                assert again.status("/readyz") == 200
                start = next(message for message in visited.sent[before:] if message["type"] == "start")
                assert [said["role"] for said in start["history"]] == ["user", "assistant"]
                assert start["history"][0]["text"] == "Hello, my name is Ada."
                visited.type("What is my name?")
                expect(visited.agent).to_have_count(2, timeout=40_000)
                expect(visited.agent.last).to_contain_text("Ada", timeout=20_000)
                visited.until(lambda: len(replies(visited.messages)) == 2, "the second reply", 30)
                expect(visited.user).to_have_count(2)
