"""Scenarios: what may stand in one, what is said of one that is wrong, and how its words become sound."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures import word_error_rate
from voice_agent.audio import RATE, Pcm16, samples_to_ms, write_wav
from voice_agent.client.player import speech_bounds
from voice_agent.config import Settings
from voice_agent.errors import LabError, SettingsError
from voice_agent.lab import scenarios
from voice_agent.lab.noise import rms, speech_level
from voice_agent.lab.scenario import Scenario, Step
from voice_agent.lab.scenarios import Speech, burst, load_scenarios
from voice_agent.stages.synthesizer import Synthesizer
from voice_agent.stages.transcriber import FasterWhisper
from voice_agent.urgency import Need

OURS = Path(__file__).parents[2] / "scenarios"


def write(folder: Path, steps: str, name: str = "call", head: str = "about: A call.\n") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(f"{head}steps:\n{steps}", encoding="utf-8")
    return path


def problem(*paths: Path) -> str:
    with pytest.raises(LabError) as raised:
        load_scenarios(paths)
    return str(raised.value)


def test_ours_load_and_are_named_after_their_files() -> None:
    loaded = load_scenarios([OURS])
    assert [scenario.name for scenario in loaded] == sorted(path.stem for path in OURS.glob("*.yaml"))
    assert len(loaded) >= 12
    assert 3 <= sum(scenario.short for scenario in loaded) <= 6
    for scenario in loaded:
        assert scenario.about.endswith(".")
        assert any(step.expect.named for step in scenario.steps), scenario.name


def test_ours_demand_each_kind_of_expectation() -> None:
    demanded = {
        name for scenario in load_scenarios([OURS]) for step in scenario.steps for name in step.expect.named
    }
    assert demanded == {"reply_within_ms", "stops_within_ms", "goes_on", "transcript_wer_below", "no_reply"}


def test_files_and_folders_may_be_mixed_and_a_recording_lies_beside_its_scenario(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    write_wav(tmp_path / "more" / "hello.wav", np.ones(RATE, np.int16), RATE)
    one = write(tmp_path, "- say: Hello.\n", "one")
    write(tmp_path / "more", "- play: hello.wav\n  transcript: hello\n", "two", "name: second\nabout: It.\n")
    first, second = load_scenarios([one, tmp_path / "more"])
    assert (first.name, second.name) == ("one", "second")
    assert second.steps[0].play == tmp_path / "more" / "hello.wav"
    assert second.steps[0].words == "hello"


SAY = "- say: Hello.\n"


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (
            "- after: reply\n",
            "step 1: exactly one of say, play, noise_ms, silence_s, hang_up is wanted; given: none",
        ),
        (
            SAY + "- say: A.\n  silence_s: 3\n",
            "step 2: exactly one of say, play, noise_ms, silence_s, hang_up",
        ),
        ("- say: A.\n  transcript: a\n", "step 1: transcript: it belongs to play"),
        ("- play: gone.wav\n", "step 1: play: no file"),
        ("- say: Yes\n", "step 1: say: input should be a valid string, so put it in quotes; given: True"),
        ("- say: '[pause 300]'\n", "step 1: say: there are no words in it"),
        ("- say: A [pause 3 s] b.\n", "step 1: say: in brackets only a pause can stand"),
        ("- say: A.\n  after_ms: 200\n", "step 1: after_ms: it counts from the reply's first sound"),
        ("- say: A.\n  after: start\n", "step 1: `after: start` means during a reply"),
        ("- say: A.\n  after: later\n", "step 1: after: input should be 'reply' or 'start'; given: 'later'"),
        (
            "- say: A.\n  expect: {stops_within_ms: 500}\n",
            "step 1: expect.stops_within_ms: it is about a reply",
        ),
        ("- say: A.\n  expect: {goes_on: true}\n", "step 1: expect.goes_on: it is about a reply"),
        (
            "- say: A.\n  expect: {reply_within_ms: -1}\n",
            "step 1: expect.reply_within_ms: input should be greater",
        ),
        (
            "- say: A.\n  expect: {replies_within_ms: 9}\n",
            "step 1: expect.replies_within_ms: unknown; did you mean reply_within_ms? known here: reply_within_ms,",
        ),
        ("- says: A.\n", "step 1: says: unknown; did you mean say? known here: say,"),
        ("- say: A.\n  expect: {reply_within_ms: 9, no_reply: true}\n", "no_reply and reply_within_ms"),
        (
            SAY + "- say: A.\n  after: start\n  expect: {goes_on: true, stops_within_ms: 9}\n",
            "step 2: goes_on and stops_within_ms",
        ),
        ("- silence_s: 1\n  snr_db: 3\n", "step 1: snr_db: it is measured against speech"),
        ("- silence_s: 1\n  expect: {reply_within_ms: 9}\n", "step 1: expect.reply_within_ms: it counts"),
        (
            "- noise_ms: 1\n  expect: {transcript_wer_below: 1}\n",
            "step 1: expect.transcript_wer_below: the words",
        ),
        (SAY + "- hang_up: true\n  expect: {no_reply: true}\n", "step 2: expect: after hang_up"),
        (SAY + "- hang_up: true\n" + SAY, "step 2: nothing can follow hang_up"),
        ("  []\n", "steps: list should have at least 1 item"),
        ("- say: [\n", "not YAML that can be read"),
    ],
)
def test_a_wrong_step_is_named_with_what_it_should_be(tmp_path: Path, steps: str, words: str) -> None:
    path = write(tmp_path, steps)
    assert problem(path).startswith(str(path))
    assert words in problem(path)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    write(tmp_path, "- shout: A.\n- say: A.\n  after_ms: -1\n", "one", "title: x\n")
    write(tmp_path, SAY, "two", "name: one\nabout: It.\n")
    write(tmp_path, SAY, "three", "name: one\nabout: It.\n")
    (tmp_path / "zero.yaml").write_text("just text")
    said = problem(tmp_path)
    for words in (
        "one.yaml: about: missing",
        "one.yaml: title: unknown",
        "one.yaml, step 1: shout: unknown",
        "one.yaml, step 2: after_ms:",
        "two.yaml: another scenario is named one",
        "zero.yaml: a scenario has the fields name, about",
    ):
        assert words in said


def test_paths_without_scenarios_are_refused(tmp_path: Path) -> None:
    assert "no scenarios (*.yaml)" in problem(tmp_path)
    assert "no such file or folder" in problem(tmp_path / "absent")


@dataclass
class Singer:
    """A voice with a note of 300 ms for a text, and silence around it."""

    rate: int = 22_050
    voices: tuple[str, ...] = ("one",)
    sung: list[str] = field(default_factory=list)
    closed: bool = False

    async def start(self) -> None: ...

    async def close(self) -> None:
        self.closed = True

    def speaks(self, voice: str | None, language: str | None) -> str | None:
        return "en"

    async def stream(
        self, text: str, *, voice: str | None = None, language: str | None = None, need: Need | None = None
    ) -> AsyncGenerator[Pcm16, None]:
        self.sung.append(text)
        note = (8000 * np.sin(np.arange(self.rate * 3 // 10) * 0.1)).astype(np.int16)
        yield np.zeros(self.rate // 10, np.int16)
        yield note
        yield np.zeros(self.rate // 5, np.int16)


@pytest.fixture
def singer(monkeypatch: pytest.MonkeyPatch) -> Singer:
    engine = Singer()

    def build(settings: Settings) -> Synthesizer:
        assert settings.tts.engine == "piper"
        return engine

    monkeypatch.setattr(scenarios, "build_synthesizer", build)
    return engine


def scenario(*steps: Step) -> Scenario:
    return Scenario(name="call", about="A call.", steps=list(steps))


async def test_what_is_said_is_spoken_once_and_kept(singer: Singer, tmp_path: Path) -> None:
    call = scenario(Step(say="It is 3 pm."), Step(silence_s=1), Step(hang_up=True))
    first = Speech(Settings(), RATE, tmp_path)
    said, *others = await first.utterances(call)
    await first.close()
    assert singer.closed
    assert others == [None, None]
    assert said is not None
    assert said.transcript == "It is 3 pm."
    assert samples_to_ms(len(said.pcm)) == pytest.approx(300, abs=21)
    [text] = singer.sung
    assert "three" in text
    again, *_ = await Speech(Settings(), RATE, tmp_path).utterances(call)
    assert again is not None
    np.testing.assert_array_equal(said.pcm, again.pcm)
    assert singer.sung == [text]


async def test_a_pause_is_silence_of_its_length(singer: Singer, tmp_path: Path) -> None:
    [said] = await Speech(Settings(), 24_000, tmp_path).utterances(
        scenario(Step(say="A table [pause 700] for two."))
    )
    assert said is not None
    assert singer.sung == ["A table", "for two."]
    assert said.transcript == "A table for two."
    loud = np.flatnonzero(np.abs(said.pcm) > 100)
    assert np.diff(loud).max() / 24 == pytest.approx(700, abs=25)
    assert said.speech == speech_bounds(said.pcm, 24_000)
    assert samples_to_ms(said.speech[1], 24_000) == pytest.approx(1300, abs=40)


async def test_noise_is_so_far_below_the_speech_and_outlasts_it(singer: Singer, tmp_path: Path) -> None:
    speech = Speech(Settings(), RATE, tmp_path)
    [clean] = await speech.utterances(scenario(Step(say="Hello.")))
    [noisy] = await speech.utterances(scenario(Step(say="Hello.", snr_db=5)))
    [again] = await speech.utterances(scenario(Step(say="Hello.", snr_db=5)))
    [other] = await speech.utterances(scenario(Step(say="Hello.", snr_db=5)), seed=1)
    assert clean is not None
    assert noisy is not None
    assert again is not None
    assert other is not None
    assert noisy.speech == clean.speech
    after = noisy.pcm[len(clean.pcm) :]
    assert samples_to_ms(len(after)) == 3000
    assert 20 * np.log10(speech_level(clean.pcm, RATE) / rms(after)) == pytest.approx(5, abs=1)
    np.testing.assert_array_equal(noisy.pcm, again.pcm)
    assert (noisy.pcm != other.pcm).any()


async def test_a_recording_is_played_as_it_is(tmp_path: Path) -> None:
    pcm = np.concatenate((np.zeros(RATE, np.int16), burst(500, RATE, np.random.default_rng(0))))
    write_wav(tmp_path / "a.wav", pcm, RATE)
    [said] = await Speech(Settings(), RATE, tmp_path).utterances(
        scenario(Step(play=tmp_path / "a.wav", transcript="bang"))
    )
    assert said is not None
    assert (said.path, said.transcript, len(said.pcm)) == (tmp_path / "a.wav", "bang", len(pcm))
    assert said.speech[0] == RATE


async def test_a_recording_without_sound_is_refused_by_step(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(RATE, np.int16), RATE)
    with pytest.raises(LabError, match=r"call, step 1: nothing can be heard in .*a\.wav"):
        await Speech(Settings(), RATE, tmp_path).utterances(scenario(Step(play=tmp_path / "a.wav")))


async def test_an_unknown_voice_is_refused(tmp_path: Path) -> None:
    call = scenario(Step(say="Hello.")).model_copy(update={"voice": "nobody"})
    with pytest.raises(SettingsError, match="nobody"):
        await Speech(Settings(), RATE, tmp_path).utterances(call)


def test_a_burst_begins_suddenly_and_dies_away() -> None:
    sound = burst(350, RATE, np.random.default_rng(0))
    assert samples_to_ms(len(sound)) == 350
    tenth = len(sound) // 10
    assert rms(sound[:tenth]) > 10 * rms(sound[-tenth:])
    assert 15_000 < np.abs(sound).max() < 17_000


@pytest.mark.engines
async def test_the_voice_is_understood_with_and_without_pauses(tmp_path: Path) -> None:
    texts = ["I'd like to book a [pause 700] table for two, please.", "What is the capital of France?"]
    speech = Speech(Settings(), RATE, tmp_path)
    said = await speech.utterances(scenario(*(Step(say=text) for text in texts)))
    await speech.close()
    whisper = FasterWhisper(Settings().stt, Settings().models)
    await whisper.start()
    try:
        for utterance in said:
            assert utterance is not None
            heard = await whisper.transcribe(utterance.pcm)
            assert utterance.transcript is not None
            assert word_error_rate(utterance.transcript, heard.text) < 0.2, heard.text
    finally:
        await whisper.close()
