"""The real server, real engines, real recordings, real clients."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import httpx2
import numpy as np
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.fixtures import Recording, corpus_word_error_rate, recordings
from tests.serving import COMMAND, READY_WITHIN_S, Server, serving
from voice_agent.address import Address
from voice_agent.audio import read_audio
from voice_agent.client import Client, Microphone, hold_exchange
from voice_agent.client.messages import ResponseEnded, ResponseStarted, SpeechStarted
from voice_agent.dialogue.timeline import STEPS
from voice_agent.stages.spoken import spoken
from voice_agent.stages.transcriber import FasterWhisper

pytestmark = [pytest.mark.engines]

TRANSCRIPT_WER = 0.15
"""Measured: 7 % on the packaged clips, 4 % on commands and queries."""
REPLY_WER = 0.20
"""Between the text of the replies and what Whisper hears in their audio. Both the voice and Whisper err."""
STOPS_WITHIN_S = 5.0
LISTENING_CPU_S_A_MINUTE = 0.7
"""Four times what was measured: machines differ. To be woken by each message, it was 3."""

ENVIRONMENT = {"VOICE_AGENT_LLM__MAX_TOKENS": "40", "VOICE_AGENT_LLM__TEMPERATURE": "0"}
"""Replies of ten seconds at most, for they are played in real time; and the same in each run."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server"), ENVIRONMENT) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="module")
def questions() -> list[Recording]:
    """Twelve recordings with words: real questions where there are some, else read speech."""
    spoken_to = [r for r in recordings(("query", "command")) if len(r.transcript.split()) > 3]
    packaged = [r for r in recordings(("packaged",)) if len(r.transcript.split()) > 3]
    return [*spoken_to[:8], *packaged][:12]


def talk(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "voice_agent", "talk", "--url", server.ws, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
    )


async def test_recordings_are_answered_and_the_replies_say_what_they_read(
    server: Server, questions: list[Recording], whisper: FasterWhisper, tmp_path: Path
) -> None:
    files = [str(question.path) for question in questions]
    ran = await asyncio.to_thread(
        talk, server, *files, "--json", str(tmp_path / "talk.json"), "--out", str(tmp_path)
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = json.loads((tmp_path / "talk.json").read_text())
    assert [result["file"] for result in results] == files
    assert len(results) >= 10
    for result in results:
        steps = result["timeline"]
        assert result["error"] is None
        assert result["reply"].strip()
        # The reply is prepared meanwhile; a filler may be heard before its first word.
        for order in (
            ("vad_stop", "transcript", "end_of_turn", "first_audio_sent", "response_end"),
            ("llm_first_token", "first_chunk"),
            ("tts_first_audio", "first_audio_sent", "first_audio_played"),
        ):
            in_order = [steps[step] for step in order]
            assert in_order == sorted(in_order), steps
        assert result["transcript"] in ran.stdout
    said = [question.transcript for question in questions]
    transcripts = [result["transcript"] for result in results]
    assert corpus_word_error_rate(list(zip(said, transcripts, strict=True))) <= TRANSCRIPT_WER

    heard = []
    for file in files:
        reply = read_audio(tmp_path / Path(file).with_suffix(".wav").name)
        assert np.abs(reply.astype(int)).max() < 32_767
        heard.append((await whisper.transcribe(reply)).text)
    replies = [spoken(result["reply"]) for result in results]
    assert corpus_word_error_rate(list(zip(replies, heard, strict=True))) <= REPLY_WER


async def test_two_sessions_at_once_are_each_answered(server: Server, questions: list[Recording]) -> None:
    async def ask(question: Recording) -> tuple[str, str]:
        async with Client(server.ws) as client, Microphone(client) as microphone:
            exchange = await hold_exchange(client, microphone, read_audio(question.path), timeout_s=60)
            assert exchange.error is None
            assert exchange.ended and exchange.ended.reason == "completed"
            return question.transcript, exchange.transcript

    said_and_heard = await asyncio.gather(ask(questions[0]), ask(questions[-1]))
    assert corpus_word_error_rate(said_and_heard) < 0.5


async def test_speech_over_the_reply_stops_it(server: Server, questions: list[Recording]) -> None:
    async with Client(server.ws) as client, Microphone(client) as microphone:
        await client.send_text("Tell me everything that you know about the sea.")
        first = await _next(client, ResponseStarted)
        await microphone.say(read_audio(questions[0].path))
        assert await _next(client, SpeechStarted)
        ended = await _next(client, ResponseEnded)
        assert (ended.response, ended.reason) == (first.response, "interrupted")
        second = await _next(client, ResponseStarted)
        assert second.response != first.response
        received = len(client.player.replies[first.response].received)
        assert (await _next(client, ResponseEnded)).response == second.response
        assert len(client.player.replies[first.response].received) == received


T = TypeVar("T")


async def _next(client: Client, kind: type[T]) -> T:
    async with asyncio.timeout(60):
        while True:
            _, event = await client.receive()
            if isinstance(event, kind):
                return event


async def test_a_session_leaves_no_thread_and_no_socket_behind(server: Server) -> None:
    async def hello() -> None:
        async with Client(server.ws) as client:
            await client.send_text("Hello.")
            assert (await _next(client, ResponseEnded)).reason == "completed"

    def held() -> tuple[int, int]:
        family = server.family()
        return sum(p.num_threads() for p in family), sum(len(p.net_connections()) for p in family)

    await asyncio.gather(*(hello() for _ in range(3)))  # pools of threads grow to what is used at once
    before = held()
    await asyncio.gather(*(hello() for _ in range(3)))
    threads, sockets = held()
    # Idle HTTP connections to the language model are kept: one for each reply at once.
    assert threads <= before[0] + 3
    assert sockets <= before[1] + 6


async def test_a_session_in_silence_costs_next_to_nothing(server: Server) -> None:
    def cpu_s() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in server.family())

    async with Client(server.ws) as client, Microphone(client):
        await asyncio.sleep(1)
        before, begun = cpu_s(), time.monotonic()
        await asyncio.sleep(10)
        assert (cpu_s() - before) / (time.monotonic() - begun) * 60 < LISTENING_CPU_S_A_MINUTE


def test_the_page_and_the_figures_are_served(server: Server, questions: list[Recording]) -> None:
    page = httpx2.get(server.http).text
    assert "<title>Voice Agent</title>" in page
    assert "<voice-agent" in page
    options = httpx2.get(f"{server.http}/options").json()
    assert options["voice"] in options["voices"]
    assert options["language"] == "en" and "en" in options["languages"]
    assert talk(server, str(questions[0].path), "--quiet").returncode == 0
    metrics = httpx2.get(f"{server.http}/metrics").text
    for step in STEPS:
        count = re.search(rf'voice_agent_turn_step_seconds_count{{step="{step}"}} (\S+)', metrics)
        assert count and float(count[1]) >= 1, step
    assert re.search(r"voice_agent_sessions.* 0\.0", metrics)
    assert "voice_agent_event_loop_lag_seconds_bucket" in metrics
    assert "conversations stay on this machine " in server.log.read_text()
    turns = [line for line in server.log.read_text().splitlines() if '"event": "turn"' in line]
    assert turns
    assert json.loads(turns[-1][turns[-1].index("{") :])["first_audio_sent_ms"] > 0


@pytest.mark.parametrize("size", [(1 << 20) + 2, 20 << 20])
async def test_a_message_over_the_limit_closes_with_1009(server: Server, size: int) -> None:
    async with connect(server.ws, proxy=None, max_size=None) as socket:
        await socket.send('{"type": "start"}')
        await socket.recv()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.send(b"\0" * size)  # a very large one is refused while it is being sent
            while True:
                await socket.recv()
        assert closed.value.rcvd and closed.value.rcvd.code == 1009


def test_an_unreadable_file_and_one_without_speech_are_told_apart(server: Server, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_text("not audio")
    ran = talk(server, str(tmp_path / "broken.wav"))
    assert ran.returncode == 4
    assert "broken.wav" in ran.stdout + ran.stderr


@pytest.mark.parametrize("by", ["SIGTERM", "Ctrl-C", "SIGHUP"])
async def test_it_ends_at_once_with_its_sessions_told_and_no_child_left(tmp_path: Path, by: str) -> None:
    with serving(tmp_path) as server:
        statuses = {None, 503}
        while (status := await asyncio.to_thread(server.status, "/readyz")) != 200:
            assert status in statuses  # not ready before the engines are
            assert server.process.poll() is None, server.log.read_text()
        family = server.family()
        assert len(family) >= 3  # the supervisor, the service and the language model
        async with connect(server.ws, proxy=None) as socket:
            await socket.send('{"type": "start"}')
            await socket.recv()
            number = signal.SIGINT if by == "Ctrl-C" else signal.Signals[by]
            ending = asyncio.to_thread(server.end, number, group=by != "SIGTERM")  # as a terminal does
            task = asyncio.create_task(ending)
            assert json.loads(await socket.recv())["code"] == "shutting_down"
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd and closed.value.rcvd.code == 1012
            assert await task < STOPS_WITHIN_S
        _gone, left = psutil.wait_procs(family, timeout=STOPS_WITHIN_S)
        assert not left


async def test_a_worker_that_is_killed_is_logged_and_replaced_and_nothing_outlives_a_server_that_is(
    tmp_path: Path,
) -> None:
    def sessions(server: Server) -> float:
        metrics = httpx2.get(f"{server.http}/metrics").text
        found = re.search(r"^voice_agent_sessions(?:{.*})? (\S+)", metrics, re.MULTILINE)
        return float(found[1]) if found else 0.0

    with serving(tmp_path, {"VOICE_AGENT_LLM__MODEL": "smollm2-135m-instruct"}) as server:
        await asyncio.to_thread(server.wait_until_ready)
        (worker,) = psutil.Process(server.process.pid).children()
        async with connect(server.ws, proxy=None) as socket:
            await socket.send('{"type": "start"}')
            await socket.recv()
            assert sessions(server) == 1
            worker.kill()
            psutil.wait_procs([worker], timeout=STOPS_WITHIN_S)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        await asyncio.to_thread(server.wait_until_ready)
        assert f"the worker (process {worker.pid}) was ended by SIGKILL" in server.log.read_text()
        assert sessions(server) == 0

        family = server.family()
        assert len(family) >= 3
        server.process.kill()
        server.process.wait()
        _gone, left = psutil.wait_procs(family[1:], timeout=READY_WITHIN_S)
        assert not left
        Address("127.0.0.1", server.port).check_free()


async def test_it_ends_in_time_though_its_language_model_does_nothing_any_more(tmp_path: Path) -> None:
    with serving(tmp_path, ENVIRONMENT) as server:
        await asyncio.to_thread(server.wait_until_ready)
        family = server.family()
        [model] = [process for process in family if "llamacpp_server" in " ".join(process.cmdline())]
        async with connect(server.ws, proxy=None) as socket:
            await socket.send('{"type": "start"}')
            await socket.recv()
            model.suspend()
            await socket.send('{"type": "text", "text": "hello"}')
            await socket.recv()
            assert await asyncio.to_thread(server.end, signal.SIGTERM) < STOPS_WITHIN_S
        _gone, left = psutil.wait_procs(family, timeout=STOPS_WITHIN_S)
        assert not [process for process in left if process.status() != psutil.STATUS_ZOMBIE]


def test_a_wrong_setting_ends_it_with_its_name(server: Server, tmp_path: Path) -> None:
    for flags, said in [
        (["--port", str(server.port)], rf"can't listen on 127\.0\.0\.1:{server.port}: .*in use.*--port"),
        (["--port", str(server.port)], rf"Process {server.process.pid} listens there .*`kill"),
        (["--host", "nowhere.invalid"], r"server\.host .*'nowhere\.invalid' is no address"),
        (["--port", "70000"], r"server\.port \(VOICE_AGENT_SERVER__PORT\): .*less than or equal to 65535"),
        (["--stt", "enormous"], r"stt\.model.*enormous.*tiny\.en"),
        (["--voice", "nobody"], r"tts\.voice.*nobody.*en_US-joe-medium"),
        (["--config", "nowhere.toml"], r"nowhere\.toml: no such"),
    ]:
        ran = subprocess.run([*COMMAND, *flags], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 1
        assert re.search(said, " ".join(ran.stderr.split())), ran.stderr


def test_bentoml_serves_and_builds_it_too(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    bento = (sys.executable, "-m", "bentoml")
    with serving(tmp_path, command=(*bento, "serve", "voice_agent.service:VoiceAgent")) as server:
        server.wait_until_ready()
        assert server.status("/") == 200
    built = subprocess.run(
        [*bento, "build", "--output", "tag"],
        cwd=root,
        env={**psutil.Process().environ(), "BENTOML_HOME": str(tmp_path / "bentos")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    files = {path.name for path in (tmp_path / "bentos").rglob("*") if path.is_file()}
    assert {"service.py", "catalog.toml", "index.html", "bento.yaml"} <= files
