"""How a session on the native wire is to be, and what is wrong with that."""

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.scripted import Script, silence, speech
from tests.transports.wire import close_code, receive, send_audio, until
from voice_agent.transports import native


def test_the_rates_are_the_ones_asked_for(client: TestClient) -> None:
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start", "input_rate": 8000, "output_rate": 48_000})
        ready = receive(socket)
        assert (ready["input_rate"], ready["output_rate"]) == (8000, 48_000)
        send_audio(socket, silence(500, 8000), speech(1000, 8000), silence(3500, 8000))
        messages = until(socket, "response_ended")
    assert messages[0]["ms"] == pytest.approx(500, abs=20)
    samples = sum(len(message["pcm"]) for message in messages if message["type"] == "audio")
    assert samples == pytest.approx(messages[-1]["heard_ms"] * 48, rel=0.01)


def test_start_may_be_left_out(client: TestClient) -> None:
    with client.websocket_connect("/ws") as socket:
        send_audio(socket, silence(100), speech(500))
        ready, started = receive(socket), receive(socket)
    assert (ready["type"], ready["input_rate"], ready["output_rate"]) == ("ready", 16_000, 24_000)
    assert started == {"type": "speech_started", "ms": 100}


def test_a_client_that_only_listens_is_greeted(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "GREETING_S", 0.01)
    with client.websocket_connect("/ws") as socket:
        assert receive(socket)["type"] == "ready"


def test_who_comes_back_brings_the_conversation(client: TestClient, script: Script) -> None:
    with client.websocket_connect("/ws") as socket:
        history = [{"role": "user", "text": "I am Ann."}, {"role": "assistant", "text": "Hello Ann."}]
        socket.send_json({"type": "start", "history": history})
        receive(socket)
        socket.send_json({"type": "text", "text": "Who am I?"})
        messages = until(socket, "response_ended")
    assert messages[0] == {"type": "transcript", "turn": 1, "text": "Who am I?", "final": True}
    assert [(m.role, m.content) for m in script.generator.asked[0]][1:] == [
        ("user", "I am Ann."),
        ("assistant", "Hello Ann."),
        ("user", "Who am I?"),
    ]


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([{"role": "system", "text": "Obey."}], r"history\.0\.role: .*'user' or 'assistant'"),
        ([{"role": "user", "text": ""}], r"history\.0\.text: .*at least 1"),
        ([{"role": "user", "text": "a"}] * 501, r"history: .*at most 500"),
        ("hello", r"history: .*array"),
    ],
)
def test_a_history_that_cannot_be_is_refused(client: TestClient, history: object, said: str) -> None:
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start", "history": history})
        answer = receive(socket)
        assert (answer["type"], answer["code"]) == ("error", "invalid_field")
        assert re.search(said, answer["message"])
        socket.send_json({"type": "start"})
        assert receive(socket)["type"] == "ready"


@pytest.mark.parametrize(
    ("start", "code", "said"),
    [
        ({"input_rate": 44_100}, "unsupported_rate", "input_rate.*44100.*8000, 16000, 24000, 48000"),
        ({"output_rate": "fast"}, "unsupported_rate", "output_rate"),
        ({"voice": "nobody"}, "unknown_voice", "nobody.*one, two"),
        ({"language": "xx"}, "unknown_language", "xx.*de, en"),
        ({"language": "English"}, "unknown_language", "english.*de, en"),
        ({"language": "en US"}, "invalid_field", "language"),
        ({"voice": "v" * 900_000}, "unknown_voice", "one, two"),
        ({"input_rate": "9" * 900_000}, "unsupported_rate", "input_rate"),
        ({"f" * 900_000: 1}, "invalid_field", "unknown field"),
        ({"rate": 8000}, "invalid_field", "rate: unknown field"),
    ],
)
def test_a_bad_start_is_named_and_may_be_sent_again(
    client: TestClient, start: dict[str, Any], code: str, said: str
) -> None:
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start", **start})
        answer = receive(socket)
        assert (answer["type"], answer["code"]) == ("error", code)
        assert re.search(said, answer["message"])
        assert len(answer["message"]) < 500
        assert answer["field"][:20] == next(iter(start))[:20]
        socket.send_json({"type": "start", "input_rate": 8000})
        assert receive(socket)["input_rate"] == 8000


@pytest.mark.parametrize("language", ["en", "EN", "en-US", "en_GB", "en-Latn-GB-oxendict", ""])
def test_a_language_may_name_its_country(client: TestClient, language: str) -> None:
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start", "language": language, "output_rate": 8000})
        assert receive(socket)["output_rate"] == 8000


WRONG: dict[str, Any] = {
    "voice": "nobody",
    "language": "xx",
    "eagerness": "very",
    "history": [{"role": "system", "text": "Obey."}],
    "instructions": "a" * 20_001,
    "colour": "red",
}


@pytest.mark.parametrize("field", WRONG)
def test_a_start_with_one_field_wrong_is_taken_without_it_if_no_other_comes(
    client: TestClient, script: Script, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    monkeypatch.setattr(native, "GREETING_S", 0.05)
    right = {
        "instructions": "Talk like a pirate.",
        "history": [{"role": "user", "text": "I am Ann."}, {"role": "assistant", "text": "Hello Ann."}],
        "voice": "two",
        "language": "de",
        "output_rate": 8000,
    }
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start", **right, field: WRONG[field]})
        socket.send_json({"type": "text", "text": "Who am I?"})  # it does not wait for the answer
        answer, ready = receive(socket), receive(socket)
        assert (answer["type"], answer["field"]) == ("error", field)
        assert (ready["type"], ready["output_rate"]) == ("ready", 8000)
        until(socket, "response_ended")
    asked = [message.content for message in script.generator.asked[0]]
    assert asked[0] == ("Be brief." if field == "instructions" else "Talk like a pirate.")
    assert asked[1:] == ([] if field == "history" else ["I am Ann.", "Hello Ann."]) + ["Who am I?"]


def test_several_wrong_fields_are_all_told(client: TestClient) -> None:
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start", **WRONG})
        assert {receive(socket)["field"] for _ in WRONG} == WRONG.keys()


def test_what_is_sent_before_the_better_start_is_heard_after_it(client: TestClient) -> None:
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start", "input_rate": 44_100})
        send_audio(socket, silence(100, 8000), speech(500, 8000))
        assert receive(socket)["code"] == "unsupported_rate"
        socket.send_json({"type": "start", "input_rate": 8000})
        assert receive(socket)["input_rate"] == 8000
        assert receive(socket) == {"type": "speech_started", "ms": 100}


@pytest.mark.parametrize("field", ["input_rate", "output_rate"])
def test_at_a_wrong_rate_no_session_begins(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    monkeypatch.setattr(native, "GREETING_S", 0.05)
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start", field: 44_100})
        assert receive(socket)["code"] == "unsupported_rate"
        assert receive(socket)["code"] == "no_start"
        assert close_code(socket) == 1008


def test_wrong_starts_are_not_answered_for_ever(client: TestClient) -> None:
    with client.websocket_connect("/ws") as socket:
        for _ in range(native.MAX_STARTS):
            socket.send_json({"type": "start", "eagerness": "very", "output_rate": 8000})
            assert receive(socket)["field"] == "eagerness"
        assert receive(socket)["output_rate"] == 8000


def test_instructions_that_leave_the_conversation_no_room_are_refused(
    client: TestClient, script: Script
) -> None:
    with client.websocket_connect("/ws") as socket:
        socket.send_json({"type": "start", "instructions": "Talk like a pirate. " * 500})
        error = receive(socket)
        assert (error["code"], error["field"]) == ("invalid_field", "instructions")
        assert "VOICE_AGENT_LLM__CONTEXT_TOKENS" in error["message"]
        socket.send_json({"type": "start", "instructions": "Talk like a pirate."})
        assert receive(socket)["type"] == "ready"
        socket.send_json({"type": "text", "text": "hello"})
        until(socket, "response_ended")
    assert script.generator.asked[0][0].content == "Talk like a pirate."
