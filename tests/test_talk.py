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
from voice_agent.audio import Pcm16, write_wav
from voice_agent.client import Client, Microphone, NoServerError, ServerError, hold_exchange
from voice_agent.talk import VOICE_TO_VOICE, Exit, Outcome, Recording, converse, load, talk

virtual_time = pytest.mark.looptime
RATE = 24_000
PATH = Path("question.wav")
LONG = tone(1.0, 16_000)


def said(*pcm: Pcm16) -> list[Recording]:
    """Recordings of a little silence, this speech, and 0.3 s of silence."""
    silence = np.zeros(4800, np.int16)
    return [Recording(PATH, np.concatenate([silence[:1600], speech, silence])) for speech in pcm]


async def hold(script: Script, recordings: list[Recording], timeout_s: float = 30.0) -> list[Outcome]:
    outcomes: list[Outcome] = []
    async with scripted(script) as server:
        await converse(recordings, server.url, 16_000, timeout_s, outcomes.append)
    return outcomes


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_recordings_are_turns_of_one_conversation() -> None:
    replies = [tone(1.5, RATE, 300), tone(0.7, RATE, 500)]
    heard: list[Pcm16] = []
    calls: list[Call] = []

    async def script(call: Call) -> None:
        calls.append(call)
        await call.ready()
        for turn, reply in enumerate(replies, 1):
            heard.append(await call.utterance())
            await call.send("transcript", turn=turn, text=f"question {turn}", final=True)
            await call.begin(turn, f"Answer {turn}.", reply[:4800])
            await call.send("response_text", response=f"r{turn}", text=" And more.")
            await call.play(reply[4800:])
            await call.finish(turn, len(reply), {"vad_stop": 200.0, "transcript": 320.5})

    questions = [tone(1.0, 16_000, 600), tone(0.5, 16_000, 700)]
    outcomes = await hold(script, said(*questions))

    assert len(calls) == 1
    for turn, (outcome, reply) in enumerate(zip(outcomes, replies, strict=True), 1):
        assert outcome.exit is Exit.ANSWERED
        assert outcome.result.error is None
        assert outcome.result.transcript == f"question {turn}"
        assert outcome.result.reply == f"Answer {turn}. And more."
        assert list(outcome.result.timeline) == [VOICE_TO_VOICE, "vad_stop", "transcript"]
        assert outcome.result.timeline["transcript"] == 320.5
        assert np.array_equal(outcome.heard, reply)
        assert outcome.rate == RATE
    for question, got in zip(questions, heard, strict=True):
        assert np.array_equal(got[: len(question)], question)


@virtual_time
async def test_the_next_recording_waits_until_the_reply_was_played() -> None:
    loud_at: list[float] = []

    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "one")
        await call.begin(1, "First.", tone(4.0, RATE))
        ends = now() + 4.0
        await call.end(1)  # early: the server's clock was fast
        await call.utterance()
        loud_at.extend(at - ends for at, pcm in call.frames if np.any(pcm))
        await call.send("transcript", turn=2, text="two", final=True)
        await call.reply(2, "Second.", tone(0.2, RATE))

    await hold(script, said(LONG, LONG))
    second = [at for at in loud_at if at > -4.0]
    assert 0 <= second[0] < 0.2


@virtual_time
async def test_voice_to_voice_is_from_the_last_speech_sent_to_the_first_sound_received() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "hello")  # after ten frames of silence
        await asyncio.sleep(0.5)
        await call.begin(1, "Hi.", np.zeros(4800, np.int16))
        await asyncio.sleep(0.25)
        await call.play(tone(0.5, RATE))
        await call.finish(1, 4800 + 12_000)

    [outcome] = await hold(script, said(LONG))
    assert outcome.result.timeline == {VOICE_TO_VOICE: pytest.approx(200 + 500 + 250, abs=25)}


@virtual_time
async def test_a_pause_in_a_recording_may_make_two_turns_and_the_last_reply_counts() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "I would like")
        await call.begin(1, "What would you like?", tone(3.0, RATE))
        await call.utterance(0)
        await call.send("speech_started", ms=0)
        await call.end(1, "interrupted", {"transcript": 1.0})
        await call.send("speech_stopped", ms=0)
        await asyncio.sleep(1)
        await call.send("transcript", turn=2, text="a coffee", final=True)
        await call.reply(2, "Here it is.", tone(0.5, RATE), {"transcript": 2.0})

    speech = np.concatenate([LONG, np.zeros(16_000, np.int16), LONG])
    [outcome] = await hold(script, said(speech))
    assert outcome.exit is Exit.ANSWERED
    assert outcome.result.transcript == "I would like a coffee"
    assert outcome.result.reply == "Here it is."
    assert outcome.result.timeline["transcript"] == 2.0
    assert np.array_equal(outcome.heard, tone(0.5, RATE))


@virtual_time
async def test_of_an_interrupted_reply_the_audio_that_was_heard_is_kept() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "hello")
        await call.begin(1, "A long story.", tone(5.0, RATE))
        await asyncio.sleep(1.0)
        await call.end(1, "interrupted")

    [outcome] = await hold(script, said(LONG))
    assert outcome.interrupted
    assert outcome.result.error is None
    assert outcome.result.reply == "A long story."
    assert len(outcome.heard) == pytest.approx(RATE, abs=RATE // 100)


@virtual_time
async def test_without_speech_a_recording_is_given_up_after_three_seconds() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.until(lambda: False)

    [outcome] = await hold(script, [Recording(PATH, np.zeros(16_000, np.int16))])
    assert outcome.exit is Exit.UNANSWERED
    assert outcome.result.error == "no speech was found in the recording"
    assert now() == pytest.approx(1 + 3, abs=0.1)


@virtual_time
async def test_noise_without_words_is_said_to_be_that() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "")

    [outcome] = await hold(script, said(LONG))
    assert outcome.exit is Exit.UNANSWERED
    assert outcome.result.error == "no words were found in the recording"
    assert now() < 6


@virtual_time
@pytest.mark.parametrize("delay_s", [0.1, 10.0, 29.0])
async def test_a_slow_transcript_is_waited_for(delay_s: float) -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.utterance()
        await call.send("speech_started", ms=0)
        await call.send("speech_stopped", ms=0)
        await asyncio.sleep(delay_s)
        await call.send("transcript", turn=1, text="hello", final=True)
        await asyncio.sleep(delay_s)
        await call.reply(1, "Hi.", tone(0.2, RATE))

    [outcome] = await hold(script, said(LONG))
    assert outcome.exit is Exit.ANSWERED
    assert outcome.result.reply == "Hi."


@virtual_time
@pytest.mark.parametrize("events", [["speech_started"], ["speech_started", "speech_stopped"]])
async def test_what_was_begun_and_not_finished_times_out(events: list[str]) -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.utterance()
        for event in events:
            await call.send(event, ms=0)

    [outcome] = await hold(script, said(LONG), timeout_s=7)
    assert outcome.exit is Exit.UNANSWERED
    assert outcome.result.error == "no reply within 7 s"
    assert now() == pytest.approx(1.4 + 7, abs=0.3)


@virtual_time
async def test_a_reply_that_stalls_times_out_and_what_came_is_kept() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "hello")
        await call.begin(1, "One moment", tone(1.0, RATE))

    [outcome] = await hold(script, said(LONG), timeout_s=5)
    assert outcome.exit is Exit.UNANSWERED
    assert outcome.result.error == "the reply stopped coming for 5 s"
    assert np.array_equal(outcome.heard, tone(1.0, RATE))


@virtual_time
async def test_a_reply_longer_than_the_timeout_is_heard_to_its_end() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "tell me a story")
        await call.reply(1, "Once upon a time.", tone(20.0, RATE))

    [outcome] = await hold(script, said(LONG), timeout_s=3)
    assert outcome.exit is Exit.ANSWERED
    assert len(outcome.heard) == 20 * RATE


@virtual_time
async def test_a_missing_timeline_is_not_waited_for_long() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "hello")
        await call.begin(1, "Hi.", tone(0.1, RATE))
        await call.send("response_ended", response="r1", reason="completed")

    [outcome] = await hold(script, said(LONG))
    assert outcome.exit is Exit.ANSWERED
    assert list(outcome.result.timeline) == [VOICE_TO_VOICE]
    assert now() < 5


@virtual_time
async def test_an_error_is_reported_beside_the_apology_that_follows_it() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.utterance()
        await call.send("speech_started", ms=0)
        await call.send("speech_stopped", ms=0)
        await call.send("error", code="transcriber_failed", message="out of memory")
        await asyncio.sleep(1)
        await call.reply(1, "Sorry, I couldn't make that out.", tone(0.5, RATE))

    [outcome] = await hold(script, said(LONG))
    assert outcome.exit is Exit.SERVER_ERROR
    assert outcome.result.error == "out of memory (transcriber_failed)"
    assert outcome.result.reply == "Sorry, I couldn't make that out."


@virtual_time
async def test_an_error_with_nothing_after_it_is_not_waited_on() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "hello")
        await call.send("error", code="generator_failed", message="no endpoint")

    [outcome] = await hold(script, said(LONG))
    assert outcome.exit is Exit.SERVER_ERROR
    assert now() < 6


@virtual_time
async def test_a_failed_reply_is_a_server_error() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "hello")
        await call.begin(1, "Well", tone(0.5, RATE))
        await call.end(1, "failed")

    [outcome] = await hold(script, said(LONG))
    assert outcome.exit is Exit.SERVER_ERROR
    assert outcome.result.error == "the server failed while replying"


@virtual_time
async def test_a_close_in_mid_reply_keeps_what_came_and_ends_the_conversation() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "hello")
        await call.begin(1, "Hi, I am", tone(2.0, RATE))
        await asyncio.sleep(1.0)
        await call.send("error", code="shutting_down", message="the server is shutting down")
        await call.socket.close(1012)

    outcomes = await hold(script, said(LONG, LONG))
    assert len(outcomes) == 1, "the second was not said"
    assert outcomes[0].exit is Exit.SERVER_ERROR
    assert outcomes[0].result.error == (
        "the server is shutting down (shutting_down); the server closed the connection (1012 shutting down)"
    )
    assert outcomes[0].result.transcript == "hello"
    assert outcomes[0].result.reply == "Hi, I am"
    assert len(outcomes[0].heard) == pytest.approx(RATE, abs=RATE // 100)


@virtual_time
async def test_a_close_while_speaking_is_told() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.until(lambda: len(call.frames) > 10)
        await call.socket.close(1011, "the session failed")

    [outcome] = await hold(script, said(LONG))
    assert outcome.result.error == "the server closed the connection (1011 the session failed)"


@virtual_time
async def test_a_late_event_is_not_taken_for_the_next_recording() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "one")
        await call.begin(1, "First.", tone(0.5, RATE))
        await call.send("response_ended", response="r1", reason="completed")
        await asyncio.sleep(2.9)  # by now the second is being said
        await call.send("timeline", turn=1, response="r1", steps={"transcript": 1.0})
        await call.hear(2, "two")
        await call.reply(2, "Second.", tone(0.5, RATE), {"transcript": 2.0})

    outcomes = await hold(script, said(LONG, LONG))
    assert [outcome.result.timeline.get("transcript") for outcome in outcomes] == [None, 2.0]
    assert [outcome.result.transcript for outcome in outcomes] == ["one", "two"]


@virtual_time
async def test_what_came_between_two_exchanges_belongs_to_neither() -> None:
    async def script(call: Call) -> None:
        await call.ready()
        await call.utterance()
        await call.send("speech_started", ms=0)
        await asyncio.sleep(3)
        await call.send("transcript", turn=1, text="too late", final=True)
        await call.hear(2, "two")
        await call.reply(2, "Second.", tone(0.5, RATE))

    [recording] = said(LONG)
    async with scripted(script) as server, Client(server.url) as client, Microphone(client) as microphone:
        first = await hold_exchange(client, microphone, recording.pcm, timeout_s=1)
        await asyncio.sleep(5)
        second = await hold_exchange(client, microphone, recording.pcm, timeout_s=1)
    assert (first.transcript, second.transcript) == ("", "two")


@virtual_time
@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
async def test_a_stereo_flac_of_another_rate_is_sent_mixed_and_resampled(tmp_path: Path, rate: int) -> None:
    left, right = (tone(1.0, 44_100, hertz) / 32768 for hertz in (440, 1000))
    soundfile.write(tmp_path / "q.flac", np.stack([left, right], axis=1), 44_100)
    received: list[Pcm16] = []

    async def script(call: Call) -> None:
        await call.ready()
        await call.hear(1, "hello")
        await call.reply(1, "Hi.", tone(0.1, RATE))
        received.append(call.received())

    async with scripted(script) as server:
        await converse([load(tmp_path / "q.flac", rate)], server.url, rate, 30, lambda _: None)
    assert server.calls[0].start["input_rate"] == rate
    loud = np.flatnonzero(received[0])
    expected = (tone(1.0, rate, 440).astype(float) + tone(1.0, rate, 1000)) / 2
    best = max(
        float(np.corrcoef(expected, received[0][start : start + rate])[0, 1])
        for start in range(max(0, loud[0] - rate // 100), loud[0] + rate // 100)
    )
    assert best > 0.995
    assert loud[-1] - loud[0] == pytest.approx(rate, rel=0.01)


async def test_a_server_at_another_rate_is_refused() -> None:
    async def script(call: Call) -> None:
        await call.until(lambda: bool(call.messages))
        await call.send("ready", session="s", input_rate=8000, output_rate=RATE)

    with pytest.raises(ServerError, match="listens at 8000 Hz, not at 16000 Hz"):
        await hold(script, said(LONG))


async def test_no_server(unused_tcp_port: int) -> None:
    with pytest.raises(NoServerError):
        await converse(said(LONG), f"ws://127.0.0.1:{unused_tcp_port}/ws", 16_000, 1, lambda _: None)


# --- the command -------------------------------------------------------------------------------------------

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
