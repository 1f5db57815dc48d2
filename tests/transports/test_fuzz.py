"""Whatever messages come, on either wire: the session goes on and answers afterwards."""

import asyncio
import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from tests.transports.serving import GREETINGS, WITHIN_S, running
from voice_agent.transports import native

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", " \n", "\ud83d", "\x00", "resp_1", "MZ00", "1e999", "9" * 5000, "x" * 50_000])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)

NATIVE_TYPES = ["start", "played", "text", "push_to_talk", "interrupt", "ping", "dance"]
NATIVE_FIELDS = [
    "response",
    "ms",
    "text",
    "pressed",
    "id",
    "input_rate",
    "voice",
    "language",
    "history",
    "instructions",
    "more",
]
TWILIO_EVENTS = ["connected", "start", "media", "mark", "dtmf", "dance"]
TWILIO_FIELDS = ["start", "media", "mark", "dtmf", "streamSid", "sequenceNumber", "more"]
SOUNDS = st.fixed_dictionaries(
    {},
    optional={
        "payload": VALUES | st.binary(max_size=400).map(lambda data: b64encode(data).decode()),
        "track": VALUES | st.just("inbound"),
        "chunk": VALUES | st.integers(-5, 10**19),
        "name": VALUES,
    },
)


def messages(key: str, kinds: list[str], fields: list[str]) -> st.SearchStrategy[str]:
    """Messages that are right but for the values of their fields."""
    kind = st.sampled_from(kinds) | VALUES
    values = st.dictionaries(st.sampled_from(fields), VALUES | SOUNDS, max_size=4)
    whole = st.builds(lambda kind, values: json.dumps({key: kind, **values}), kind, values)
    twice = st.builds(lambda one, two: f"{one[:-1]}, {two[1:]}", whole, whole)
    return whole | twice | whole.map(lambda text: text[:-1])


RAW = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
    | st.binary(max_size=50)
    | st.sampled_from(["[" * 100_000, '{"type":' * 50_000, "", "null", "NaN", b"", b"x", b"\x00" * 641])
)
NATIVE = st.lists(messages("type", NATIVE_TYPES, NATIVE_FIELDS) | RAW, max_size=8)
TWILIO = st.lists(messages("event", TWILIO_EVENTS, TWILIO_FIELDS) | RAW, max_size=8)
EXAMPLES = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@EXAMPLES
@given(first=NATIVE, then=NATIVE, split=st.booleans())
def test_the_native_wire_goes_on(first: list[Any], then: list[Any], split: bool) -> None:
    async def talk() -> None:
        async with running() as server, connect(server.url("native"), max_queue=None) as client:
            for message in first:  # in the greeting
                await client.send(message)
            await client.send('{"type": "start"}')
            for message in then:
                await client.send([message[:1], message[1:]] if split and len(message) > 1 else message)
                await client.ping()
            await client.send('{"type": "interrupt"}')
            await client.send('{"type": "text", "text": "are you there"}')
            async with asyncio.timeout(WITHIN_S):
                async for answer in client:
                    if isinstance(answer, bytes):
                        continue
                    told = json.loads(answer)
                    assert len(answer) < 100_000
                    assert told["type"] != "error" or len(answer) < 1000
                    if told["type"] == "transcript" and told["text"].endswith("are you there"):
                        break
                else:
                    raise AssertionError(f"closed: {client.close_code} {client.close_reason}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "GREETING_S", 0.05)
        asyncio.run(talk())


@EXAMPLES
@given(then=TWILIO, split=st.booleans())
def test_twilios_wire_goes_on(then: list[Any], split: bool) -> None:
    silence, loud = (b64encode(byte * 160).decode() for byte in (b"\xff", b"\x00"))

    async def talk() -> None:
        async with running() as server, connect(server.url("twilio"), max_queue=None) as client:
            await client.send(json.dumps(GREETINGS["twilio"]))
            for message in then:
                await client.send([message[:1], message[1:]] if split and len(message) > 1 else message)
            for payload in [loud] * 50 + [silence] * 250:
                await client.send(json.dumps({"event": "media", "media": {"payload": payload}}))
            async with asyncio.timeout(WITHIN_S):
                assert json.loads(await client.recv())["event"] in ("media", "clear")

    asyncio.run(talk())
