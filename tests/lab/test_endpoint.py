"""The lab's replay: what it says of scripted recordings, how it judges rules, and the command on real ones."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.fixtures import packaged
from tests.scripted import ScriptedVad, silence, speech
from voice_agent.audio import FRAME, RATE, Pcm16, read_audio, samples_to_ms, write_wav
from voice_agent.config import Settings, TurnSettings
from voice_agent.dialogue.end_of_turn import THRESHOLD, Evidence
from voice_agent.lab.cli import lab_app
from voice_agent.lab.cutoffs import (
    Clip,
    Silence,
    best,
    by_default,
    by_evidence,
    by_silence,
    by_smart_turn,
    judge,
)
from voice_agent.lab.replay import Delays, Ear, Moment, Replay
from voice_agent.stages.transcriber import Transcript
from voice_agent.urgency import Need

DELAYS = Delays(transcript_ms=150, score_ms=60)
QUESTION = "Can I have a small latte with soy milk?"


@dataclass
class Writer:
    """Transcribes by what was said up to a length."""

    texts: dict[int, str]
    """By milliseconds of the recording; the first that is not shorter than the utterance holds."""
    asked: list[int] = field(default_factory=list)
    languages: tuple[str, ...] = ("en",)

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def transcribe(
        self,
        pcm: Pcm16,
        *,
        language: str | None = None,
        prompt: str | None = None,
        partial: bool = False,
        need: Need | None = None,
    ) -> Transcript:
        self.asked.append(len(pcm))
        text = next(text for ms, text in self.texts.items() if samples_to_ms(len(pcm)) <= ms)
        return Transcript(text, "en", avg_logprob=-0.2, no_speech_prob=0.0, compression_ratio=1.0)


@dataclass
class Judge:
    """The same score always."""

    value: float = 0.95

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def score(self, pcm: Pcm16) -> float:
        return self.value


def ear(texts: dict[int, str], score: float = 0.95) -> tuple[Ear, Writer]:
    writer = Writer(texts)
    return Ear(ScriptedVad(), Judge(score), writer, Settings()), writer


def recording(*lengths_ms: float) -> Pcm16:
    """Speech and silence by turns."""
    parts = [silence(ms) if number % 2 else speech(ms) for number, ms in enumerate(lengths_ms)]
    return np.concatenate(parts)


async def test_a_finished_question_is_committed_once_and_soon() -> None:
    listener, _ = ear({9000: QUESTION})
    replay = await listener.replay(recording(2000), DELAYS)
    assert replay.decisions == [pytest.approx(2.45, abs=0.15)]


async def test_every_frame_of_silence_has_its_evidence_beyond_the_commit() -> None:
    listener, _ = ear({9000: QUESTION})
    replay = await listener.replay(recording(2000), DELAYS)
    times = [moment.at for moment in replay.moments]
    assert times[0] == pytest.approx(2.02)
    assert times[-1] > replay.decisions[0] + 2
    assert np.diff(times) == pytest.approx(FRAME / RATE)
    assert replay.moments[-1].probability == 1.0


async def test_a_commit_in_a_pause_does_not_hide_the_rest_of_the_turn() -> None:
    listener, _ = ear({3000: "I really like animals.", 9000: QUESTION})
    replay = await listener.replay(recording(1000, 1500, 1000), DELAYS)
    assert 1 < replay.decisions[0] < 2.5 < 3.5 < replay.decisions[1]
    first, second = replay.silences()
    assert first[-1].evidence.silence_ms == pytest.approx(1500, abs=40)
    assert second[-1].evidence.pauses_ms == pytest.approx((1500,), abs=20)
    assert second[-1].evidence.text == QUESTION


async def test_answers_come_when_they_are_said_to_come() -> None:
    listener, _ = ear({9000: QUESTION})
    replay = await listener.replay(recording(2000), Delays(transcript_ms=300, score_ms=100))
    with_score = next(moment for moment in replay.moments if moment.evidence.audio is not None)
    with_text = next(moment for moment in replay.moments if moment.evidence.text is not None)
    assert with_score.evidence.silence_ms == pytest.approx(120 + 100, abs=20)
    assert with_text.evidence.silence_ms == pytest.approx(TurnSettings().stop_ms + 300, abs=20)


async def test_an_engine_whose_answer_would_come_too_late_is_not_asked() -> None:
    listener, writer = ear({9000: QUESTION})
    await listener.replay(recording(1000, 100, 1000), DELAYS)
    assert len(writer.asked) == 1


async def test_no_words_are_no_turn_but_the_curve_goes_on() -> None:
    listener, _ = ear({9000: ""})
    replay = await listener.replay(recording(500), DELAYS)
    assert replay.decisions == []
    assert replay.moments[-1].probability == 1.0


async def test_the_same_recording_gives_the_same_replay() -> None:
    listener, _ = ear({3000: "I'd like to", 9000: QUESTION})
    pcm = recording(1000, 700, 1000)
    assert await listener.replay(pcm, DELAYS) == await listener.replay(pcm, DELAYS)


def clip(
    speech_end: float, probabilities: dict[float, float], *silences: Silence, commits: tuple[float, ...] = ()
) -> Clip:
    """What a rule sees of a clip."""
    nothing = Evidence(0, 0, None, None, "", ())
    moments = [Moment(at, probability, nothing) for at, probability in probabilities.items()]
    return Clip("query", speech_end, Replay(moments, list(commits)), silences)


def test_a_commit_more_than_50_ms_early_is_a_cut_off_and_not_a_delay() -> None:
    clips = [
        clip(2.0, {}, commits=(1.94,)),
        clip(2.0, {}, commits=(1.96,)),
        clip(2.0, {}, commits=(2.5, 7.0)),
        clip(2.0, {}),
    ]
    outcome = judge(clips, by_default)
    assert outcome.cut_off == 1 / 4
    assert outcome.mean_s == pytest.approx((-0.04 + 0.5) / 2)
    assert outcome.never == 1


def test_the_best_threshold_keeps_to_the_budget_and_commits_everything() -> None:
    clips = [clip(2.0, {1.0: 0.5, 2.4: 0.7, 2.8: 0.9}) for _ in range(2)]
    found = best(clips, ((threshold, by_evidence(threshold)) for threshold in (0.4, 0.6, 0.8, 0.95)))
    assert found is not None
    threshold, outcome = found
    assert threshold == 0.6
    assert outcome.mean_s == pytest.approx(0.4)
    assert best(clips, [("never", by_evidence(0.95))]) is None


def test_the_peers_rules_commit_by_length_and_by_score() -> None:
    heard = clip(5.0, {}, Silence(1.0, 1.7, score=0.4), Silence(5.0, 9.0, score=0.9))
    assert by_silence(0.6)(heard) == 1.6
    assert by_silence(0.8)(heard) == 5.8
    assert by_smart_turn(0.5, longest_s=2.0)(heard) == 5.2
    assert by_smart_turn(0.3, longest_s=2.0)(heard) == 1.2


@pytest.mark.engines
def test_the_command_writes_an_object_for_each_recording(tmp_path: Path) -> None:
    clips = [recording for recording in packaged() if recording.path.stem in ("goforward", "something")]
    rows = ["path\tkind\tspeech_end"]
    for recorded in clips:
        path = Path("deep", "er", recorded.path.name)
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        write_wav(tmp_path / path, read_audio(recorded.path), RATE)
        rows.append(f"{path.as_posix()}\tquery\t{recorded.speech_end}")
    (tmp_path / "manifest.tsv").write_text("\n".join(rows), encoding="utf-8")
    out = tmp_path / "out.json"

    done = CliRunner().invoke(lab_app, ["endpoint", str(tmp_path), "--json", str(out)])

    assert done.exit_code == 0, done.output
    assert "smart-turn alone" in done.output
    written = json.loads(out.read_text())
    assert [entry["file"] for entry in written] == ["deep/er/goforward.wav", "deep/er/something.wav"]
    for entry, recorded in zip(written, clips, strict=True):
        assert recorded.speech_end is not None
        [decision] = entry["decisions"]
        assert recorded.speech_end - 0.05 <= decision <= recorded.speech_end + 1.5
        crossed = next(point["t"] for point in entry["evidence"] if point["p"] >= THRESHOLD["auto"])
        assert crossed == pytest.approx(decision, abs=0.021)


def test_a_folder_without_recordings_is_refused_by_name(tmp_path: Path) -> None:
    done = CliRunner().invoke(lab_app, ["endpoint", str(tmp_path)])
    assert done.exit_code == 2
    assert "no WAV files" in done.output
