import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from tests.stages.speaking import (
    check_leaving_frees_the_worker,
    error_rate,
    lead_ms,
    level_dbfs,
    pieces,
    speech,
    tail_ms,
)
from voice_agent.config import ModelsSettings, TtsSettings
from voice_agent.errors import SettingsError, StageError
from voice_agent.stages.onnx_stop import OnnxStop
from voice_agent.stages.synthesizer.kokoro import MOST_PHONEMES, KokoroSynthesizer
from voice_agent.stages.transcriber import FasterWhisper

pytestmark = pytest.mark.engines

TEXTS = ["Sure, I can help you with that.", "Your order will arrive on Thursday."]
LONG = "It was late. The king had gone. Nobody knew where. They looked for him."


@pytest.fixture(scope="module")
def engine() -> Iterator[KokoroSynthesizer]:
    engine = KokoroSynthesizer(TtsSettings(engine="kokoro"), ModelsSettings())
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


async def test_speech_is_clean(engine: KokoroSynthesizer) -> None:
    for text in TEXTS:
        pcm = await speech(engine, text)
        assert lead_ms(pcm, engine.rate) < 40, text
        assert 150 <= tail_ms(pcm, engine.rate) <= 250, text
        assert -27 < level_dbfs(pcm, engine.rate) < -15, text
        assert np.abs(pcm.astype(int)).max() < 32_700, text
        words_per_s = len(text.split()) / (len(pcm) / engine.rate)
        assert 1.5 < words_per_s < 5, text


async def test_whisper_understands_it(engine: KokoroSynthesizer, whisper: FasterWhisper) -> None:
    assert await error_rate(whisper, engine, TEXTS) <= 0.1


async def test_each_sentence_is_a_piece(engine: KokoroSynthesizer) -> None:
    assert len(await pieces(engine, "Yes. No.")) == 2


async def test_a_sentence_longer_than_the_model_takes_is_cut_not_refused(engine: KokoroSynthesizer) -> None:
    assert engine._engine
    words = "and then we went on to the next station, " * 25
    parts = engine._engine.sentences(words, "af_heart")
    assert len(parts) > 1
    assert max(map(len, parts)) <= 510
    assert " ".join(parts).count("stˈeɪʃən") == 25


async def test_leaving_early_frees_the_worker(
    engine: KokoroSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check_leaving_frees_the_worker(engine, monkeypatch, long=LONG, short="Yes.")


async def test_two_streams_at_once_speak_as_they_do_alone() -> None:
    engine = KokoroSynthesizer(TtsSettings(engine="kokoro", workers=2), ModelsSettings())
    await engine.start()
    alone = [await speech(engine, text) for text in TEXTS]
    together = await asyncio.gather(*(speech(engine, text) for text in TEXTS))
    await engine.close()
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(np.abs(one).mean(), np.abs(other).mean(), rtol=0.05)
        assert abs(len(one) - len(other)) < engine.rate // 20


async def test_speed_changes_how_long_it_takes(engine: KokoroSynthesizer) -> None:
    assert engine._engine
    [phonemes] = engine._engine.sentences(TEXTS[0], "af_heart")
    slow, fast = [len(engine._engine.say(phonemes, "af_heart", speed, OnnxStop())) for speed in (0.5, 2.0)]
    assert slow / fast > 2


async def test_voices_differ_and_the_default_comes_first(engine: KokoroSynthesizer) -> None:
    assert engine.voices[0] == "af_heart"
    assert "bm_george" in engine.voices
    default, other = await speech(engine, TEXTS[0]), await speech(engine, TEXTS[0], voice="bm_george")
    assert len(default) != len(other)


@pytest.mark.parametrize("text", ["please " * 300, "9" * 3000, "a" * 3000, "你好世界" * 100])
def test_no_run_of_the_model_gets_more_than_it_can_do_at_once(engine: KokoroSynthesizer, text: str) -> None:
    assert engine._engine
    assert max(map(len, engine._engine.sentences(text, "af_heart"))) <= MOST_PHONEMES


@pytest.mark.parametrize("text", ["Good\0 day.", "Good \ud83d day."])
async def test_what_no_voice_can_read_is_left_out(engine: KokoroSynthesizer, text: str) -> None:
    assert len(await speech(engine, text))


@pytest.mark.parametrize("text", ["", "   ", "...", "?!", "_", "♪", "\0", "\ud83d"])
async def test_text_without_words_gives_no_audio(engine: KokoroSynthesizer, text: str) -> None:
    assert await pieces(engine, text) == []


async def test_an_unknown_voice_is_refused_with_the_voices_there_are(engine: KokoroSynthesizer) -> None:
    with pytest.raises(SettingsError, match=r"'amy'.*af_heart"):
        await pieces(engine, "Hello.", voice="amy")
    with pytest.raises(SettingsError, match=r"tts\.voice.*'amy'.*af_heart"):
        KokoroSynthesizer(TtsSettings(engine="kokoro", voice="amy"), ModelsSettings())


async def test_before_start_it_says_so() -> None:
    engine = KokoroSynthesizer(TtsSettings(engine="kokoro"), ModelsSettings())
    with pytest.raises(StageError, match="not started"):
        await pieces(engine, "Hello.")
    await engine.close()
