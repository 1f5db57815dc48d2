"""The native wire, with scripted engines behind it."""

import asyncio
import re

import numpy as np
import pytest
from fastapi import WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession

from tests.scripted import MS_PER_CHARACTER, Script, silence, speech
from tests.transports.wire import close_code, receive, send_audio, until
from voice_agent.agent import Agent
from voice_agent.dialogue.turn_taking import TurnTaking
from voice_agent.transports import closing
from voice_agent.transports.closing import MAX_MESSAGE


def test_a_spoken_turn(wire: WebSocketTestSession, script: Script) -> None:
    script.transcriber.texts = ["what time is it"]
    script.generator.replies = ["It is noon."]
    send_audio(wire, silence(500), speech(1000), silence(3500))
    messages = until(wire, "timeline")
    messages = [
        message for message in messages if message.get("final", True)
    ]  # live transcripts come when they can
    kinds = [message["type"] for message in messages]
    # It is told once it is so: before the audio goes out, or meanwhile.
    assert kinds.index("response_text") < kinds.index("response_text_ended") < kinds.index("response_ended")
    assert list(dict.fromkeys(kind for kind in kinds if kind != "response_text_ended")) == [
        "speech_started",
        "speech_stopped",
        "transcript",
        "response_started",
        "response_text",
        "audio",
        "response_ended",
        "timeline",
    ]
    by_type = {message["type"]: message for message in messages}
    assert by_type["speech_started"]["ms"] == 500
    assert by_type["speech_stopped"]["ms"] == 1500
    assert by_type["transcript"] == {
        "type": "transcript",
        "turn": 1,
        "text": "what time is it",
        "final": True,
    }
    response = by_type["response_started"]["response"]
    assert by_type["response_started"]["turn"] == 1
    assert (by_type["response_text"]["response"], by_type["response_text"]["start_ms"]) == (response, 0)
    pcm = np.concatenate([message["pcm"] for message in messages if message["type"] == "audio"])
    length = MS_PER_CHARACTER * len("It is noon.")
    assert len(pcm) == pytest.approx(length * 24, rel=0.01)
    ended = by_type["response_ended"]
    assert (ended["response"], ended["reason"], ended["heard"]) == (response, "completed", "It is noon.")
    assert ended["heard_ms"] == pytest.approx(length, abs=5)
    text_ended = by_type["response_text_ended"]
    assert text_ended["response"] == response
    assert text_ended["end_ms"] == pytest.approx(length, abs=5)
    assert {"last_speech", "end_of_turn", "first_audio_sent"} <= set(by_type["timeline"]["steps"])


def test_typed_text_is_answered_with_the_given_instructions(client: TestClient, script: Script) -> None:
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start", "instructions": "Talk like a pirate."})
        receive(socket)
        socket.send_json({"type": "text", "text": "hello"})
        messages = until(socket, "response_ended")
    assert messages[0] == {"type": "transcript", "turn": 1, "text": "hello", "final": True}
    assert [(m.role, m.content) for m in script.generator.asked[0]] == [
        ("system", "Talk like a pirate."),
        ("user", "hello"),
    ]


def test_half_an_emoji_is_not_the_end_of_a_message(client: TestClient, script: Script) -> None:
    with client.websocket_connect("/ws") as socket:
        socket.send_text('{"type": "start", "instructions": "Be \\ud83d nice"}')
        assert receive(socket)["type"] == "ready"
        script.generator.replies = ["Well \ud83d then."]
        socket.send_text('{"type": "text", "text": "hello \\ude00 there \\ud83d\\ude00"}')
        messages = until(socket, "response_ended")
    assert messages[0]["text"] == "hello \ufffd there \U0001f600"
    assert script.generator.asked[0][0].content == "Be \ufffd nice"
    assert messages[-1]["heard"] == "Well \ufffd then."


def test_a_button_that_is_held_makes_the_turn(wire: WebSocketTestSession, script: Script) -> None:
    script.transcriber.texts = ["well", "well yes"]
    wire.send_json({"type": "push_to_talk", "pressed": True})
    send_audio(wire, speech(500), silence(3000), speech(500))
    wire.send_json({"type": "push_to_talk", "pressed": False})
    messages = until(wire, "response_ended")
    final = [message for message in messages if message["type"] == "transcript" and message["final"]]
    assert [message["text"] for message in final] == ["well yes"]


def test_a_ping_is_answered_on_the_clock_of_the_timelines(wire: WebSocketTestSession) -> None:
    wire.send_json({"type": "text", "text": "hello"})
    timeline = until(wire, "timeline")[-1]
    wire.send_json({"type": "ping", "id": 7})
    pong = until(wire, "pong")[-1]
    assert pong["id"] == 7
    since_ms = pong["server_ms"] - timeline["server_ms"]
    assert timeline["steps"]["response_end"] <= since_ms < timeline["steps"]["response_end"] + 5000


def test_interrupt_ends_the_response_and_playback_decides_what_was_heard(
    wire: WebSocketTestSession, script: Script
) -> None:
    script.generator.replies = ["This is a rather long reply, which goes on and on for a while. " * 3]
    wire.send_json({"type": "text", "text": "hello"})
    response = until(wire, "audio")[-3]["response"]
    wire.send_json({"type": "played", "response": response, "ms": 1000})
    wire.send_json({"type": "interrupt"})
    ended = until(wire, "response_ended")[-1]
    assert ended["reason"] == "interrupted"
    assert receive(wire)["type"] == "timeline"
    wire.send_json({"type": "text", "text": "and now?"})
    until(wire, "response_ended")
    assert "This is a rather" in script.generator.asked[1][-2].content
    assert len(script.generator.asked[1][-2].content) < 40


def test_stop_closes_the_connection(wire: WebSocketTestSession) -> None:
    wire.send_json({"type": "stop"})
    assert close_code(wire) == 1000


@pytest.mark.parametrize(
    ("message", "code", "said"),
    [
        ("{", "invalid_json", "not JSON"),
        ("", "invalid_json", "not JSON"),
        ("[1]", "unknown_type", "JSON object with a type"),
        ('"start"', "unknown_type", "JSON object with a type"),
        ("{}", "unknown_type", "JSON object with a type"),
        ('{"type": "dance"}', "unknown_type", "'dance'.*'played'"),
        ('{"type": 7}', "unknown_type", "7"),
        ('{"type": "played", "ms": 5}', "invalid_field", "response: .*required"),
        ('{"type": "played", "response": "r", "ms": -1}', "invalid_field", "ms: .*greater"),
        ('{"type": "played", "response": "r", "ms": "soon"}', "invalid_field", "ms: .*number"),
        ('{"type": "text", "text": ""}', "invalid_field", "text: .*at least 1"),
        ('{"type": "text", "text": " \\n\\u00a0\\u200b"}', "invalid_field", "text: .*white space"),
        ('{"type": "ping", "id": 1e300}', "invalid_field", "id: "),
        ('{"type": "ping", "id": ' + "9" * 4000 + "}", "invalid_field", "id: "),
        ('{"type": "' + "x" * 1_000_000 + '"}', "unknown_type", "'xxx.*'played'"),
        ('{"type": "stop", "' + "x" * 1_000_000 + '": 1}', "invalid_field", "unknown field"),
        ('{"type": "played", "response": "' + "x" * 1_000_000 + '", "ms": 1}', "invalid_field", "response"),
        ("[" * 1_000_000, "invalid_json", "not JSON"),
        ('{"type": "played", "response": "r", "ms": NaN}', "invalid_field", "ms: .*finite"),
        ('{"type": "played", "response": "r", "ms": Infinity}', "invalid_field", "ms: .*finite"),
        ('{"type": "text", "text": "a", "loud": true}', "invalid_field", "loud: unknown field"),
        ('{"type": "push_to_talk"}', "invalid_field", "pressed: .*required"),
        ('{"type": "start"}', "late_start", "first"),
    ],
)
def test_a_bad_message_is_named_and_the_session_goes_on(
    wire: WebSocketTestSession, message: str, code: str, said: str
) -> None:
    wire.send_text(message)
    answer = receive(wire)
    assert (answer["type"], answer["code"]) == ("error", code)
    assert re.search(said, answer["message"])
    assert len(answer["message"]) < 500
    wire.send_json({"type": "text", "text": "still there?"})
    assert until(wire, "response_ended")[-1]["reason"] == "completed"


def test_half_a_sample_is_refused_and_the_session_goes_on(wire: WebSocketTestSession) -> None:
    wire.send_bytes(b"\0" * 641)
    answer = receive(wire)
    assert (answer["type"], answer["code"]) == ("error", "odd_audio")
    wire.send_bytes(b"")
    send_audio(wire, speech(500))
    assert receive(wire)["type"] == "speech_started"


@pytest.mark.parametrize("size", [MAX_MESSAGE + 2, 3 * MAX_MESSAGE])
def test_a_message_that_is_too_large_closes_the_connection(wire: WebSocketTestSession, size: int) -> None:
    wire.send_bytes(b"\0" * size)
    assert receive(wire)["code"] == "too_large"
    assert close_code(wire) == 1009


def test_a_message_of_just_the_limit_is_heard(wire: WebSocketTestSession) -> None:
    wire.send_bytes(b"\0" * MAX_MESSAGE)
    wire.send_json({"type": "text", "text": "hello"})
    assert until(wire, "transcript")[-1]["text"] == "hello"  # half a minute of silence was heard before


def test_a_full_server_says_so(client: TestClient) -> None:
    with client.websocket_connect("/ws") as one, client.websocket_connect("/ws") as two:
        for socket in (one, two):
            socket.send_json({"type": "start"})
            receive(socket)
        with client.websocket_connect("/ws") as three:
            three.send_json({"type": "start"})
            answer = receive(three)
            assert (answer["type"], answer["code"]) == ("error", "server_full")
            assert close_code(three) == 1013
        one.send_json({"type": "stop"})
        assert close_code(one) == 1000
        with client.websocket_connect("/ws") as four:
            four.send_json({"type": "start"})
            assert receive(four)["type"] == "ready"


def test_a_server_that_is_still_loading_says_so(client: TestClient, agent: Agent) -> None:
    agent.ready = False
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start"})
        assert receive(socket)["code"] == "not_ready"
        assert close_code(socket) == 1013


def test_sessions_are_told_when_the_server_ends(client: TestClient, agent: Agent) -> None:
    assert client.portal
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start"})
        receive(socket)
        client.portal.call(agent.drain, 5.0)
        assert receive(socket)["code"] == "shutting_down"
        assert close_code(socket) == 1012


def broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError


def test_a_fault_in_an_engine_is_told_and_the_session_goes_on(client: TestClient, script: Script) -> None:
    with client.websocket_connect("/ws") as socket:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(script.generator, "stream", broken)
            socket.send_json({"type": "text", "text": "hello"})
            assert until(socket, "error")[-1]["code"] == "generator_failed"
            assert "Sorry" in until(socket, "response_text")[-1]["text"]
            assert until(socket, "response_ended")[-1]["reason"] == "failed"
        socket.send_json({"type": "text", "text": "hello"})
        assert until(socket, "response_ended")[-1]["reason"] == "completed"


def test_a_fault_of_ours_in_hearing_is_told_and_ends_only_that_session(client: TestClient) -> None:
    with client.websocket_connect("/ws") as socket, pytest.MonkeyPatch.context() as patch:
        socket.send_json({"type": "start"})
        receive(socket)
        patch.setattr(TurnTaking, "frame", broken)
        socket.send_bytes(b"\0" * 640)
        assert until(socket, "error")[-1]["code"] == "internal_error"
        assert close_code(socket) == 1011
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "text", "text": "hello"})
        assert until(socket, "response_ended")[-1]["reason"] == "completed"


def test_a_client_that_reads_nothing_is_given_up(
    client: TestClient, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "SEND_WITHIN_S", 0.01)
    blocked = False

    async def block(_: WebSocket, message: str) -> None:
        nonlocal blocked
        if '"transcript"' in message and not blocked:
            blocked = True
            await asyncio.Event().wait()
        await original(_, message)

    original = WebSocket.send_text
    monkeypatch.setattr(WebSocket, "send_text", block)
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "text", "text": "hello"})
        assert until(socket, "error")[-1]["code"] == "slow_client"
        assert close_code(socket) == 1013
