"""Results as a run would give them: recordings that differ, repeats that differ less, and now and then a stall."""

import base64
import io

import av
import numpy as np

from voice_agent.lab.result import Expectation, Level, Machine, Outcome, Result, ServerUse, Turn

STEPS = {
    "last_speech": 12.0,
    "vad_stop": 120.0,
    "transcript": 110.0,
    "llm_first_token": 60.0,
    "first_chunk": 90.0,
    "tts_first_audio": 80.0,
}
"""How long each takes."""


def turn(
    voice_to_voice_ms: float | None = 640.0,
    *,
    dialogue: str = "commands/lights.wav",
    outcome: Outcome = "answered",
    repeat: int = 0,
    sessions: int = 1,
    session: int = 0,
    steps: dict[str, float] | None = None,
    expectations: list[Expectation] | None = None,
    error: str | None = None,
    word_errors: int | None = 0,
) -> Turn:
    """A turn that was answered, unless told otherwise."""
    return Turn(
        dialogue=dialogue,
        repeat=repeat,
        sessions=sessions,
        session=session,
        outcome=outcome,
        error=error,
        said="Turn off the lights in the kitchen, please.",
        transcript="Turn off the lights in the kitchen, please.",
        word_errors=word_errors,
        words=8,
        reply="Done. The kitchen is dark now.",
        speech_ms=2100.0,
        voice_to_voice_ms=voice_to_voice_ms,
        heard_ms=None if voice_to_voice_ms is None else voice_to_voice_ms + 20,
        steps=steps or {},
        reply_ms=1800.0,
        expectations=expectations or [],
    )


def level(turns: list[Turn], sessions: int = 1) -> Level:
    """What was measured with so many sessions."""
    server = ServerUse(
        cpu_s=30.0,
        wall_s=120.0,
        memory_mb=1340.0,
        event_loop_lag_ms=1.4,
        prepared={"used": 50, "discarded": 10, "skipped": 3},
        wasted_s=4.2,
    )
    return Level(sessions=sessions, turns=turns, server=server, client_late_ms=1.8)


def result(*levels: Level) -> Result:
    """A run of these levels."""
    machine = Machine(processor="Test", cores=2, memory_gb=8.0, system="Linux", python="3.11")
    return Result(
        started="2026-11-22T14:00:00+00:00",
        command="voice-agent lab run recordings --repeat 3",
        version="0.1.0+abcdef0",
        url="ws://127.0.0.1:3000/session",
        machine=machine,
        repeats=3,
        levels=list(levels),
    )


def measured(
    seed: int,
    *,
    recordings: int = 20,
    repeats: int = 3,
    slower_ms: float = 0.0,
    slower_step: str = "llm_first_token",
    sessions: int = 1,
    load_ms: float = 0.0,
) -> Level:
    """A level of realistic size.

    Recordings differ by 300 ms (one standard deviation, the same for every seed: they are the same recordings), repeats
    by 40 ms, and one turn in twenty stalls for 150 ms on average. `slower_ms` is planted in one step.
    """
    of_recordings = np.random.default_rng(7).gamma(2, 300 / np.sqrt(2), recordings)
    rng = np.random.default_rng(seed)
    turns = []
    for number, differs in enumerate(of_recordings):
        for repeat in range(repeats):
            durations = {step: ms * rng.lognormal(0, 0.1) for step, ms in STEPS.items()}
            durations["transcript"] += 0.3 * float(differs) + load_ms
            durations["first_chunk"] += 0.7 * float(differs)
            stalled = rng.exponential(150) if rng.random() < 0.05 else 0.0
            durations["tts_first_audio"] = (
                max(5.0, durations["tts_first_audio"] + rng.normal(0, 40)) + stalled
            )
            durations[slower_step] += slower_ms
            steps, at = {}, 0.0
            for step, ms in durations.items():
                at += ms
                steps[step] = round(at, 1)
            steps["end_of_turn"] = round(steps["transcript"] + 120 + 0.2 * float(differs), 1)
            sent = max(steps["end_of_turn"], at) + 3
            steps["first_audio_sent"] = round(sent, 1)
            turns.append(
                turn(
                    round(sent + 15 + rng.exponential(5), 1),
                    dialogue=f"recording-{number:02}.wav",
                    repeat=repeat,
                    sessions=sessions,
                    steps=steps,
                    word_errors=int(rng.random() < 0.2),
                )
            )
    return level(turns, sessions)


def spoken(question_s: float = 2.1, silence_s: float = 0.64, reply_s: float = 1.8, rate: int = 24_000) -> str:
    """Base64 of an MP3: the question on the left, the reply on the right."""
    lengths = [round(seconds * rate) for seconds in (question_s, silence_s, reply_s)]
    time = np.arange(sum(lengths)) / rate
    sound = 9000 * np.sin(time * 2 * np.pi * 220) * (0.55 + 0.45 * np.sin(time * 2 * np.pi * 3.1))
    left, right = sound.copy(), sound.copy()
    left[lengths[0] :] = 0
    right[: lengths[0] + lengths[1]] = 0
    stereo = np.stack([left, right]).astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="stereo", bit_rate=48_000)
        frame = av.AudioFrame.from_ndarray(stereo, format="s16p", layout="stereo")
        frame.rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return base64.b64encode(file.getvalue()).decode()
