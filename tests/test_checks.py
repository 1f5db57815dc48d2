"""What is known to be wrong with the settings before anything is loaded."""

import os
from pathlib import Path

import ctranslate2
import pytest

from voice_agent.checks import check
from voice_agent.config import LlmSettings, ModelsSettings, Settings, SttSettings, TtsSettings
from voice_agent.engines import build_generator
from voice_agent.errors import SettingsError


@pytest.fixture(autouse=True)
def _no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def checked(settings: Settings) -> None:
    check(settings, build_generator(settings.llm, ModelsSettings()))


def test_the_defaults_are_right() -> None:
    checked(Settings())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            Settings(stt=SttSettings(language="xx", model="base")),
            r"stt\.language: 'xx' .*\(af, .*\).*multilingual",
        ),
        (Settings(stt=SttSettings(language="de")), r"stt\.language: 'de' .* Whisper tiny\.en hears \(en\)"),
        (Settings(stt=SttSettings(compute_type="int3")), r"stt\.compute_type: 'int3' .*cpu here has: .*int8"),
        (
            Settings(llm=LlmSettings(model="gpt-5")),
            r"llm\.model: 'gpt-5' .*qwen2\.5-coder-0\.5b.*llm\.base_url",
        ),
        (
            Settings(llm=LlmSettings(max_tokens=2000)),
            r"llm\.max_tokens: replies of 2000 tokens .*llm\.context_tokens=2048",
        ),
        (
            Settings(llm=LlmSettings(system_prompt="x" * 10_000)),
            r"llm\.system_prompt: .*10000 characters.*LLM__CONTEXT_TOKENS",
        ),
        (Settings(llm=LlmSettings(model="/none.gguf")), r"llm\.model: /none\.gguf: no such file"),
        (
            Settings(llm=LlmSettings(base_url="localhost:11434", model="x")),
            r"llm\.base_url: 'localhost:11434' does not begin with http://",
        ),
        (
            Settings(tts=TtsSettings(engine="xtts", checkpoint=Path("/none"))),
            r"tts\.checkpoint: /none: no such folder",
        ),
        (
            Settings(tts=TtsSettings(engine="xtts", speaker_wav=Path("/none.wav"))),
            r"tts\.speaker_wav: /none\.wav: no such file",
        ),
    ],
)
def test_what_no_waiting_mends_is_named(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, said: str
) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    with pytest.raises(SettingsError, match=said):
        checked(settings)


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    with pytest.raises(SettingsError, match=r"stt\.device is cuda.*auto or cpu"):
        checked(Settings(stt=SttSettings(device="cuda")))


def test_what_is_there_is_taken(tmp_path: Path) -> None:
    gguf = tmp_path / "mine.gguf"
    gguf.write_bytes(os.urandom(8))
    checked(Settings(llm=LlmSettings(model=str(gguf))))
    checked(Settings(llm=LlmSettings(model="anything", base_url="http://127.0.0.1:9/v1")))
    checked(Settings(stt=SttSettings(model="base", language="de", compute_type="int8")))
