"""Twilio's wire with the session that there is, and with a client that is not ours."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from streamdouble.api import CallReport
from streamdouble.scenario import Dtmf, Expect, Hangup, Say, Scenario, Wait, WaitFor
from streamdouble.session import SessionConfig

from tests.scripted import MS_PER_CHARACTER, Script, silence, speech
from tests.transports.telephony.phone import (
    PATH,
    PAUSE,
    RATE,
    WITHIN_S,
    Phone,
    app_for,
    audio,
)
from voice_agent.agent import Agent
from voice_agent.audio import Pcm16, frames, ulaw_decode, ulaw_encode
from voice_agent.transports.telephony import twilio

# With the session that there is.


def test_a_spoken_turn(phone: Phone, script: Script) -> None:
    script.transcriber.texts = ["what time is it", "thanks"]
    script.generator.replies = ["It is noon.", "Bye."]
    phone.begin(customParameters={"instructions": "Talk like a pirate."})
    phone.say(silence(500, RATE), speech(1000, RATE), PAUSE)
    length = MS_PER_CHARACTER * len("It is noon.") * RATE // 1000
    reply = silence(0)
    while len(reply) < length - 8:  # the resampler's own tail
        messages = phone.until("mark")
        phone.mark(messages[-1]["mark"]["name"])
        reply = np.concatenate([reply, audio(messages)])
    assert len(reply) == pytest.approx(length, abs=8)
    assert np.abs(reply[200:-200].astype(int) - 1000).max() < 50
    phone.say(speech(1000, RATE), PAUSE)
    phone.until("media")
    first, second = script.generator.asked
    assert [(m.role, m.content) for m in first] == [
        ("system", "Talk like a pirate."),
        ("user", "what time is it"),
    ]
    assert [(m.role, m.content) for m in second[2:]] == [("assistant", "It is noon."), ("user", "thanks")]


def test_speaking_over_a_reply_clears_it(phone: Phone, script: Script) -> None:
    script.transcriber.texts = ["hello", "wait stop"]
    script.generator.replies = ["This is a rather long reply which goes on for a while. " * 3, "Yes?"]
    phone.begin()
    phone.say(silence(500, RATE), speech(500, RATE), PAUSE)
    phone.until("media")
    phone.say(speech(1000, RATE))
    phone.until("clear")
    phone.say(PAUSE)
    phone.until("media")
    assert len(script.generator.asked) == 2


def test_a_cough_over_a_reply_makes_it_go_on_from_the_sample(
    phone: Phone, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ulaw_decode(np.random.default_rng(1).bytes(3 * RATE))

    async def speak(*_: Any, **__: Any) -> AsyncIterator[Pcm16]:
        yield whole

    monkeypatch.setattr(script.synthesizer, "rate", RATE)
    monkeypatch.setattr(script.synthesizer, "stream", speak)
    script.transcriber.texts = ["hello", ""]
    phone.begin()
    phone.say(silence(500, RATE), speech(500, RATE), PAUSE)
    before = []
    for _ in range(5):
        before += phone.until("mark")
        phone.mark(before[-1]["mark"]["name"])
    heard = len(audio(before))
    phone.say(speech(100, RATE))
    before += phone.until("clear")
    assert np.array_equal(audio(before), whole[: len(audio(before))])
    outstanding = [message["mark"]["name"] for message in before if message["event"] == "mark"][5:]
    assert outstanding
    for name in outstanding:
        phone.mark(name)
    phone.say(silence(1000, RATE))
    after = phone.until("mark")
    [since] = [at for at in range(len(whole)) if np.array_equal(audio(after)[:100], whole[at : at + 100])]
    assert heard <= since < len(audio(before))
    while len(audio(after)) < len(whole) - since:
        phone.mark(after[-1]["mark"]["name"])
        after += phone.until("mark")
    assert np.array_equal(audio(after), whole[since:])


# With a client that is not ours: streamdouble, which checks what it is sent.

Call = Callable[..., Awaitable[CallReport]]


@asynccontextmanager
async def served(agent: Agent) -> AsyncIterator[str]:
    """Serve an agent in this loop; where its calls go."""
    started = asyncio.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started.set()

    server = Server(uvicorn.Config(app_for(agent), port=0, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    await started.wait()
    try:
        yield f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}{PATH}"
    finally:
        server.should_exit = True
        await serving


def line_frames(*parts: Pcm16) -> list[bytes]:
    return [ulaw_encode(frame) for frame in frames(np.concatenate(parts), twilio.FRAME)]


def nothing_wrong(report: CallReport) -> bool:
    return not (report.violations or report.result.unknown_events or report.result.warnings)


async def test_an_independent_phone_holds_a_conversation(
    script: Script, agent: Agent, simulated_call: Call
) -> None:
    script.generator.replies = ["It is noon."]
    script.transcriber.texts = ["what time is it?"]
    question = Say(Path("question"), line_frames(silence(200, RATE), speech(500, RATE)))
    conversation = Scenario("a question", [question, WaitFor("audio"), WaitFor("quiet")])
    async with served(agent) as url:
        report = await simulated_call(url, scenario=conversation, config=SessionConfig(quiet_period_s=0.3))
    assert nothing_wrong(report)
    assert len(report.audio_received) == pytest.approx(MS_PER_CHARACTER * len("It is noon.") * 8, abs=8)
    assert report.result.clears_received == 0
    assert report.result.marks_echoed == report.result.marks_received != []
    assert report.metrics.stalls == []


async def test_an_independent_phone_interrupts_presses_a_key_and_is_dropped(
    script: Script, agent: Agent, simulated_call: Call
) -> None:
    script.transcriber.texts = ["what time is it?", "wait, what day is it?"]
    script.generator.replies = ["This is a rather long reply which goes on for a while. " * 3, "Yes?"]
    question = Say(Path("question"), line_frames(silence(200, RATE), speech(400, RATE)))
    stop = Say(Path("stop"), line_frames(speech(800, RATE)))
    steps = [
        question,
        WaitFor("audio"),
        Wait(0.5),
        Dtmf("5"),
        stop,
        WaitFor("clear"),
        Expect("clear"),
        Wait(1.5),
        Hangup(),
    ]
    async with served(agent) as url:
        report = await simulated_call(url, scenario=Scenario("barge-in", steps))
        async with asyncio.timeout(WITHIN_S):
            await agent.drain(2 * WITHIN_S)  # the session of the dropped call has ended
    assert nothing_wrong(report)
    assert report.result.failed_expectations == []
    assert len(script.generator.asked) == 2
    heard = script.generator.asked[1][2]
    assert (heard.role, heard.content.startswith("This is a")) == ("assistant", True)
    assert len(heard.content) < 80
