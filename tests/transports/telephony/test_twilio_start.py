"""How a call begins on Twilio's wire."""

import json
import logging

import pytest
from fastapi.testclient import TestClient

from tests.scripted import silence, speech
from tests.transports.telephony.phone import (
    PATH,
    PAUSE,
    RATE,
    WITHIN_S,
    Desk,
    Line,
    Phone,
    app_for,
    beginning,
)
from voice_agent.agent import Agent
from voice_agent.dialogue.options import SessionOptions
from voice_agent.transports.telephony import twilio


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
    assert "voice: there is no 'nobody'; known are one, two; the default is used" in caplog.text


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
    with client.websocket_connect(PATH) as other, client.websocket_connect(PATH) as socket:
        for begun in (phone, Phone(client, other)):
            begun.begin()
            begun.say(silence(500, RATE), speech(500, RATE), PAUSE)
            begun.until("media")
        third = Phone(client, socket)
        third.begin()
        assert third.close_code() == 1013
    assert "taken" in third.closed_because


def test_a_server_that_is_still_loading_says_so(phone: Phone, agent: Agent) -> None:
    agent.ready = False
    phone.begin(customParameters={"voice": "one"})
    assert phone.close_code() == 1013
    assert "loading" in phone.closed_because
