"""XTTS through Coqui's own code, on a tiny checkpoint with random weights: real streaming, no real voice."""

import asyncio
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stages.speaking import check_leaving_frees_the_worker, lead_ms, pieces, speech, tail_ms
from voice_agent.audio import RATE, write_wav
from voice_agent.config import ModelsSettings, TtsSettings
from voice_agent.errors import AudioError, SettingsError, StageError, WeightsError
from voice_agent.stages.synthesizer.xtts import CHECKPOINT_FILES, XttsSynthesizer

INSTALLED = importlib.util.find_spec("TTS") is not None
_skip = pytest.mark.skipif(not INSTALLED, reason="needs the xtts extra (make xtts)")


def needs_xtts(test: Any) -> Any:
    """Marks a test that runs the engine."""
    return pytest.mark.xtts(_skip(test))


LETTERS = "abcdefghijklmnopqrstuvwxyz.,!?' "
TEXTS = [
    "hello there.",
    "how are you today?",
    "the train leaves at noon from platform nine.",
    "no.",
    "please, take a seat and wait for the doctor.",
    "what a strange and lovely morning this is!",
]


def make_checkpoint(folder: Path) -> None:
    """A whole XTTS v2 checkpoint of some 20 M random parameters, which always picks the likeliest token."""
    from voice_agent.stages.synthesizer import xtts_model  # noqa: F401, first: it makes torchaudio importable

    # isort: split
    import torch
    from TTS.tts.configs.xtts_config import XttsArgs, XttsConfig
    from TTS.tts.models.xtts import Xtts

    torch.manual_seed(7)
    specials = ["[STOP]", "[UNK]", "[SPACE]", "[START]", "[en]"]
    vocabulary = {token: index for index, token in enumerate([*specials, *LETTERS])}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": index, "content": token, **plain} for index, token in enumerate(specials)],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "BPE", "unk_token": "[UNK]", "vocab": vocabulary, "merges": []},
    }
    (folder / "vocab.json").write_text(json.dumps(tokenizer))
    args = XttsArgs(
        gpt_layers=2,
        gpt_n_model_channels=64,
        gpt_n_heads=4,
        gpt_max_audio_tokens=60,
        gpt_num_audio_tokens=66,
        gpt_start_audio_token=64,
        gpt_stop_audio_token=65,
        gpt_use_perceiver_resampler=True,
        gpt_number_text_tokens=len(vocabulary),
        gpt_start_text_token=vocabulary["[START]"],
        gpt_stop_text_token=vocabulary["[STOP]"],
        decoder_input_dim=64,
    )
    config = XttsConfig(model_args=args, top_k=1, languages=["en"])
    config.save_json(str(folder / "config.json"))
    model = Xtts(config)
    for weight in model.gpt.gpt.h.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)  # enough attention for other words to sound otherwise
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    speakers = {
        name: {"gpt_cond_latent": torch.randn(1, 32, 64), "speaker_embedding": torch.randn(1, 512, 1)}
        for name in ("Ann", "Bob")
    }
    torch.save(speakers, folder / "speakers_xtts.pth")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xtts")
    make_checkpoint(folder)
    return folder


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[XttsSynthesizer]:
    engine = build(checkpoint)
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


def build(checkpoint: Path | None, **settings: Any) -> XttsSynthesizer:
    return XttsSynthesizer(
        TtsSettings(engine="xtts", checkpoint=checkpoint, timeout_s=120, **settings), ModelsSettings()
    )


@needs_xtts
async def test_speech_comes_in_pieces_between_clean_edges(engine: XttsSynthesizer) -> None:
    made = await pieces(engine, TEXTS[1])
    assert len(made) >= 3
    pcm = np.concatenate(made)
    assert 1.5 < len(pcm) / engine.rate < 4
    assert lead_ms(pcm, engine.rate) < 40
    assert 150 <= tail_ms(pcm, engine.rate) <= 250


@needs_xtts
async def test_six_streams_at_once_sound_as_they_do_alone(engine: XttsSynthesizer, checkpoint: Path) -> None:
    cast = [(text, ("Ann", "Bob")[turn % 2]) for turn, text in enumerate(TEXTS)]
    alone = [await speech(engine, text, voice=voice) for text, voice in cast]
    assert len({pcm.tobytes() for pcm in alone}) == len(cast), "texts that sound the same show nothing"
    crowd = build(checkpoint, workers=6)
    await crowd.start()
    together = await asyncio.gather(*(speech(crowd, text, voice=voice) for text, voice in cast))
    await crowd.close()
    for (text, _), one, other in zip(cast, alone, together, strict=True):
        assert len(one) == len(other), text
        np.testing.assert_allclose(one.astype(int), other.astype(int), atol=40, err_msg=text)


@needs_xtts
async def test_a_text_longer_than_xtts_takes_at_a_time_is_spoken_in_parts(engine: XttsSynthesizer) -> None:
    text = "please take a seat and wait. " * 20
    assert engine._model
    parts = engine._model.parts(text, "en")
    assert " ".join(parts) == text.strip()
    assert [len(part) <= 250 for part in parts] == [True] * 3
    assert engine._model.parts("你" * 500, "zh-cn") == ["你" * 82] * 6 + ["你" * 8]
    assert len(await speech(engine, text))


@needs_xtts
async def test_leaving_early_frees_the_worker(
    engine: XttsSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check_leaving_frees_the_worker(engine, monkeypatch, long=TEXTS[1], short=TEXTS[5])


@needs_xtts
async def test_leaving_stops_the_generation_at_its_next_token(
    engine: XttsSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voice_agent.stages.synthesizer import xtts_model

    tokens, third, left = 0, threading.Event(), threading.Event()
    judge = xtts_model._Stop.__call__

    def counting(self: Any, *given: Any, **named: Any) -> Any:
        nonlocal tokens
        tokens += 1
        if tokens == 3:
            third.set()
            assert left.wait(60)
        return judge(self, *given, **named)

    monkeypatch.setattr(xtts_model._Stop, "__call__", counting)
    reader = asyncio.ensure_future(anext(engine.stream(TEXTS[1])))
    assert await asyncio.to_thread(third.wait, 60)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    left.set()
    await engine._worker.run(lambda: None)  # behind it, in the only thread
    assert tokens == 3


@needs_xtts
async def test_speed_changes_how_long_it_takes(engine: XttsSynthesizer, checkpoint: Path) -> None:
    quick = build(checkpoint, speed=2.0)
    quick._model, quick.voices = engine._model, engine.voices
    usual, short = await speech(engine, TEXTS[1]), await speech(quick, TEXTS[1])
    await quick.close()
    assert 1.5 < len(usual) / len(short) < 2.2


@needs_xtts
async def test_a_recording_gives_a_voice_of_its_own(checkpoint: Path, tmp_path: Path) -> None:
    sample = tmp_path / "carol.wav"
    noise = np.random.default_rng(3).normal(0, 3000, 3 * RATE).astype(np.int16)
    write_wav(sample, noise, RATE)
    engine = build(checkpoint, speaker_wav=sample)
    await engine.start()
    assert engine.voices[0] == "carol"
    assert set(engine.voices) == {"carol", "Ann", "Bob"}
    default = await speech(engine, TEXTS[5])
    assert default.tobytes() == (await speech(engine, TEXTS[5], voice="carol")).tobytes()
    assert default.tobytes() != (await speech(engine, TEXTS[5], voice="Ann")).tobytes()
    await engine.close()


@needs_xtts
async def test_a_recording_that_cannot_be_used_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    brief = tmp_path / "brief.wav"
    write_wav(brief, np.zeros(RATE // 10, np.int16), RATE)
    for sample, error, message in (
        (brief, SettingsError, r"tts\.speaker_wav: .*brief\.wav is shorter than"),
        (tmp_path / "gone.wav", AudioError, r"gone\.wav"),
    ):
        engine = build(checkpoint, speaker_wav=sample)
        with pytest.raises(error, match=message):
            await engine.start()
        await engine.close()


@needs_xtts
async def test_an_unknown_voice_or_language_is_refused_with_those_there_are(
    engine: XttsSynthesizer, checkpoint: Path
) -> None:
    with pytest.raises(SettingsError, match=r"'Eve'.*Ann, Bob"):
        await pieces(engine, "hello.", voice="Eve")
    with pytest.raises(SettingsError, match=r"'xx'.*en"):
        await anext(engine.stream("hello.", language="xx"))
    configured = build(checkpoint, voice="Eve")
    with pytest.raises(SettingsError, match=r"tts\.voice.*'Eve'.*Ann, Bob"):
        await configured.start()
    await configured.close()


@needs_xtts
@pytest.mark.parametrize("text", ["", "   ", "...", "?!"])
async def test_text_without_words_gives_no_audio(engine: XttsSynthesizer, text: str) -> None:
    assert await pieces(engine, text) == []


@needs_xtts
def test_torch_is_loaded_only_when_it_starts() -> None:
    code = "import sys, voice_agent.stages.synthesizer.xtts; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_without_the_weights_it_says_what_to_do_and_under_which_licence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("COQUI_TOS_AGREED", raising=False)
    for folder, message in (
        (None, r"tts\.checkpoint is not set.*non-commercial.*COQUI_TOS_AGREED=1"),
        (tmp_path, r"has no config\.json, model\.pth, vocab\.json.*non-commercial"),
    ):
        engine = build(folder)
        with pytest.raises(WeightsError, match=message):
            await engine.start()
        await engine.close()


@pytest.mark.skipif(INSTALLED, reason="shows what happens without the xtts extra")
async def test_without_its_packages_it_says_how_to_install_them(tmp_path: Path) -> None:
    for name in CHECKPOINT_FILES:
        (tmp_path / name).touch()
    engine = build(tmp_path)
    with pytest.raises(StageError, match="make xtts"):
        await engine.start()
    await engine.close()
