"""Twilio's wire: with a session that does as the test says, with scripted engines, and with an independent client."""

import asyncio
import json
import logging
import queue
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect
from streamdouble.api import CallReport
from streamdouble.scenario import Dtmf, Expect, Hangup, Say, Scenario, Wait, WaitFor
from streamdouble.session import SessionConfig

from tests.scripted import MS_PER_CHARACTER, Script, silence, speech
from voice_agent.agent import Agent
from voice_agent.audio import Pcm16, frames, ms_to_samples, ulaw_decode, ulaw_encode
from voice_agent.config import ServerSettings, Settings
from voice_agent.dialogue.end_of_turn import LONGEST_MS
from voice_agent.dialogue.events import (
    Event,
    ResponseAudio,
    ResponseEnded,
    ResponsePaused,
    ResponseResumed,
    ResponseStarted,
    ResponseText,
    SessionEnded,
    SessionError,
    SpeechStarted,
    SpeechStopped,
    TurnTimeline,
    UserTranscript,
)
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.timeline import Timeline
from voice_agent.transports import closing
from voice_agent.transports.telephony import twilio

RATE = 8000
PATH = "/telephony/twilio"
SID = "MZ0123456789abcdef0123456789abcdef"
WITHIN_S = 10.0
"""For what happens in another thread: far more than it takes."""
PAUSE = silence(LONGEST_MS + 100, RATE)
"""Ends a turn whatever was said."""


class StandIn:
    """A session that says what the test tells it to, and keeps what it is told."""

    id = "stand-in"
    idle = False
    idle = False

    def __init__(self, options: SessionOptions) -> None:
        self.options = options
        self.heard = silence(0)
        """Until the last time that `settle` looked."""
        self.reports: list[tuple[str, float]] = []
        self.ended = asyncio.Event()
        self.says: asyncio.Queue[Event] = asyncio.Queue()
        self._news = asyncio.Condition()

    async def hear(self, pcm: Pcm16) -> None:
        async with self._news:
            self.heard = np.concatenate((self.heard, pcm))
            self._news.notify_all()

    async def until_heard(self, last: Pcm16) -> None:
        """Until `last` was heard; it is taken off."""
        async with asyncio.timeout(WITHIN_S), self._news:
            await self._news.wait_for(lambda: np.array_equal(self.heard[-len(last) :], last))
            self.heard = self.heard[: -len(last)]

    async def until_ended(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            await self.ended.wait()

    def played(self, response: str, ms: float) -> None:
        self.reports.append((response, ms))

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self.says.get()


class Desk:
    """An agent whose sessions are stand-ins."""

    def __init__(self) -> None:
        self.ready = True
        self.engines = Script().engines()
        self.draining = asyncio.Event()
        self.calls: queue.Queue[StandIn] = queue.Queue()

    @asynccontextmanager
    async def session(self, options: SessionOptions) -> AsyncIterator[StandIn]:
        session = StandIn(options)
        self.calls.put(session)
        try:
            yield session
        finally:
            session.ended.set()


class Phone:
    """The carrier's end of a call."""

    def __init__(self, client: TestClient, socket: WebSocketTestSession) -> None:
        self.client = client
        self.socket = socket
        self.chunk = 0
        self.closed_because = ""

    def send(self, event: str, **fields: Any) -> None:
        self.socket.send_json({"event": event, "sequenceNumber": "7", "streamSid": SID, **fields})

    def begin(self, **stream: Any) -> None:
        self.send("connected", protocol="Call", version="1.0.0")
        self.send("start", start=beginning(**stream))

    def media(self, pcm: Pcm16, **fields: Any) -> None:
        self.chunk += 1
        payload = b64encode(ulaw_encode(pcm)).decode()
        self.send("media", media={"track": "inbound", "chunk": str(self.chunk), "payload": payload} | fields)

    def say(self, *parts: Pcm16) -> None:
        for frame in frames(np.concatenate(parts), twilio.FRAME):
            self.media(frame)

    def mark(self, name: str) -> None:
        self.send("mark", mark={"name": name})

    def receive(self) -> dict[str, Any]:
        message = self.socket.receive()
        if message["type"] == "websocket.close":
            self.closed_because = message["reason"]
            raise WebSocketDisconnect(message["code"])
        received: dict[str, Any] = json.loads(message["text"])
        assert received["streamSid"] == SID
        assert received["event"] in ("media", "mark", "clear")
        return received

    def until(self, event: str) -> list[dict[str, Any]]:
        """Every message up to the first of a kind."""
        messages = [self.receive()]
        while messages[-1]["event"] != event:
            messages.append(self.receive())
        return messages

    def piece(self) -> str:
        """Audio up to its mark: the mark's name."""
        name: str = self.until("mark")[-1]["mark"]["name"]
        return name

    def close_code(self) -> int:
        with pytest.raises(WebSocketDisconnect) as caught:
            self.until("nothing")
        return int(caught.value.code)

    def call(self, what: Any, *arguments: Any) -> Any:
        """Do something on the server's loop."""
        assert self.client.portal
        return self.client.portal.call(what, *arguments)


class Line(Phone):
    """A call to a stand-in session."""

    def __init__(self, client: TestClient, socket: WebSocketTestSession, session: StandIn) -> None:
        super().__init__(client, socket)
        self.session = session

    def agent(self, *events: Event) -> None:
        """The session says this."""
        for event in events:
            self.call(self.session.says.put_nowait, event)

    def settle(self) -> None:
        """Until the server has taken all that the phone sent."""
        last = ulaw_decode(ulaw_encode(speech(20, RATE)))
        self.media(last)
        self.call(self.session.until_heard, last)


def beginning(**stream: Any) -> dict[str, Any]:
    return {
        "accountSid": "AC00",
        "streamSid": SID,
        "callSid": "CA00",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
        **stream,
    }


def audio(messages: list[dict[str, Any]]) -> Pcm16:
    """The audio among some messages."""
    return ulaw_decode(
        b"".join(
            b64decode(message["media"]["payload"]) for message in messages if message["event"] == "media"
        )
    )


def ramp(ms: float, since_ms: float = 0.0) -> Pcm16:
    """Audio of which every sample tells where it belongs, after mu-law too."""
    start = ms_to_samples(since_ms, RATE)
    where = np.arange(start, start + ms_to_samples(ms, RATE))
    return ulaw_decode((where % 251).astype(np.uint8).tobytes())


@pytest.fixture
def script() -> Script:
    script = Script()
    script.generator.delay_s = script.synthesizer.delay_s = script.transcriber.delay_s = 0.0
    return script


@pytest.fixture
def agent(script: Script) -> Agent:
    agent = Agent(Settings(server=ServerSettings(max_sessions=1)), script.engines())
    agent.ready = True
    return agent


def app_for(agent: Agent | Desk) -> FastAPI:
    app = FastAPI()

    @app.websocket(PATH)
    async def _twilio(socket: WebSocket) -> None:
        await twilio.serve(socket, cast(Agent, agent))

    return app


@pytest.fixture
def client(agent: Agent) -> Iterator[TestClient]:
    with TestClient(app_for(agent)) as client:
        yield client


@pytest.fixture
def phone(client: TestClient) -> Iterator[Phone]:
    """A call that has not begun, to scripted engines."""
    with client.websocket_connect(PATH) as socket:
        yield Phone(client, socket)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def line(desk: Desk) -> Iterator[Line]:
    """A call that has begun, to a stand-in."""
    with TestClient(app_for(desk)) as client, client.websocket_connect(PATH) as socket:
        Phone(client, socket).begin()
        yield Line(client, socket, desk.calls.get(timeout=WITHIN_S))


# How a call begins.


def test_the_session_is_of_the_telephones_rate_and_kept_short_ahead(line: Line) -> None:
    assert line.session.options == SessionOptions(
        input_rate=8000, output_rate=8000, lead_ms=twilio.LEAD_MS, client_pauses=False
    )
    assert 300 <= twilio.LEAD_MS <= 500


def test_parameters_of_the_twiml_shape_the_session(desk: Desk) -> None:
    given = {
        "instructions": "Talk like a pirate.",
        "voice": "two",
        "language": "de",
        "eagerness": "high",
        "caller": "+15005550006",
    }
    with TestClient(app_for(desk)) as client, client.websocket_connect(PATH) as socket:
        Phone(client, socket).begin(customParameters=given)
        options = desk.calls.get(timeout=WITHIN_S).options
    assert (options.instructions, options.voice) == ("Talk like a pirate.", "two")
    assert (options.language, options.eagerness) == ("de", "high")


def test_a_parameter_that_makes_no_sense_is_logged_and_the_call_goes_on(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"voice": "nobody", "language": "xx", "eagerness": "very", "instructions": "a" * 20_001}
    with TestClient(app_for(desk)) as client, client.websocket_connect(PATH) as socket:
        Phone(client, socket).begin(customParameters=given)
        options = desk.calls.get(timeout=WITHIN_S).options
    assert (options.voice, options.language, options.eagerness, options.instructions) == (None,) * 4
    assert [record.levelno for record in caplog.records if "parameter" in record.message] == [
        logging.WARNING
    ] * 4
    assert "no 'nobody', so the default is used; known are one, two" in caplog.text


@pytest.mark.parametrize(
    "parameters", [None, {}, {"voice": 5, "language": ["de"], "instructions": {}, "caller": 7}]
)
def test_parameters_that_are_no_text_do_not_fail_a_call(desk: Desk, parameters: object) -> None:
    with TestClient(app_for(desk)) as client, client.websocket_connect(PATH) as socket:
        Phone(client, socket).begin(customParameters=parameters)
        options = desk.calls.get(timeout=WITHIN_S).options
    assert (options.voice, options.language, options.instructions) == (None, None, None)


@pytest.mark.parametrize("language", ["de", "DE", "de-AT", "de_DE"])
def test_a_language_may_name_its_country(desk: Desk, language: str) -> None:
    with TestClient(app_for(desk)) as client, client.websocket_connect(PATH) as socket:
        Phone(client, socket).begin(customParameters={"language": language})
        assert desk.calls.get(timeout=WITHIN_S).options.language == "de"


def test_what_a_parameter_may_hold_in_confidence_is_not_logged(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with TestClient(app_for(desk)) as client, client.websocket_connect(PATH) as socket:
        Phone(client, socket).begin(customParameters={"token": "s3cret", "instructions": "Hush-hush."})
        desk.calls.get(timeout=WITHIN_S)
    assert "s3cret" not in caplog.text
    assert "Hush-hush" not in caplog.text


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("hello", "not JSON"),
        ("[1]", "JSON object with an event"),
        ('{"type": "start", "input_rate": 8000}', "JSON object with an event"),
        ('{"event": "dance"}', "no event 'dance'"),
        ('{"event": "media", "media": {"payload": "/w=="}}', "media before start"),
        ('{"event": "start", "start": {}}', "streamSid: Field required"),
        (json.dumps({"event": "start", "start": beginning(mediaFormat={})}), "encoding: Field required"),
        (
            json.dumps(
                {
                    "event": "start",
                    "start": beginning(
                        mediaFormat={"encoding": "audio/x-l16", "sampleRate": 8000, "channels": 1}
                    ),
                }
            ),
            "encoding: Input should be 'audio/x-mulaw'",
        ),
        (b"\0" * 320, "binary"),
    ],
)
def test_what_is_not_twilio_is_closed_with_the_reason(phone: Phone, first: str | bytes, why: str) -> None:
    if isinstance(first, bytes):
        phone.socket.send_bytes(first)
    else:
        phone.socket.send_text(first)
    assert phone.close_code() == 1008
    assert phone.closed_because.startswith("Twilio Media Streams is spoken here: ")
    assert why in phone.closed_because


def test_who_does_not_begin_is_closed(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twilio, "START_WITHIN_S", 0.01)
    with client.websocket_connect(PATH) as socket:
        phone = Phone(client, socket)
        phone.send("connected")
        assert phone.close_code() == 1008
    assert "no start within" in phone.closed_because


def test_a_full_server_says_so(client: TestClient, phone: Phone) -> None:
    phone.begin()
    phone.say(silence(500, RATE), speech(500, RATE), PAUSE)
    phone.until("media")
    with client.websocket_connect(PATH) as socket:
        second = Phone(client, socket)
        second.begin()
        assert second.close_code() == 1013
    assert "taken" in second.closed_because


def test_a_server_that_is_still_loading_says_so(phone: Phone, agent: Agent) -> None:
    agent.ready = False
    phone.begin(customParameters={"voice": "one"})
    assert phone.close_code() == 1013
    assert "loading" in phone.closed_because


# What the caller says.


def test_the_caller_is_heard(line: Line) -> None:
    said = ramp(100)
    line.say(said)
    line.settle()
    assert np.array_equal(line.session.heard, said)


def test_only_the_callers_track_is_heard_and_nothing_twice(line: Line) -> None:
    line.media(ramp(20))
    line.media(ramp(20, 500), track="outbound")
    line.media(ramp(20, 600), chunk="1")
    line.media(ramp(20, 20), chunk="5")
    line.media(ramp(20, 700), chunk="4")
    line.chunk = 5
    line.settle()
    assert np.array_equal(line.session.heard, ramp(40))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("{", "not JSON"),
        ("[]", "JSON object with an event"),
        ('{"event": "dance"}', "no event 'dance'"),
        ('{"event": 7}', "no event '7'"),
        ('{"event": "' + "x" * 1_000_000 + '"}', "no event 'xxx"),
        ('{"event": "media", "media": {"payload": "", "track": "' + "x" * 1_000_000 + '"}}', "of track 'xxx"),
        ('{"event": "media"}', "media: media: Field required"),
        ('{"event": "media", "media": {"payload": "not base64!"}}', "media: payload: "),
        ('{"event": "media", "media": {"payload": "\\u00e9"}}', "media: payload: "),
        ('{"event": "media", "media": {"payload": "/w==", "chunk": "two"}}', "media: media.chunk: "),
        ('{"event": "mark", "mark": {}}', "mark: mark.name: Field required"),
        (json.dumps({"event": "start", "start": beginning()}), "start: the call has begun"),
        (b"\0" * 160, "a binary message"),
    ],
)
def test_a_bad_message_is_logged_once_and_the_call_goes_on(
    line: Line, caplog: pytest.LogCaptureFixture, message: str | bytes, why: str
) -> None:
    for _ in range(3):
        if isinstance(message, bytes):
            line.socket.send_bytes(message)
        else:
            line.socket.send_text(message)
    line.settle()
    logged = [record.message for record in caplog.records]
    assert len(logged) == 1
    assert why in logged[0]
    assert len(logged[0]) < 500
    line.agent(ResponseStarted("r1", 1), ResponseAudio("r1", ramp(20)))
    assert [message["event"] for message in line.until("mark")] == ["media", "mark"]
    line.send("stop")
    assert line.close_code() == 1000
    assert caplog.records[-1].message.endswith(" 3")


def test_a_key_is_passed_over_and_not_logged(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    line.send("dtmf", dtmf={"track": "inbound_track", "digit": "5"})
    line.settle()
    assert "a key was pressed" in caplog.text
    assert "5" not in caplog.text.replace(SID, "")


def test_a_message_that_is_too_large_closes_the_call(line: Line) -> None:
    line.socket.send_text(" " * (closing.MAX_MESSAGE + 1))
    assert line.close_code() == 1009


# What the caller is played, and what of it counts as heard.


def test_audio_goes_out_in_frames_of_20_ms_and_loses_nothing(line: Line) -> None:
    line.agent(ResponseStarted("r1", 1), ResponseAudio("r1", ramp(60)), ResponseAudio("r1", ramp(25, 60)))
    messages = line.until("mark") + line.until("mark")
    payloads = [b64decode(m["media"]["payload"]) for m in messages if m["event"] == "media"]
    assert [len(payload) for payload in payloads] == [160, 160, 160, 160, 40]
    assert np.array_equal(audio(messages), ramp(85))


def test_a_mark_that_comes_back_tells_what_was_heard(line: Line) -> None:
    line.agent(ResponseStarted("r1", 1), ResponseAudio("r1", ramp(60)), ResponseAudio("r1", ramp(20, 60)))
    first, second = line.piece(), line.piece()
    line.mark(first)
    line.settle()
    assert line.session.reports == [("r1", 60.0)]
    line.mark(second)
    line.mark(second)
    line.mark("never sent")
    line.settle()
    assert line.session.reports == [("r1", 60.0), ("r1", 80.0)]


def test_each_response_is_counted_from_its_own_start(line: Line) -> None:
    line.agent(ResponseStarted("r1", 1), ResponseAudio("r1", ramp(60)))
    late = line.piece()
    line.agent(
        ResponseEnded("r1", "completed", 60.0, ""), ResponseStarted("r2", 2), ResponseAudio("r2", ramp(20))
    )
    of_the_second = line.piece()
    line.mark(late)
    line.mark(of_the_second)
    line.settle()
    assert line.session.reports == [("r2", 20.0)]


def test_a_pause_clears_and_what_comes_back_for_it_was_not_heard(line: Line) -> None:
    line.agent(ResponseStarted("r1", 1), *(ResponseAudio("r1", ramp(60, at)) for at in (0, 60, 120)))
    marks = [line.piece() for _ in range(3)]
    line.mark(marks[0])
    line.settle()
    line.agent(ResponsePaused("r1", 85.0))
    assert line.receive()["event"] == "clear"
    for name in marks[1:]:  # as Twilio does
        line.mark(name)
    line.settle()
    assert line.session.reports == [("r1", 60.0)]

    line.agent(ResponseResumed("r1"), ResponseAudio("r1", ramp(35, 85)), ResponseAudio("r1", ramp(60, 120)))
    again = line.until("mark") + line.until("mark")
    assert np.array_equal(audio(again), ramp(95, 85))
    for message in again:
        if message["event"] == "mark":
            assert message["mark"]["name"] not in marks
            line.mark(message["mark"]["name"])
    line.settle()
    assert line.session.reports == [("r1", 60.0), ("r1", 120.0), ("r1", 180.0)]


@pytest.mark.parametrize("reason", ["interrupted", "failed"])
def test_a_response_that_does_not_complete_is_cleared_and_not_heard(line: Line, reason: Any) -> None:
    line.agent(ResponseStarted("r1", 1), ResponseAudio("r1", ramp(60)), ResponseEnded("r1", reason, 20.0, ""))
    name = line.piece()
    assert line.receive()["event"] == "clear"
    line.mark(name)
    line.settle()
    assert line.session.reports == []


def test_nothing_but_audio_marks_and_clears_is_sent(line: Line) -> None:
    line.agent(
        SpeechStarted(10),
        SpeechStopped(20),
        UserTranscript(1, "hello", final=True),
        ResponseStarted("r1", 1),
        ResponseText("r1", "Hi.", 0.0),
        ResponseResumed("r1"),
        SessionError("generator_failed", "no"),
        TurnTimeline(Timeline("s", last_speech=0.0)),
        ResponseEnded("r1", "completed", 0.0, ""),
        ResponseStarted("r2", 2),
        ResponseAudio("r2", ramp(20)),
    )
    assert [message["event"] for message in line.until("mark")] == ["media", "mark"]


# How a call ends.


def test_stop_ends_the_session(line: Line) -> None:
    line.send("stop", stop={"accountSid": "AC00", "callSid": "CA00"})
    assert line.close_code() == 1000
    line.call(line.session.until_ended)


def test_a_socket_that_drops_ends_the_session(line: Line) -> None:
    line.socket.close(1006)
    line.call(line.session.until_ended)
    assert line.session.ended.is_set()


def test_when_the_agent_hangs_up_its_last_words_are_heard_first(line: Line) -> None:
    line.agent(
        ResponseStarted("r1", 1),
        *(ResponseAudio("r1", ramp(60, at)) for at in (0, 60)),
        ResponseEnded("r1", "completed", 120.0, ""),
        SessionEnded("quiet"),
    )
    marks = [line.piece(), line.piece()]
    line.mark(marks[0])
    line.settle()
    assert not line.session.ended.is_set()
    line.mark(marks[1])
    assert line.close_code() == 1000
    assert "quiet" in line.closed_because
    assert line.session.reports[-1] == ("r1", 120.0)


def test_a_phone_that_returns_no_marks_does_not_keep_the_line(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twilio, "HEARD_WITHIN_S", 0.01)
    line.agent(ResponseStarted("r1", 1), ResponseAudio("r1", ramp(60)), SessionEnded("quiet"))
    assert line.close_code() == 1000


def test_calls_are_told_when_the_server_ends(line: Line, desk: Desk) -> None:
    line.call(desk.draining.set)
    assert line.close_code() == 1012
    assert "shutting down" in line.closed_because


def test_a_fault_of_ours_ends_only_that_call(line: Line, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(line.session, "hear", broken)
    line.media(ramp(20))
    assert line.close_code() == 1011
    with line.client.websocket_connect(PATH) as socket:
        Phone(line.client, socket).begin()
        assert desk.calls.get(timeout=WITHIN_S)


def test_a_carrier_that_takes_nothing_is_given_up(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    async def block(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(closing, "SEND_WITHIN_S", 0.01)
    monkeypatch.setattr(WebSocket, "send_text", block)
    line.agent(ResponseStarted("r1", 1), ResponseAudio("r1", ramp(20)))
    assert line.close_code() == 1013


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
