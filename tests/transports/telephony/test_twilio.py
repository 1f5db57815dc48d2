"""Twilio's wire with a session that does as the test says: what is said in a call, and how it ends."""

import asyncio
import json
import logging
from base64 import b64decode
from typing import Any

import numpy as np
import pytest
from fastapi import WebSocket

from tests.transports.telephony.phone import (
    PATH,
    SID,
    WITHIN_S,
    Desk,
    Line,
    Phone,
    audio,
    beginning,
    ramp,
)
from voice_agent.dialogue.events import (
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
from voice_agent.dialogue.timeline import Timeline
from voice_agent.transports import closing
from voice_agent.transports.telephony import twilio

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
