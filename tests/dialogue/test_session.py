"""A whole session with scripted engines, on virtual time."""

import asyncio

import numpy as np
import pytest
from prometheus_client import REGISTRY

from tests.dialogue.calling import ENDPOINT_MS, STORY, calling
from tests.scripted import MS_PER_CHARACTER, Script, silence, speech
from voice_agent.audio import samples_to_ms
from voice_agent.dialogue import turn_taking
from voice_agent.dialogue.end_of_turn import Evidence
from voice_agent.dialogue.events import (
    Event,
    ResponseAudio,
    ResponseEnded,
    ResponseMade,
    ResponseStarted,
    ResponseText,
    ResponseTextEnded,
    SpeechStarted,
    SpeechStopped,
    TurnTimeline,
    UserTranscript,
)
from voice_agent.dialogue.options import SessionOptions
from voice_agent.speculation import INTERIM_SHARE, Speculation
from voice_agent.stages.generator.request import Message

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("plain_evidence")]


async def test_an_utterance_is_answered() -> None:
    script = Script()
    script.transcriber.texts = ["what time is it"]
    script.generator.replies = ["It is noon."]
    async with calling(script) as caller:
        await caller.say(silence(500), speech(1000), silence(800))
        ended = await caller.until(ResponseEnded)
        await caller.until(TurnTimeline)
    assert caller.all(SpeechStarted) == [SpeechStarted(500)]
    assert caller.all(SpeechStopped) == [SpeechStopped(1500)]
    assert caller.final() == [UserTranscript(1, "what time is it", final=True)]
    assert caller.all(ResponseStarted) == [ResponseStarted("resp_1", 1)]
    assert "".join(text.text for text in caller.all(ResponseText)).strip() == "It is noon."
    length = MS_PER_CHARACTER * len("It is noon.")
    assert caller.audio_ms("resp_1") == pytest.approx(length, abs=5)
    assert (ended.response, ended.reason) == ("resp_1", "completed")
    assert ended.heard_ms == pytest.approx(length, abs=5)
    live = [event for event in caller.all(UserTranscript) if not event.final]
    assert [
        type(event)
        for event in caller.events
        if not isinstance(event, ResponseAudio | ResponseText | ResponseTextEnded) and event not in live
    ] == [
        SpeechStarted,
        SpeechStopped,
        UserTranscript,
        ResponseStarted,
        ResponseMade,
        ResponseEnded,
        TurnTimeline,
    ]


async def test_the_reply_is_prepared_while_the_turn_may_not_be_over() -> None:
    script = Script()
    script.transcriber.texts = ["what time is it"]
    script.generator.replies = ["It is noon. Lunch is at one. Anything else?"]
    script.generator.delay_s = script.synthesizer.delay_s = 0.05
    async with calling(script) as caller:
        await caller.say(speech(500), silence(ENDPOINT_MS - 20))
        # Everything for the first sound is there, and nobody has heard of it.
        assert script.synthesizer.said == ["It is noon."]
        assert not caller.all(ResponseStarted)
        assert not caller.final()
        await caller.say(silence(20))
        await asyncio.sleep(0)
        assert caller.all(ResponseAudio)
        steps = (await caller.until(TurnTimeline)).timeline.steps()
    assert steps["vad_stop"] == pytest.approx(120, abs=1)
    assert steps["transcript"] == pytest.approx(220, abs=1)
    assert steps["llm_first_token"] == pytest.approx(270, abs=1)
    assert steps["end_of_turn"] == pytest.approx(600, abs=1)
    assert steps["first_audio_sent"] == pytest.approx(600, abs=1)
    assert script.generator.asked[0][-1].content == "what time is it"


async def test_what_was_prepared_is_thrown_away_if_the_user_goes_on() -> None:
    script = Script()
    script.transcriber.texts = ["I would like", "I would like tea"]
    script.generator.replies = ["What would you like?", "Here is your tea."]
    wasted = REGISTRY.get_sample_value("voice_agent_prepared_responses_total", {"outcome": "discarded"}) or 0
    async with calling(script) as caller:
        await caller.say(speech(500), silence(540))
        assert len(script.generator.asked) == 1
        await caller.say(speech(100))
        assert (script.generator.running, script.synthesizer.running) == (0, 0)
        await caller.say(speech(400), silence(800))
        await caller.until(ResponseEnded)
    assert caller.final() == [UserTranscript(1, "I would like tea", final=True)]
    assert [event.text.strip() for event in caller.all(ResponseText)] == ["Here is your tea."]
    assert [m.content for m in script.generator.asked[1]][1:] == ["I would like tea"]
    now = REGISTRY.get_sample_value("voice_agent_prepared_responses_total", {"outcome": "discarded"})
    assert now == wasted + 1


async def test_nothing_is_prepared_on_a_busy_machine() -> None:
    script = Script(speculation=Speculation(0))
    async with calling(script) as caller:
        await caller.say(speech(500), silence(ENDPOINT_MS - 20))
        assert not script.generator.asked
        await caller.say(silence(20))
        assert (await caller.until(ResponseEnded)).reason == "completed"


async def test_the_timeline_holds_every_step() -> None:
    script = Script(speculation=Speculation(0))
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(silence(100))
        caller.session.played("resp_1", 50)
        steps = (await caller.until(TurnTimeline)).timeline.steps()
    assert list(steps.values()) == sorted(steps.values())
    assert steps["last_speech"] == 0
    assert steps["vad_stop"] == pytest.approx(120, abs=1)
    assert steps["transcript"] == pytest.approx(220, abs=1)
    assert steps["end_of_turn"] == pytest.approx(600, abs=1)
    assert steps["llm_first_token"] == pytest.approx(700, abs=1)
    assert steps["tts_first_audio"] == pytest.approx(steps["first_chunk"] + 100, abs=1)
    assert steps["first_audio_sent"] == pytest.approx(steps["tts_first_audio"], abs=1)
    assert steps["first_audio_played"] == pytest.approx(steps["first_audio_sent"] + 100, abs=30)
    assert steps["response_end"] > steps["first_audio_played"]


async def test_live_transcripts_come_while_the_user_speaks() -> None:
    script = Script()
    script.transcriber.texts = ["a long story", "a long story indeed"]
    async with calling(script) as caller:
        await caller.say(speech(2000))
        assert caller.all(UserTranscript)[0] == UserTranscript(1, "a long story", final=False)
        assert not script.transcriber.heard  # only looked at
        await caller.say(silence(800))
        await caller.until(ResponseEnded)
    assert caller.final() == [UserTranscript(1, "a long story", final=True)]


async def test_live_transcripts_take_a_bounded_share_of_the_time() -> None:
    script = Script()
    script.transcriber.delay_s = 0.5
    async with calling(script) as caller:
        await caller.say(speech(20_000))
    looks = len(caller.all(UserTranscript))
    assert 0 < looks * script.transcriber.delay_s <= 20 * INTERIM_SHARE + script.transcriber.delay_s


async def test_the_utterance_that_is_transcribed_includes_its_onset() -> None:
    script = Script()
    async with calling(script) as caller:
        await caller.say(silence(2000), speech(700), silence(800))
        await caller.until(ResponseStarted)
    heard = script.transcriber.heard[0]
    assert np.count_nonzero(heard) == len(speech(700))
    assert 1000 <= samples_to_ms(len(heard)) <= 1400


async def test_audio_comes_in_any_rate_and_in_any_pieces() -> None:
    script = Script()
    async with calling(script, SessionOptions(input_rate=48_000)) as caller:
        audio = np.concatenate([silence(500, 48_000), speech(700, 48_000), silence(800, 48_000)])
        for start in range(0, len(audio), 777):
            await caller.session.hear(audio[start : start + 777])
            await asyncio.sleep(777 / 48_000)
        await caller.until(ResponseStarted)
    assert caller.all(SpeechStarted)[0].ms == pytest.approx(500, abs=25)
    assert caller.all(SpeechStopped)[0].ms == pytest.approx(1200, abs=25)


async def test_several_turns_share_a_history() -> None:
    script = Script()
    script.transcriber.texts = ["my name is Ann", "what is my name"]
    script.generator.replies = ["Hello Ann.", "You are Ann."]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseEnded)
        await caller.ask()
        await caller.until(ResponseEnded, 2)
    assert [(m.role, m.content) for m in script.generator.asked[1]][1:] == [
        ("user", "my name is Ann"),
        ("assistant", "Hello Ann."),
        ("user", "what is my name"),
    ]


async def test_a_conversation_goes_on_where_an_earlier_session_left_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    def weigh(evidence: Evidence) -> float:
        said.append(evidence.agent_said)
        return float(evidence.silence_ms >= ENDPOINT_MS)

    monkeypatch.setattr(turn_taking, "probability", weigh)
    history = (Message("user", "my name is Ann"), Message("assistant", "Hello Ann. And yours?"))
    script = Script()
    script.transcriber.texts = ["what is my name"]
    async with calling(script, SessionOptions(history=history)) as caller:
        await caller.ask()
        await caller.until(ResponseEnded)
    assert tuple(script.generator.asked[0][1:]) == (*history, Message("user", "what is my name"))
    assert caller.final() == [UserTranscript(1, "what is my name", final=True)]
    assert said[0] == "Hello Ann. And yours?"


async def test_what_was_left_unanswered_by_an_earlier_session_is_part_of_the_first_turn() -> None:
    script = Script()
    script.transcriber.texts = ["with milk", "thank you"]
    async with calling(script, SessionOptions(history=(Message("user", "I'd like tea"),))) as caller:
        await caller.ask()
        await caller.until(ResponseEnded)
        await caller.ask()
        await caller.until(ResponseEnded, 2)
    assert script.generator.asked[0][1:] == [Message("user", "I'd like tea with milk")]
    assert caller.final() == [
        UserTranscript(1, "I'd like tea with milk", final=True),
        UserTranscript(2, "thank you", final=True),
    ]


async def test_a_client_can_tell_which_words_are_being_spoken() -> None:
    script = Script()
    script.generator.replies = ["It is noon. Lunch is at one."]
    async with calling(script) as caller:
        await caller.ask()
        ended = await caller.until(ResponseEnded)
    texts, ends = caller.all(ResponseText), caller.all(ResponseTextEnded)
    assert [event.text.strip() for event in texts] == ["It is noon.", "Lunch is at one."]
    assert [event.start_ms for event in texts] == [0, ends[0].end_ms]
    assert ends[0].end_ms == pytest.approx(MS_PER_CHARACTER * len("It is noon."), abs=5)
    assert ends[1].end_ms == pytest.approx(caller.audio_ms("resp_1"), abs=1)
    order = [event for event in caller.events if isinstance(event, ResponseText | ResponseTextEnded)]
    assert order == [texts[0], ends[0], texts[1], ends[1]]
    assert ended.heard == "It is noon. Lunch is at one."


async def test_an_utterance_without_words_gets_no_answer() -> None:
    script = Script()
    script.transcriber.texts = [""]
    async with calling(script) as caller:
        await caller.ask()
        assert await caller.until(UserTranscript) == UserTranscript(1, "", final=True)
    assert not caller.all(ResponseStarted)
    assert not script.generator.asked


async def test_a_pause_in_the_middle_makes_no_second_turn() -> None:
    script = Script()
    script.transcriber.delay_s = 0.3
    async with calling(script) as caller:
        await caller.say(speech(500), silence(400), speech(500), silence(800))
        await caller.until(ResponseEnded)
    assert len(caller.final()) == 1
    # The transcript of the first half was thrown away: the one that counts is of the whole.
    assert np.count_nonzero(script.transcriber.heard[-1]) == 2 * len(speech(500))


async def test_a_client_that_reports_its_playback_decides_what_was_heard() -> None:
    script = Script()
    script.generator.replies = ["One two three four five six. Seven eight nine ten eleven twelve."]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(silence(2000))
        caller.session.played("resp_1", 600)
        caller.session.interrupt()
        ended = await caller.until(ResponseEnded)
    assert ended.heard_ms == pytest.approx(600)


async def test_speech_before_the_reply_is_heard_is_one_message_with_what_came_before() -> None:
    script = Script()
    script.transcriber.texts = ["I would like", "a coffee"]
    script.generator.delay_s = 2.0
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseStarted)
        await caller.ask()
        await caller.until(ResponseEnded, 2)
    assert [m.content for m in script.generator.asked[-1]][1:] == ["I would like a coffee"]
    assert caller.final()[-1] == UserTranscript(1, "I would like a coffee", final=True)
    assert [(event.turn, event.response) for event in caller.all(ResponseStarted)] == [
        (1, "resp_1"),
        (1, "resp_2"),
    ]


async def test_typed_text_is_answered_in_place_of_what_is_being_said() -> None:
    script = Script()
    script.generator.replies = ["A very long reply that nobody is waiting for.", "Yes."]
    async with calling(script) as caller:
        caller.session.read("go on")
        await caller.until(ResponseAudio)
        await caller.say(silence(1000))
        caller.session.read("are you there?")
        await caller.until(ResponseEnded, 2)
        await caller.until(TurnTimeline, 2)
    assert [(event.response, event.reason) for event in caller.all(ResponseEnded)] == [
        ("resp_1", "interrupted"),
        ("resp_2", "completed"),
    ]
    assert [event.turn for event in caller.final()] == [1, 2]


async def test_audio_is_sent_ahead_of_playback_but_not_far() -> None:
    script = Script()
    script.generator.replies = ["A sentence of some forty characters here. " * 5]
    script.generator.delay_s = 0.0
    async with calling(script, SessionOptions(lead_ms=1000)) as caller:
        clock = asyncio.get_running_loop().time
        caller.session.read("go on")
        await caller.until(ResponseAudio)
        begun = clock()
        await caller.say(silence(3000))
        sent = caller.audio_ms("resp_1")
        assert sent == pytest.approx((clock() - begun) * 1000 + 1000, abs=150)
        caller.session.interrupt()


async def test_two_sessions_share_engines_and_nothing_else() -> None:
    script = Script()
    async with calling(script) as one, calling(script) as two:
        one.session.read("hello")
        await one.until(ResponseEnded)
    assert one.session.id != two.session.id
    assert not two.events


async def test_a_session_that_ends_in_mid_reply_leaves_no_task() -> None:
    script = Script()
    before = asyncio.all_tasks()
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(speech(100), silence(220))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert (script.generator.running, script.synthesizer.running) == (0, 0)


@pytest.mark.parametrize("typed", ["", "   ", "\n\t"])
async def test_typed_text_with_nothing_in_it_is_passed_over(typed: str) -> None:
    script = Script()
    script.generator.replies = [STORY]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        caller.session.read(typed)
        assert (await caller.until(ResponseEnded)).reason == "completed"
        assert len(caller.final()) == 1


@pytest.mark.parametrize("prepared", [True, False])
async def test_that_all_was_made_is_told_before_it_was_played(prepared: bool) -> None:
    script = Script(speculation=Speculation(4 if prepared else 0))
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseEnded)
    order = [
        type(event)
        for event in caller.events
        if isinstance(event, ResponseStarted | ResponseMade | ResponseEnded)
    ]
    assert order == [ResponseStarted, ResponseMade, ResponseEnded]


async def test_a_turn_on_which_the_user_hangs_up_is_measured() -> None:
    seen: list[Event] = []
    async with calling(Script()) as caller:
        caller.session.subscribe(seen.append)
        await caller.ask()
        await caller.until(ResponseStarted)
    assert any(isinstance(event, TurnTimeline) for event in seen)
