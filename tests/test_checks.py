"""What is known to be wrong with the settings before anything is loaded."""

import os
from pathlib import Path
from unittest import mock

import ctranslate2
import pytest
from typer.testing import CliRunner

from voice_agent import checks
from voice_agent.checks import check
from voice_agent.cli import app
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
    monkeypatch.setattr(checks, "find_spec", lambda _: "installed")
    with pytest.raises(SettingsError, match=said):
        checked(settings)


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    with pytest.raises(SettingsError, match=r"stt\.device is cuda.*auto or cpu"):
        checked(Settings(stt=SttSettings(device="cuda")))


def test_a_voice_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(checks, "find_spec", asked.append)
    with pytest.raises(SettingsError, match=r"tts\.engine is xtts, .*make xtts"):
        checked(Settings(tts=TtsSettings(engine="xtts")))
    assert asked == ["TTS"]


def test_a_folder_without_a_whisper_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"stt\.model: .* has no model\.bin"):
        checked(Settings(stt=SttSettings(model=str(tmp_path), language=None)))
    (tmp_path / "model.bin").touch()
    checked(Settings(stt=SttSettings(model=str(tmp_path), language=None)))


def test_what_is_there_is_taken(tmp_path: Path) -> None:
    gguf = tmp_path / "mine.gguf"
    gguf.write_bytes(os.urandom(8))
    checked(Settings(llm=LlmSettings(model=str(gguf))))
    checked(Settings(llm=LlmSettings(model="anything", base_url="http://127.0.0.1:9/v1")))
    checked(Settings(stt=SttSettings(model="base", language="de", compute_type="int8")))


def test_the_command_tells_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unused_tcp_port: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (folder := tmp_path / f"folder{'-of-a-long-name' * 10}").mkdir()
    with mock.patch.dict(os.environ, VOICE_AGENT_STT__MODEL=str(folder)):
        result = CliRunner().invoke(app, ["serve", "--port", str(unused_tcp_port)])
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("error: stt.model: ") and "has no model.bin" in line
