"""The lab against servers of known delay, through real sockets."""

import asyncio
import base64
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import httpx2
import numpy as np
import pytest
import soundfile

from tests.lab import known_server
from tests.scripted import LOUD, silence, speech
from tests.scripted_server import tone
from tests.serving import default_signals, free_port
from voice_agent.audio import RATE, write_wav
from voice_agent.lab.caller import Act
from voice_agent.lab.compare import compare
from voice_agent.lab.result import Level, ServerUse, Turn
from voice_agent.lab.run import Call, Options, judge, put_together, ramp_levels, run_level
from voice_agent.lab.scenario import Expect
from voice_agent.lab.server import Server

KNOWN_MS = 700


@contextmanager
def known(ms: float) -> Iterator[str]:
    """A server that replies `ms` after the last frame of speech."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lab.known_server", str(port), str(ms)], cwd=Path(__file__).parents[2]
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx2.get(f"http://127.0.0.1:{port}/readyz")
                break
            except httpx2.TransportError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
        yield f"ws://127.0.0.1:{port}/ws"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with known(KNOWN_MS) as url:
        yield url


def said(speech_ms: float = 600, **fields: object) -> Act:
    """Speech, with a little silence around it."""
    pcm = np.concatenate([silence(100), speech(speech_ms), silence(100)])
    bounds = (RATE // 10, RATE // 10 + round(speech_ms * RATE / 1000))
    return Act(pcm=pcm, speech=bounds, transcript=known_server.QUESTION, **fields)  # type: ignore[arg-type]


CALLS = [Call(f"call {number}", (said(400 + 40 * number),)) for number in range(4)]


def level_of(url: str, calls: list[Call], sessions: int = 1, options: Options | None = None) -> Level:
    return asyncio.run(run_level(Server(url), calls, sessions, options or Options()))


def test_a_known_delay_is_measured(url: str) -> None:
    level = level_of(url, CALLS, sessions=4)
    assert [turn.outcome for turn in level.turns] == ["answered"] * 16
    shortest = min(turn.voice_to_voice_ms or 0 for turn in level.turns)  # a busy machine only adds to it
    assert shortest == pytest.approx(KNOWN_MS, abs=15)
    assert all(turn.word_errors == 0 and turn.words for turn in level.turns)


def test_a_known_delay_is_measured_on_a_phone_line_as_well(url: str) -> None:
    """The resampler to 8 kHz holds back 2 ms, so the last speech reaches the server with the next frame."""
    level = level_of(url.replace("/ws", "/telephony/twilio"), CALLS, options=Options(wire="twilio"))
    assert [turn.outcome for turn in level.turns] == ["answered"] * 4
    assert median(turn.voice_to_voice_ms or 0 for turn in level.turns) == pytest.approx(KNOWN_MS + 20, abs=25)
    assert all(500 < (turn.reply_ms or 0) < 800 and not turn.underruns for turn in level.turns)


def test_speech_over_a_reply_stops_it_on_a_phone_line_as_well(url: str) -> None:
    acts = (said(), said(over_reply_ms=100, expect=Expect(stops_within_ms=600)))
    call = [Call("barge-in", acts)]
    first, second = level_of(
        url.replace("/ws", "/telephony/twilio"), call, options=Options(wire="twilio")
    ).turns
    assert first.reply_ms is not None and 100 < first.reply_ms < 600
    assert second.outcome == "answered" and second.passed


def test_the_servers_steps_are_on_the_clients_clock(url: str) -> None:
    level = level_of(url, CALLS)
    steps = {step: median(turn.steps[step] for turn in level.turns) for step in level.turns[0].steps}
    assert steps["last_speech"] == pytest.approx(0, abs=15)
    assert steps["transcript"] == pytest.approx(known_server.STOP_MS + known_server.TRANSCRIPT_MS, abs=15)
    assert steps["tts_first_audio"] == pytest.approx(KNOWN_MS, abs=15)


def test_a_planted_regression_is_found() -> None:
    """And two runs of the same server are not called different."""
    results = []
    for ms in (KNOWN_MS, KNOWN_MS, KNOWN_MS + 80):
        with known(ms) as url:
            level = level_of(url, CALLS, sessions=4, options=Options(repeats=2))
        results.append(put_together("", [level], Options(), "", datetime.now(UTC)))
    before, again, slower = results
    assert not compare(before, again).regressed
    assert any(difference.verdict == "slower" for difference in compare(before, slower).differences)


def test_speech_over_a_reply_stops_it(url: str) -> None:
    acts = (said(), said(over_reply_ms=100, expect=Expect(stops_within_ms=600)))
    first, second = level_of(url, [Call("barge-in", acts)]).turns
    assert first.reply_ms is not None and 100 < first.reply_ms < 600
    assert second.stops_ms is not None and second.stops_ms < 600
    assert second.outcome == "answered" and second.passed


def test_a_silence_without_expectations_is_no_turn(url: str) -> None:
    (turn,) = level_of(url, [Call("quiet", (Act(silence_s=0.3), said()))]).turns
    assert turn.step == 1 and turn.outcome == "answered"


def test_hanging_up_ends_the_call(url: str) -> None:
    acts = (said(), Act(hangs_up=True, over_reply_ms=100))
    (turn,) = level_of(url, [Call("hang up", acts)]).turns
    assert turn.outcome == "answered" and turn.reply_ms is not None and turn.reply_ms < 500


def test_the_recording_has_question_and_reply_where_they_were(url: str) -> None:
    pcm = np.concatenate([silence(100), tone(0.5, RATE, amplitude=LOUD), silence(100)])
    call = Call("tone", (Act(pcm=pcm, speech=(RATE // 10, RATE * 6 // 10)),))
    (turn,) = level_of(url, [call], options=Options(audio=True)).turns
    assert turn.audio and turn.heard_ms is not None
    tracks, rate = soundfile.read(io.BytesIO(base64.b64decode(turn.audio)), dtype="float32")
    zero = round(turn.audio_zero_ms * rate / 1000)
    question = np.flatnonzero(np.abs(tracks[:, 0]) > 0.1)
    reply = np.flatnonzero(np.abs(tracks[:, 1]) > 0.01)
    assert question[-1] == pytest.approx(zero, abs=rate // 20)
    assert reply[0] == pytest.approx(zero + turn.heard_ms * rate / 1000, abs=rate // 20)


def test_a_server_that_goes_away_fails_the_turn_and_not_the_run() -> None:
    with known(KNOWN_MS) as url:

        async def run() -> Level:
            running = asyncio.create_task(run_level(Server(url), CALLS, 1, Options()))
            await asyncio.sleep(1)
            victim = Server(url)._process
            assert victim
            victim.kill()
            return await running

        level = asyncio.run(run())
    assert {turn.outcome for turn in level.turns} == {"failed"}
    assert all(turn.error for turn in level.turns)


def test_what_was_measured_is_kept_when_interrupted(url: str, tmp_path: Path) -> None:
    for number in range(6):
        write_wav(tmp_path / f"{number}.wav", said(500).pcm, RATE)
    out = tmp_path / "out" / "result.json"
    command = [
        sys.executable,
        "-m",
        "voice_agent",
        "lab",
        "run",
        str(tmp_path),
        "--url",
        url,
        "--json",
        str(out),
    ]
    terminal, screen = pty.openpty()
    process = subprocess.Popen(command, stderr=screen, preexec_fn=default_signals)
    shown = b""
    while b"2/6" not in shown:
        shown += os.read(terminal, 10_000)
        assert process.poll() is None, shown
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    assert process.returncode == 130
    result = json.loads(out.read_bytes())
    assert result["levels"][0]["unfinished"]
    assert 2 <= len(result["levels"][0]["turns"]) < 6


def test_nobody_there_is_said_so(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", said().pcm, RATE)
    command = [
        sys.executable,
        "-m",
        "voice_agent",
        "lab",
        "run",
        str(tmp_path),
        "--url",
        f"ws://127.0.0.1:{free_port()}/ws",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no voice agent answers" in done.stderr


@pytest.mark.parametrize(
    ("expect", "turn", "met"),
    [
        (Expect(reply_within_ms=500), {"outcome": "answered", "voice_to_voice_ms": 400}, True),
        (Expect(reply_within_ms=500), {"outcome": "answered", "voice_to_voice_ms": 600}, False),
        (Expect(reply_within_ms=500), {"outcome": "no_reply"}, False),
        (Expect(reply_within_ms=500), {"outcome": "cut_in", "voice_to_voice_ms": -300}, False),
        (Expect(stops_within_ms=500), {"outcome": "answered", "stops_ms": 300}, True),
        (Expect(stops_within_ms=500), {"outcome": "answered"}, False),
        (Expect(goes_on=True), {"outcome": "no_reply"}, True),
        (Expect(goes_on=True), {"outcome": "no_reply", "stops_ms": 300}, False),
        (Expect(no_reply=True), {"outcome": "no_reply"}, True),
        (Expect(no_reply=True), {"outcome": "answered", "voice_to_voice_ms": 400}, False),
        (
            Expect(transcript_wer_below=0.3),
            {"outcome": "no_reply", "said": "one two", "transcript": "one two."},
            True,
        ),
        (
            Expect(transcript_wer_below=0.3),
            {"outcome": "no_reply", "said": "one two", "transcript": "one"},
            False,
        ),
        (Expect(transcript_wer_below=0.3), {"outcome": "no_reply", "said": "one two"}, False),
    ],
)
def test_expectations_are_judged(expect: Expect, turn: dict[str, object], met: bool) -> None:
    judged = Turn.model_validate({"dialogue": "d", "speech_ms": 1000} | turn)
    judge(judged, Act(expect=expect))
    assert [expectation.met for expectation in judged.expectations] == [met]


@pytest.mark.parametrize("held", [0, 1, 2, 5, 8, 11, 32])
def test_a_ramp_finds_what_is_held(held: int) -> None:
    async def measure(sessions: int) -> Level:
        ms = 500.0 if sessions <= held else 1500.0
        turn = Turn(dialogue="d", outcome="answered", voice_to_voice_ms=ms, speech_ms=1000)
        return Level(sessions=sessions, turns=[turn] * 20, server=ServerUse(wall_s=1))

    levels = asyncio.run(ramp_levels(1000, measure, most=32))
    tried = [level.sessions for level in levels]
    assert tried == sorted(set(tried))
    assert (held in tried) == (held > 0)
    assert (held + 1 in tried) == (held < 32)
