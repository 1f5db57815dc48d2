"""The conversation that `talk` holds, with a scripted server."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.scripted_server import Call, Script, scripted, tone
from voice_agent.audio import Pcm16
from voice_agent.client import Client, Microphone, NoServerError, ServerError, hold_exchange
from voice_agent.talk import VOICE_TO_VOICE, Exit, Outcome, Recording, converse, load

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
