import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from hypothesis import given
from hypothesis import strategies as st
from piper import PiperVoice, SynthesisConfig

from tests.stages.speaking import (
    check_leaving_frees_the_worker,
    clicks,
    error_rate,
    lead_ms,
    level_dbfs,
    pieces,
    speech,
    tail_ms,
)
from voice_agent.audio import samples_to_ms
from voice_agent.config import ModelsSettings, TtsSettings
from voice_agent.errors import SettingsError, StageError
from voice_agent.models import ensure
from voice_agent.stages import pool
from voice_agent.stages.onnx_stop import OnnxStop
from voice_agent.stages.synthesizer import piper
from voice_agent.stages.synthesizer.piper import PiperSynthesizer, split_phonemes
from voice_agent.stages.transcriber import FasterWhisper

pytestmark = pytest.mark.engines

TEXTS = [
    "Sure, I can help you with that.",
    "The weather is nice today in Paris.",
    "Your order will arrive on Thursday afternoon.",
    "I think the best way to get there is to take the train from the central station.",
    "What time would you like to come by?",
]
LONG = (
    "Once upon a time there was a king who had three daughters. The youngest was kind. The others were not."
)


@pytest.fixture(scope="module")
def engine() -> Iterator[PiperSynthesizer]:
    engine = PiperSynthesizer(TtsSettings(), ModelsSettings())
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def weights() -> Path:
    return ensure("piper-en_US-joe-medium", directory=ModelsSettings().dir) / "en_US-joe-medium.onnx"


async def test_speech_is_clean(engine: PiperSynthesizer) -> None:
    for text in TEXTS:
        made = await pieces(engine, text)
        pcm = np.concatenate(made)
        assert lead_ms(pcm, engine.rate) < 40, text
        assert 150 <= tail_ms(pcm, engine.rate) <= 250, text
        assert -27 < level_dbfs(pcm, engine.rate) < -15, text
        assert np.abs(pcm.astype(int)).max() < 32_700, text
        assert clicks(made) == [], text
        words_per_s = len(text.split()) / (len(pcm) / engine.rate)
        assert 1.5 < words_per_s < 5, text


async def test_whisper_understands_it(engine: PiperSynthesizer, whisper: FasterWhisper) -> None:
    assert await error_rate(whisper, engine, TEXTS) <= 0.1


async def test_the_first_piece_comes_before_the_rest_is_made(engine: PiperSynthesizer) -> None:
    made = await pieces(engine, TEXTS[3])
    assert samples_to_ms(len(made[0]), engine.rate) < 360
    assert len(made) >= 4


def test_pieces_are_the_samples_of_the_uncut_graph(weights: Path) -> None:
    quiet = SynthesisConfig(noise_scale=0, noise_w_scale=0, normalize_audio=False)
    voice = piper._Voice(weights)
    voice._config.noise_scale = voice._config.noise_w_scale = 0  # no chance in it: both give the same
    uncut = PiperVoice.load(weights)
    for text in TEXTS:
        [phonemes] = voice.sentences(text)
        [whole] = uncut.synthesize(text, quiet)
        cut = np.concatenate(list(voice.pieces(phonemes, "", 1.0, OnnxStop())))
        np.testing.assert_allclose(cut, whole.audio_float_array, atol=1e-4)


async def test_sentences_in_one_chunk_are_kept_apart_by_a_pause(engine: PiperSynthesizer) -> None:
    pcm = await speech(engine, "That sounds great! What time would you like to come by?")
    quiet = np.abs(pcm.astype(int)) < 328
    edges = np.flatnonzero(np.diff(np.r_[False, quiet, False].astype(int)))
    gaps = sorted(samples_to_ms(int(gap), engine.rate) for gap in edges[1::2] - edges[::2])
    assert all(150 <= gap <= 280 for gap in gaps[-2:]), gaps


async def test_leaving_early_frees_the_worker(
    engine: PiperSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check_leaving_frees_the_worker(engine, monkeypatch, long=LONG, short="Yes.")


async def test_two_streams_at_once_speak_their_own_words(whisper: FasterWhisper) -> None:
    engine = PiperSynthesizer(TtsSettings(workers=2), ModelsSettings())
    await engine.start()
    both = await asyncio.gather(
        error_rate(whisper, engine, TEXTS[1:3]), error_rate(whisper, engine, TEXTS[3:])
    )
    await engine.close()
    assert max(both) <= 0.15


async def test_speed_changes_how_long_it_takes(weights: Path) -> None:
    lengths = []
    voice = piper._Voice(weights)
    for speed in (0.5, 1.0, 2.0):
        engine = PiperSynthesizer(TtsSettings(speed=speed), ModelsSettings())
        engine._voice, engine.voices = voice, ("joe",)
        lengths.append(len(await speech(engine, TEXTS[3])))
        await engine.close()
    assert 1.4 < lengths[0] / lengths[1] < 2.2
    assert (
        1.3 < lengths[1] / lengths[2] < 2.2
    )  # VITS gives no sound less than a frame, so 2.0 is less than twice


@pytest.mark.parametrize(
    "text",
    [
        "please " * 300,
        "one, two; three: " * 200,
        "1234567890123 " * 60,
        "9" * 3000,
        "a" * 3000,
        "你好世界" * 200,
    ],
    ids=["words", "clauses", "numbers", "digits", "an endless word", "no spaces"],
)
def test_no_run_of_the_encoder_gets_more_than_it_can_do_at_once_and_nothing_is_lost(
    weights: Path, text: str
) -> None:
    voice = piper._Voice(weights)
    parts = voice.sentences(text)
    assert max(map(len, parts)) <= piper.MOST_PHONEMES
    whole = voice._phonemizer.phonemize(text)
    assert [mark for part in parts for mark in part] == [mark for sentence in whole for mark in sentence]


@given(st.text("ab ,;", max_size=200), st.integers(2, 20))
def test_phonemes_are_cut_between_words_where_there_is_a_space(text: str, most: int) -> None:
    parts = split_phonemes(list(text), most)
    assert "".join(mark for part in parts for mark in part) == text
    for part, after in zip(parts, [*parts[1:], []], strict=True):
        assert len(part) <= most
        assert not after or after[0] == " " or " " not in part[1:]


def test_phonemes_are_cut_behind_a_clause_that_is_long_enough() -> None:
    cut = ["".join(part) for part in split_phonemes(list("a b, c d e, f g h i"), 15)]
    assert cut == ["a b, c d e,", " f g h i"]


def test_a_run_that_nobody_waits_for_is_stopped_in_the_midst_of_it(weights: Path) -> None:
    """This one would take seconds."""
    voice, stop = piper._Voice(weights), OnnxStop()
    begun, outcome = threading.Event(), list[str]()

    def run() -> None:
        begun.set()
        try:
            next(voice.pieces(list("ha" * 800), "", 1.0, stop))
        except Exception as error:
            outcome.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait()
    stop.set()
    thread.join()
    assert "terminate" in outcome[0]


async def test_an_engine_that_fails_within_a_chunk_is_a_stage_error_and_goes_on(
    engine: PiperSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine._voice
    decoder: Any = engine._voice._decoder
    runs = 0

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(decoder, name)

        def run(self, *given: Any) -> Any:
            nonlocal runs
            runs += 1
            if runs == 2:
                raise RuntimeError("out of memory")
            return decoder.run(*given)

    monkeypatch.setattr(engine._voice, "_decoder", Failing())
    made = []
    with pytest.raises(StageError, match="out of memory"):
        async for piece in engine.stream(TEXTS[3]):
            made.append(piece)
    assert len(made) <= 1
    assert len(await speech(engine, "Yes."))


async def test_a_voice_that_hangs_once_is_heard_of_and_the_next_chunk_is_spoken(
    engine: PiperSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine._voice
    go_on = threading.Event()

    def hang(*_: object) -> Iterator[Any]:
        go_on.wait(60)
        yield np.zeros(0, np.float32)

    monkeypatch.setattr(pool, "STOP_S", 0.0)
    with monkeypatch.context() as hanging:
        hanging.setattr(engine._voice, "pieces", hang)
        hanging.setattr(engine._worker, "_timeout_s", 0.05)
        with pytest.raises(StageError, match="the synthesizer gave nothing"):
            await pieces(engine, "Hello.")
    assert len(await speech(engine, "Hello."))
    assert engine.healthy
    go_on.set()


@pytest.mark.parametrize("text", ["Good\0 day.", "Good \ud83d day.", "\x1b[1mGood day.", "Good day.\udfff"])
async def test_what_no_voice_can_read_is_left_out(engine: PiperSynthesizer, text: str) -> None:
    assert len(await speech(engine, text))


@pytest.mark.parametrize("text", ["", "   ", "...", "?!", "-", "_", "١٢", "\0", "\ud83d", "\u200b"])
async def test_text_without_words_gives_no_audio(engine: PiperSynthesizer, text: str) -> None:
    assert await pieces(engine, text) == []


async def test_brackets_are_not_taken_for_phonemes(engine: PiperSynthesizer) -> None:
    marked, plain = await speech(engine, "See [[the notes]]."), await speech(engine, "See the notes.")
    assert 0.8 < len(marked) / len(plain) < 1.25


async def test_an_unknown_voice_is_refused_with_the_voices_there_are(engine: PiperSynthesizer) -> None:
    with pytest.raises(SettingsError, match=r"'amy'.*en_US-joe-medium"):
        await pieces(engine, "Hello.", voice="amy")
    with pytest.raises(SettingsError, match=r"tts\.voice.*'amy'.*en_US-joe-medium"):
        PiperSynthesizer(TtsSettings(voice="amy"), ModelsSettings())


def test_a_path_without_its_description_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no file .*gone\.onnx"):
        PiperSynthesizer(TtsSettings(voice=str(tmp_path / "gone.onnx")), ModelsSettings())
    (tmp_path / "bare.onnx").touch()
    with pytest.raises(SettingsError, match=r"no file .*bare\.onnx\.json"):
        PiperSynthesizer(TtsSettings(voice=str(tmp_path / "bare.onnx")), ModelsSettings())
    (tmp_path / "bare.onnx.json").write_text("{}")
    with pytest.raises(SettingsError, match="not the description of a Piper voice"):
        PiperSynthesizer(TtsSettings(voice=str(tmp_path / "bare.onnx")), ModelsSettings())


async def test_a_broken_voice_is_a_stage_error(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a graph")
    shutil.copy(f"{weights}.json", f"{path}.json")
    engine = PiperSynthesizer(TtsSettings(voice=str(path)), ModelsSettings())
    with pytest.raises(StageError):
        await engine.start()
    await engine.close()


async def test_before_start_and_after_close_it_says_so() -> None:
    engine = PiperSynthesizer(TtsSettings(), ModelsSettings())
    with pytest.raises(StageError, match="not started"):
        await pieces(engine, "Hello.")
    await engine.close()
    with pytest.raises(StageError, match="closed"):
        await pieces(engine, "Hello.")


async def test_a_voice_at_a_path_is_named_after_its_file(weights: Path) -> None:
    engine = PiperSynthesizer(TtsSettings(voice=str(weights)), ModelsSettings())
    assert engine.rate == 22_050
    await engine.start()
    assert engine.voices == ("en_US-joe-medium",)
    await engine.close()


async def test_a_voice_whose_graph_has_no_seam_is_given_by_the_second(weights: Path, tmp_path: Path) -> None:
    model = onnx.load(weights)
    for node in model.graph.node:
        node.name = node.name.replace("/dec/", "/other/")
    engine = _changed(model, weights, tmp_path)
    await engine.start()
    made = await pieces(engine, TEXTS[3])
    lengths = [samples_to_ms(len(piece), engine.rate) for piece in made]
    assert sum(lengths) > 2000
    assert max(lengths) < 1500
    assert clicks(made) == []
    await engine.close()


async def test_a_voice_with_several_speakers_offers_each_of_them(weights: Path, tmp_path: Path) -> None:
    """Our voice, with a second speaker put in: one whose latents weigh less, and who is quieter for it."""
    model = onnx.load(weights)
    graph = model.graph
    odd = next(value for value in graph.initializer if value.name == "sid")
    odd.name = "weights"  # the export's name for the phonemes' embedding
    graph.input.append(onnx.helper.make_tensor_value_info("sid", onnx.TensorProto.INT64, [1]))
    table = np.array([1.0, 0.2], np.float32).reshape(2, 1, 1)
    graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    at, first = next((i, node) for i, node in enumerate(graph.node) if node.name == "/dec/conv_pre/Conv")
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = {first.output[0]: "weighed", "sid": "weights"}.get(name, name)
    graph.node.insert(
        at + 1, onnx.helper.make_node("Mul", [first.output[0], "g"], ["weighed"], name="/dec/cond")
    )
    graph.node.insert(0, onnx.helper.make_node("Gather", ["table", "sid"], ["g"], name="/emb_g/Gather"))
    speakers = {"loud": 0, "soft": 1}
    engine = _changed(model, weights, tmp_path, num_speakers=2, speaker_id_map=speakers)
    await engine.start()
    assert engine.voices == ("loud", "soft")
    loud, default, soft = [await speech(engine, TEXTS[1], voice=voice) for voice in ("loud", None, "soft")]
    levels = [level_dbfs(pcm, engine.rate) for pcm in (loud, default, soft)]
    assert levels[1] == pytest.approx(levels[0], abs=2)
    assert levels[2] < levels[0] - 4
    await engine.close()


def _changed(model: onnx.ModelProto, weights: Path, folder: Path, **description: Any) -> PiperSynthesizer:
    """An engine, to be started, for a voice that was changed."""
    path = folder / "changed.onnx"
    onnx.save(model, path)
    original = json.loads(Path(f"{weights}.json").read_text("utf-8"))
    Path(f"{path}.json").write_text(json.dumps(original | description), "utf-8")
    return PiperSynthesizer(TtsSettings(voice=str(path)), ModelsSettings())
