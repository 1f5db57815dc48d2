"""A whole session with scripted engines, on virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import numpy as np
import pytest

from tests.scripted import MS_PER_CHARACTER, Script, silence, speech
from voice_agent.audio import Pcm16, samples_to_ms
from voice_agent.config import Settings, TurnSettings
from voice_agent.errors import StageError
from voice_agent.events import (
    Event,
    ResponseAudio,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    SessionError,
    SpeechStarted,
    SpeechStopped,
    TurnTimeline,
    UserTranscript,
)
from voice_agent.session import OUTBOX, ClientTooSlow, Session, SessionOptions, open_session

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

SETTINGS = Settings(turn=TurnSettings(start_ms=60, stop_ms=200, endpoint_ms=600, barge_in_ms=240))
TIMEOUT_S = 60


E = TypeVar("E")


class Caller:
    """A client of one session: its microphone, and a record of what it was told."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.events: list[Event] = []
        self._news = asyncio.Condition()

    async def listen(self) -> None:
        async for event in self.session.events():
            async with self._news:
                self.events.append(event)
                self._news.notify_all()

    async def say(self, *parts: Pcm16) -> None:
        """Into the microphone, in real time."""
        rate = self.session.options.input_rate
        audio = np.concatenate(parts)
        for start in range(0, len(audio), rate // 50):
            frame = audio[start : start + rate // 50]
            await asyncio.sleep(len(frame) / rate)
            await self.session.hear(frame)

    async def ask(self) -> None:
        await self.say(speech(500), silence(800))

    async def until(self, kind: type[E], count: int = 1) -> E:
        """The `count`th event of a kind, waiting for it."""
        async with asyncio.timeout(TIMEOUT_S), self._news:
            await self._news.wait_for(lambda: len(self.all(kind)) >= count)
        return self.all(kind)[count - 1]

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def audio_ms(self, response: str) -> float:
        pcm = [event.pcm for event in self.all(ResponseAudio) if event.response == response]
        return samples_to_ms(sum(map(len, pcm)), self.session.options.output_rate)


@asynccontextmanager
async def calling(script: Script, options: SessionOptions | None = None) -> AsyncIterator[Caller]:
    async with open_session(script.engines(), SETTINGS, options or SessionOptions()) as session:
        caller = Caller(session)
        listening = asyncio.create_task(caller.listen())
        yield caller
        listening.cancel()


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
    assert caller.all(UserTranscript) == [UserTranscript(1, "what time is it", final=True)]
    assert caller.all(ResponseStarted) == [ResponseStarted("resp_1", 1)]
    assert "".join(text.text for text in caller.all(ResponseText)).strip() == "It is noon."
    length = MS_PER_CHARACTER * len("It is noon.")
    assert caller.audio_ms("resp_1") == pytest.approx(length, abs=5)
    assert (ended.response, ended.reason) == ("resp_1", "completed")
    assert ended.heard_ms == pytest.approx(length, abs=5)
    assert [
        type(event) for event in caller.events if not isinstance(event, ResponseAudio | ResponseText)
    ] == [
        SpeechStarted,
        SpeechStopped,
        UserTranscript,
        ResponseStarted,
        ResponseEnded,
        TurnTimeline,
    ]


async def test_the_timeline_holds_every_step_in_order() -> None:
    async with calling(Script()) as caller:
        await caller.ask()
        await caller.until(ResponseAudio)
        await caller.say(silence(100))
        caller.session.played("resp_1", 50)
        steps = (await caller.until(TurnTimeline)).timeline.steps()
    assert list(steps.values()) == sorted(steps.values())
    assert steps["last_speech"] == 0
    assert steps["vad_stop"] == pytest.approx(200, abs=1)
    assert steps["transcript"] == pytest.approx(300, abs=1)
    assert steps["end_of_turn"] == pytest.approx(600, abs=1)
    assert steps["llm_first_token"] == pytest.approx(700, abs=1)
    assert steps["tts_first_audio"] == pytest.approx(steps["first_chunk"] + 100, abs=1)
    assert steps["first_audio_sent"] == pytest.approx(steps["tts_first_audio"], abs=1)
    assert steps["first_audio_played"] == pytest.approx(steps["first_audio_sent"] + 100, abs=30)
    assert steps["response_end"] > steps["first_audio_played"]


async def test_the_utterance_that_is_transcribed_includes_its_onset() -> None:
    script = Script()
    async with calling(script) as caller:
        await caller.say(silence(2000), speech(700), silence(800))
        await caller.until(UserTranscript)
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
        await caller.until(UserTranscript)
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
    assert len(caller.all(UserTranscript)) == 1
    # The transcript of the first half was thrown away: the one that counts is of the whole.
    assert np.count_nonzero(script.transcriber.heard[-1]) == 2 * len(speech(500))


async def test_speech_over_the_reply_stops_it_and_the_history_keeps_what_was_heard() -> None:
    script = Script()
    script.transcriber.texts = ["tell me a story", "stop"]
    script.generator.replies = [
        "Once upon a time there was a king who had three very clever daughters.",
        "All right.",
    ]
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
    assert ended.heard_ms == pytest.approx(1240, abs=150)
    assert caller.audio_ms("resp_1") == before
    history = script.generator.asked[1]
    heard = history[-2].content
    # 1.24 s at 60 ms a character is the first 20 characters or so.
    assert "Once upon a time there was".startswith(heard)
    assert len(heard) == pytest.approx(1240 / MS_PER_CHARACTER, abs=5)
    assert (script.generator.running, script.synthesizer.running) == (0, 0)


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
    assert [m.content for m in script.generator.asked[1]][1:] == ["I would like a coffee"]


async def test_typed_text_is_answered_in_place_of_what_is_being_said() -> None:
    script = Script()
    script.generator.replies = ["A very long reply that nobody is waiting for.", "Yes."]
    async with calling(script) as caller:
        caller.session.read("go on")
        await caller.until(ResponseAudio)
        caller.session.read("are you there?")
        await caller.until(ResponseEnded, 2)
        await caller.until(TurnTimeline, 2)
    assert [(event.response, event.reason) for event in caller.all(ResponseEnded)] == [
        ("resp_1", "interrupted"),
        ("resp_2", "completed"),
    ]
    assert [event.turn for event in caller.all(UserTranscript)] == [1, 2]


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


async def test_a_failing_model_is_heard_of_and_the_session_goes_on() -> None:
    script = Script()
    script.generator.replies = [StageError("generator", "no route to host"), "Fine now."]
    async with calling(script) as caller:
        await caller.ask()
        ended = await caller.until(ResponseEnded)
        await caller.ask()
        await caller.until(ResponseEnded, 2)
    assert caller.all(SessionError) == [SessionError("generator_failed", "no route to host")]
    assert ended.reason == "failed"
    assert "Sorry" in script.synthesizer.said[0]
    assert caller.audio_ms("resp_1") > 0
    assert caller.all(ResponseEnded)[1].reason == "completed"


async def test_an_empty_reply_is_a_failure() -> None:
    script = Script()
    script.generator.replies = [" "]
    async with calling(script) as caller:
        await caller.ask()
        assert (await caller.until(ResponseEnded)).reason == "failed"
    assert caller.all(SessionError)[0].code == "generator_failed"


async def test_a_failing_voice_is_heard_of_and_the_session_goes_on() -> None:
    script = Script()
    script.synthesizer.error = StageError("synthesizer", "out of memory")
    async with calling(script) as caller:
        await caller.ask()
        assert (await caller.until(ResponseEnded)).reason == "failed"
        assert caller.all(SessionError) == [SessionError("synthesizer_failed", "out of memory")]
        script.synthesizer.error = None
        await caller.ask()
        assert (await caller.until(ResponseEnded, 2)).reason == "completed"


async def test_a_failing_transcriber_is_heard_of_and_the_session_goes_on() -> None:
    script = Script()
    script.transcriber.texts = [StageError("transcriber", "took too long"), "hello"]
    async with calling(script) as caller:
        await caller.ask()
        await caller.until(ResponseEnded)
        await caller.ask()
        await caller.until(ResponseEnded, 2)
    assert caller.all(SessionError) == [SessionError("transcriber_failed", "took too long")]
    assert "Sorry" in script.synthesizer.said[0]
    assert [event.turn for event in caller.all(ResponseStarted)] == [1, 2]
    assert [event.turn for event in caller.all(UserTranscript)] == [2]


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


async def test_a_session_whose_events_nobody_takes_ends() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_session(Script().engines(), SETTINGS, SessionOptions()) as session:
            for _ in range(OUTBOX + 1):
                session.report(SessionError("code", "message"))
    assert caught.group_contains(ClientTooSlow)
