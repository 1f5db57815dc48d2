"""Speech over a reply, on virtual time."""

import pytest

from tests.dialogue.calling import STORY, STORY_MS, calling
from tests.scripted import MS_PER_CHARACTER, Script, silence, speech
from voice_agent.dialogue.echo import EchoGuard
from voice_agent.dialogue.events import (
    ResponseAudio,
    ResponseEnded,
    ResponsePaused,
    ResponseResumed,
    SpeechStarted,
    TurnTimeline,
    UserTranscript,
)
from voice_agent.dialogue.options import SessionOptions

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("plain_evidence")]


async def test_words_over_the_reply_stop_it_and_the_history_keeps_what_was_heard() -> None:
    script = Script()
    script.transcriber.texts = ["tell me a story", "stop"]
    script.generator.replies = [STORY, "All right."]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(silence(1000))
        await caller.say(speech(600))
        ended = await caller.until(ResponseEnded)
        before = caller.audio_ms("resp_1")
        await caller.say(silence(800))
        await caller.until(ResponseEnded, 2)
    assert ended.response == "resp_1"
    assert ended.reason == "interrupted"
    paused = caller.all(ResponsePaused)[0]
    assert ended.heard_ms == paused.heard_ms == pytest.approx(1040, abs=150)
    assert caller.audio_ms("resp_1") == before
    history = script.generator.asked[-1]
    heard = history[-2].content
    assert ended.heard == heard
    # 1.04 s at 60 ms a character is the first 17 characters or so.
    assert STORY.startswith(heard)
    assert len(heard) == pytest.approx(1040 / MS_PER_CHARACTER, abs=5)
    assert history[-1].content == "stop"
    assert (script.generator.running, script.synthesizer.running) == (0, 0)


async def test_a_noise_over_the_reply_makes_it_pause_and_go_on() -> None:
    script = Script()
    script.transcriber.texts = ["tell me a story", ""]
    script.generator.replies = [STORY]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(silence(500), speech(100), silence(1000))
        ended = await caller.until(ResponseEnded)
    paused, resumed = caller.all(ResponsePaused), caller.all(ResponseResumed)
    assert [event.response for event in paused] == ["resp_1"]
    assert [event.response for event in resumed] == ["resp_1"]
    assert ended.reason == "completed"
    assert ended.heard_ms == pytest.approx(STORY_MS, abs=5)
    assert caller.audio_ms("resp_1") == pytest.approx(STORY_MS, abs=5)
    assert len(script.generator.asked) == 1


async def test_a_client_that_cannot_pause_is_sent_again_what_it_did_not_play() -> None:
    script = Script()
    script.transcriber.texts = ["tell me a story", ""]
    script.generator.replies = [STORY]
    options = SessionOptions(client_pauses=False, lead_ms=400, output_rate=8000)
    async with calling(script, options) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(silence(500), speech(100), silence(1000))
        await caller.until(ResponseEnded)
    paused = caller.all(ResponsePaused)[0]
    at = caller.events.index(paused)
    before = sum(len(event.pcm) for event in caller.events[:at] if isinstance(event, ResponseAudio))
    after = sum(len(event.pcm) for event in caller.events[at:] if isinstance(event, ResponseAudio))
    assert before / 8 == pytest.approx(paused.heard_ms + 400, abs=70)
    assert after / 8 == pytest.approx(STORY_MS - paused.heard_ms, abs=5)


async def test_a_backchannel_over_the_reply_is_not_answered() -> None:
    script = Script()
    script.transcriber.texts = ["tell me a story", "Mm-hm."]
    script.generator.replies = [STORY]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(silence(500), speech(300), silence(1000))
        assert (await caller.until(ResponseEnded)).reason == "completed"
    assert [event.text for event in caller.final()] == ["tell me a story", ""]


async def test_our_own_words_from_the_loudspeaker_are_not_answered() -> None:
    script = Script()
    script.transcriber.texts = ["tell me a story", "a time there was a king"]
    script.generator.replies = [STORY]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(silence(500), speech(700), silence(1000))
        assert (await caller.until(ResponseEnded)).reason == "completed"
    assert len(script.generator.asked) == 1


async def test_a_long_reply_stays_interruptible() -> None:
    script = Script()
    script.transcriber.texts = ["tell me everything", "enough"]
    script.generator.replies = [STORY * 40, "All right."]
    script.generator.delay_s = 0.0
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(silence(120_000), speech(500))
        ended = await caller.until(ResponseEnded)
        await caller.say(silence(800))
        await caller.until(ResponseEnded, 2)
    assert ended.reason == "interrupted"
    assert ended.heard_ms == pytest.approx(120_040, abs=200)


async def test_nothing_of_an_interrupted_response_follows_its_end() -> None:
    script = Script()
    script.generator.replies = ["One two three. " * 10]
    async with calling(script) as caller:
        caller.session.read("count")
        await caller.until(ResponseAudio, 3)
        caller.session.interrupt()
        await caller.say(silence(3000))
    end = caller.events.index(caller.all(ResponseEnded)[0])
    assert not [event for event in caller.events[end + 1 :] if not isinstance(event, TurnTimeline)]


@pytest.mark.parametrize(
    ("at_ms", "reason"),
    [(1000, "completed"), (5100, "interrupted")],
    ids=["before the question", "after it"],
)
async def test_a_backchannel_is_judged_by_what_was_heard_by_then(at_ms: int, reason: str) -> None:
    """A question that is yet to come is not what the "mm-hm" answers."""
    script = Script()
    weather = "It is sunny and warm in all of the country today."
    script.generator.replies = [
        f"{weather} Do you want to hear about the week? Unquestionably it stays as it is."
    ]
    script.generator.delay_s = 0.0
    script.transcriber.texts = ["how is the weather", "Mm-hm."]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(silence(at_ms), speech(300), silence(1000))
        assert (await caller.until(ResponseEnded)).reason == reason


async def test_the_end_of_a_reply_that_comes_back_late_is_still_told_from_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with calling(Script()) as caller:
        await caller.ask()
        await caller.until(ResponseEnded)
        monkeypatch.setattr(EchoGuard, "is_echo", lambda *_: True)
        before = len(caller.all(SpeechStarted))
        await caller.say(speech(400), silence(1000))
        assert len(caller.all(SpeechStarted)) == before
        await caller.say(silence(1000), speech(400))  # nothing of it can come back any more
        assert len(caller.all(SpeechStarted)) == before + 1


async def test_words_over_a_reply_that_was_heard_belong_to_the_next_turn() -> None:
    script = Script()
    script.generator.replies = [STORY * 3]
    script.transcriber.texts = ["tell me a story", "yeah"]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(silence(1000), speech(600), silence(1000))
        await caller.until(ResponseEnded)
    transcripts = caller.all(UserTranscript)
    assert all(event.text == "tell me a story" for event in transcripts if event.turn == 1)
    assert transcripts[-1] == UserTranscript(2, "", final=True)
