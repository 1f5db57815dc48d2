"""The client on its connection, and its microphone."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.scripted_server import Call, scripted, tone
from voice_agent.audio import Pcm16
from voice_agent.client import (
    Arrived,
    Client,
    Error,
    Microphone,
    NoServerError,
    ResponseEnded,
    ResponseText,
    ServerError,
    Timeline,
)

virtual_time = pytest.mark.looptime
RATE = 24_000


def now() -> float:
    return asyncio.get_running_loop().time()


async def listen_only(call: Call) -> None:
    await call.ready()


# --- microphone --------------------------------------------------------------------------------------------


@virtual_time
@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
async def test_microphone_sends_20_ms_frames_every_20_ms(rate: int) -> None:
    async with scripted(listen_only) as server, Client(server.url, input_rate=rate) as client:
        async with Microphone(client) as microphone:
            await microphone.say(tone(1.0, rate))
        times = np.array([at for at, _ in server.calls[0].frames])
        assert len(times) >= 50
        assert np.diff(times) == pytest.approx(0.02, abs=1e-3)
        assert {len(pcm) for _, pcm in server.calls[0].frames} == {rate // 50}


@virtual_time
async def test_microphone_catches_up_after_a_stall() -> None:
    class Stalling(Client):
        sent = 0

        async def send_audio(self, pcm: Pcm16) -> None:
            self.sent += 1
            if self.sent == 10:
                await asyncio.sleep(0.13)
            await super().send_audio(pcm)

    async with scripted(listen_only) as server, Stalling(server.url) as client:
        async with Microphone(client) as microphone:
            begun = now()
            spoken = await microphone.say(tone(1.0, 16_000))
        assert now() - begun == pytest.approx(0.98, abs=0.002)
        assert spoken.sent_s[10] - begun == pytest.approx(0.31, abs=0.002), "late by the stall"
        assert spoken.sent_s[-1] - begun == pytest.approx(49 * 0.02, abs=0.002), "on schedule again"


@virtual_time
async def test_recordings_arrive_whole_with_silence_around_them() -> None:
    first, second = tone(0.5, 16_000, 300), tone(0.31, 16_000, 500)
    async with scripted(listen_only) as server, Client(server.url) as client:
        async with Microphone(client) as microphone:
            await asyncio.sleep(0.1)
            await microphone.say(first)
            await asyncio.sleep(0.2)
            spoken = await microphone.say(second)
        audio = server.calls[0].received()
    loud = np.flatnonzero(audio)
    begin, end = loud[0] - 1, loud[-1] + 1  # a sine begins with a zero
    assert begin >= 1600
    assert np.array_equal(audio[begin : begin + 8000], first)
    gap = end - len(second) - (begin + 8000)
    assert 9 * 320 <= gap <= 11 * 320, "20 ms frames of silence for 0.2 s"
    assert np.array_equal(audio[end - len(second) : end], second)
    assert len(spoken.sent_s) == 16
    assert spoken.sent_at(0) == spoken.sent_s[0]
    assert spoken.sent_at(len(second) - 1) == spoken.sent_s[15]


@virtual_time
async def test_saying_something_on_a_closed_connection_fails() -> None:
    async def close(call: Call) -> None:
        await call.ready()
        await call.until(lambda: len(call.frames) > 5)
        await call.socket.close(1012)

    async with scripted(close) as server, Client(server.url) as client, Microphone(client) as microphone:
        for _ in range(2):
            with pytest.raises(ServerError, match="1012 shutting down"):
                await microphone.say(tone(1.0, 16_000))


# --- connection --------------------------------------------------------------------------------------------


@virtual_time
async def test_playback_is_reported_at_its_start_five_times_a_second_and_at_its_end() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.begin(1, "Hello.", tone(1.1005, RATE))
        await call.until(lambda: call.played("r1")[-1:] == [1100])
        await call.send("response_ended", response="r1", reason="completed")

    async with scripted(script) as server, Client(server.url) as client:
        while not isinstance((await client.receive()).event, ResponseEnded):
            pass
        assert now() == pytest.approx(1.1005, abs=0.01)
        assert server.calls[0].played("r1") == pytest.approx([20, 220, 420, 620, 820, 1020, 1100], abs=2)
        assert np.array_equal(client.player.replies["r1"].heard, tone(1.1005, RATE))


@virtual_time
async def test_a_pause_is_answered_with_the_position_at_once() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.begin(1, "Hello.", tone(1.0, RATE))
        await asyncio.sleep(0.25)
        await call.send("pause", response="r1")
        await asyncio.sleep(0.05)
        assert call.played("r1") == pytest.approx([20, 220, 250], abs=2)
        await asyncio.sleep(2)
        assert len(call.played("r1")) == 3, "it plays on while paused"
        await call.send("resume", response="r1")
        await call.finish(1, RATE)

    async with scripted(script) as server, Client(server.url) as client:
        while not isinstance((await client.receive()).event, Timeline):
            pass
        assert now() == pytest.approx(3.05, abs=0.02)


@virtual_time
async def test_interrupting_silences_the_reply_at_once_and_says_how_far_it_was_heard() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.begin(1, "Hello.", tone(2.0, RATE))

    async with scripted(script) as server, Client(server.url) as client:
        while not isinstance((await client.receive()).event, ResponseText):
            pass
        await asyncio.sleep(0.5)
        await client.interrupt()
        await asyncio.sleep(0.1)
        assert [message["type"] for _, message in server.calls[0].messages][-2:] == ["played", "interrupt"]
        assert server.calls[0].played("r1")[-1] == pytest.approx(500, abs=2)
        assert len(client.player.replies["r1"].heard) == pytest.approx(12_000, abs=48)


@virtual_time
async def test_wishes_texts_and_the_farewell_reach_the_server() -> None:
    async with scripted(listen_only) as server:
        async with Client(server.url, input_rate=8000, output_rate=16_000, voice="joe") as client:
            await client.send_text("hello")
        sent = [message for _, message in server.calls[0].messages]
    assert sent == [
        {"type": "start", "input_rate": 8000, "output_rate": 16_000, "voice": "joe"},
        {"type": "text", "text": "hello"},
        {"type": "stop"},
    ]


@virtual_time
async def test_unknown_messages_and_fields_are_passed_over() -> None:
    async def script(call: Call) -> None:
        await call.send("weather", sunny=True)
        await call.ready()
        await call.send("applause", loudness=3)
        await call.send("error", code="x", message="y", detail={"new": 1})

    async with scripted(script) as server, Client(server.url) as client:
        assert (await client.receive()).event == Error(code="x", message="y")


@virtual_time
@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (json.dumps({"type": "response_started"}), r"response_started\.response: Field required"),
        ("{", "Invalid JSON"),
        ("[]", "outside the protocol"),
        (b"\0\0\0", "half a sample"),
    ],
)
async def test_a_message_outside_the_protocol_ends_the_session_with_what_was_wrong(
    message: str | bytes, complaint: str
) -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.socket.send(message)

    async with scripted(script) as server, Client(server.url) as client:
        with pytest.raises(ServerError, match=complaint):
            await client.receive()


@virtual_time
async def test_events_before_a_close_are_given_out_before_it_is_told() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.send("error", code="shutting_down", message="bye")
        await call.socket.close(1012)

    async with scripted(script) as server, Client(server.url) as client:
        await asyncio.sleep(1)
        assert isinstance(await client.receive(), Arrived)
        for _ in range(2):
            with pytest.raises(ServerError, match="1012 shutting down"):
                await client.receive()


@virtual_time
async def test_a_full_server_is_told_apart_from_none() -> None:
    async def script(call: Call) -> None:
        await call.send("error", code="full", message="all 32 sessions are taken")
        await call.socket.close(1013)

    async with scripted(script) as server:
        with pytest.raises(ServerError, match=r"all 32 sessions are taken \(full\)"):
            await Client(server.url).__aenter__()


@virtual_time
async def test_a_server_that_says_nothing_is_given_up_after_5_s() -> None:
    async def script(call: Call) -> None:
        await call.until(lambda: False)

    async with scripted(script) as server:
        with pytest.raises(NoServerError, match="no `ready` in 5 s"):
            await Client(server.url).__aenter__()
        assert 5 <= now() < 8


async def test_nobody_at_the_address(unused_tcp_port: int) -> None:
    url = f"ws://127.0.0.1:{unused_tcp_port}/ws"
    with pytest.raises(NoServerError, match=rf"{url}: connection refused"):
        await Client(url).__aenter__()


async def test_a_web_server_without_this_socket() -> None:
    def refuse(connection: ServerConnection, _: Any) -> Any:
        return connection.respond(404, "no such page\n")

    async def never(_: ServerConnection) -> None:
        raise AssertionError

    async with serve(never, "127.0.0.1", 0, process_request=refuse) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(NoServerError, match="HTTP 404"):
            await Client(f"ws://127.0.0.1:{port}/ws").__aenter__()


@virtual_time
async def test_leaving_leaves_no_task_behind() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.begin(1, "Hello.", tone(5.0, RATE))

    async with scripted(script) as server:
        before = asyncio.all_tasks()
        async with Client(server.url) as client, Microphone(client) as microphone:
            await microphone.say(tone(0.1, 16_000))
            assert len(asyncio.all_tasks()) > len(before)
        await server.calls[0].socket.wait_closed()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() - before == set()
