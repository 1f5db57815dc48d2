"""`talk` as a command: what it prints and writes, and its exit codes."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner, Result

from tests.scripted_server import Call, Script, Server, scripted, tone
from voice_agent.audio import write_wav
from voice_agent.talk import Exit, talk

RATE = 24_000

app = typer.Typer()
app.command()(talk)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    """A scripted server on a thread of its own, since the command runs its own event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = scripted(script)
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(5)
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    write_wav(path, tone(0.2, 16_000), 16_000)
    return path


def test_a_conversation_is_printed_and_written(question: Path, tmp_path: Path) -> None:
    reply = tone(0.2, RATE)
    (tmp_path / "other").mkdir()
    namesake = tmp_path / "other" / "question.wav"
    namesake.write_bytes(question.read_bytes())

    async def script(call: Call) -> None:
        await call.ready()
        for turn in (1, 2):
            await call.hear(turn, "[bold]what[/bold] time is it")
            await call.reply(turn, "It is late.", reply, {"transcript": 321.0})

    out, report = tmp_path / "a" / "b", tmp_path / "c" / "report.json"
    with serving(script) as server:
        result = run(
            question, tmp_path / "gone.wav", namesake, "--url", server.url, "--out", out, "--json", report
        )

    assert result.exit_code == Exit.UNREADABLE
    assert "you:   [bold]what[/bold] time is it" in result.stdout
    assert "agent: It is late." in result.stdout
    assert "voice to voice" in result.stdout
    assert "transcript 321" in result.stdout
    assert f"{tmp_path / 'gone.wav'}: no such file" in result.stderr

    written = json.loads(report.read_text())
    assert [entry["file"] for entry in written] == [str(question), str(tmp_path / "gone.wav"), str(namesake)]
    assert all(set(entry) == {"file", "transcript", "reply", "timeline", "error"} for entry in written)
    assert written[0]["transcript"] == "[bold]what[/bold] time is it"
    assert written[0]["reply"] == "It is late."
    assert written[0]["timeline"]["transcript"] == 321.0
    assert [entry["error"] is None for entry in written] == [True, False, True]

    assert sorted(path.name for path in out.iterdir()) == ["question-2.wav", "question.wav"]
    for path in out.iterdir():
        pcm, rate = soundfile.read(path, dtype="int16")
        assert rate == RATE
        assert np.array_equal(pcm, reply)
    assert [path.name for path in report.parent.iterdir()] == ["report.json"], "no part file left"


def test_quietly_only_what_went_wrong_is_printed(question: Path) -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "hello")
        await call.begin(1, "Hi.", tone(0.1, RATE))
        await call.end(1, "failed")

    with serving(script) as server:
        result = run(question, "--url", server.url, "--quiet")
    assert result.exit_code == Exit.SERVER_ERROR
    assert result.stdout == ""
    assert result.stderr == f"{question}: the server failed while replying\n"


def test_no_server_is_told_once_and_written(question: Path, tmp_path: Path, unused_tcp_port: int) -> None:
    url, report = f"ws://127.0.0.1:{unused_tcp_port}/ws", tmp_path / "report.json"
    (bad := tmp_path / "notes.wav").write_text("not audio")
    result = run(question, question, bad, "--url", url, "--json", report)
    assert result.exit_code == Exit.NO_SERVER
    assert result.stderr.count(f"no voice agent answers at {url}: connection refused.") == 1
    assert "voice-agent serve" in result.stderr
    errors = [entry["error"] for entry in json.loads(report.read_text())]
    assert "connection refused" in errors[0]
    assert errors[0] == errors[1]
    assert "not audio that can be read" in errors[2]


def test_files_are_read_before_connecting(tmp_path: Path, unused_tcp_port: int) -> None:
    (bad := tmp_path / "notes.wav").write_text("not audio")
    (empty := tmp_path / "empty.wav").touch()
    result = run(bad, empty, tmp_path, "--url", f"ws://127.0.0.1:{unused_tcp_port}/ws")
    assert result.exit_code == Exit.UNREADABLE, "nothing could be said, so nobody was called"
    for path in (bad, empty, tmp_path):
        assert f"{path}: " in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "RECORDING"),
        (["q.wav", "--url", "http://127.0.0.1:3000"], "ws://127.0.0.1:3000/ws"),
        (["q.wav", "--rate", "44100"], "8000, 16000, 24000, 48000"),
        (["q.wav", "--timeout", "0"], "timeout"),
        (["a/q.wav", "--out", "a"], "overwrite"),
        (["q.wav", "--json", "/proc/nothing/report.json"], "--json"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_done(arguments: list[str], complaint: str) -> None:
    result = run(*arguments)
    assert result.exit_code == Exit.USAGE
    assert complaint in " ".join(result.stderr.replace("│", " ").split())
