"""Where settings come from, and what a wrong one gets."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from voice_agent.config import load_settings
from voice_agent.errors import SettingsError


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ):
        yield


def test_everything_has_a_default() -> None:
    settings = load_settings()
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 3000)
    assert settings.tts.engine == "piper"


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "voice-agent.toml").write_text('[llm]\nmodel = "from-file"\nbase_url = "http://file"\n')
    monkeypatch.setenv("VOICE_AGENT_LLM__MODEL", "from-environment")
    settings = load_settings()
    assert settings.llm.model == "from-environment"
    assert settings.llm.base_url == "http://file"


def test_a_dot_env_file_goes_between_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "voice-agent.toml").write_text('[stt]\nmodel = "a"\nprompt = "a"\n[tts]\nvoice = "a"\n')
    (tmp_path / ".env").write_text("VOICE_AGENT_STT__MODEL=b\nVOICE_AGENT_STT__PROMPT=b\nOPENAI_API_KEY=k\n")
    monkeypatch.setenv("VOICE_AGENT_STT__MODEL", "c")
    settings = load_settings()
    assert (settings.stt.model, settings.stt.prompt, settings.tts.voice) == ("c", "b", "a")
    assert os.environ["OPENAI_API_KEY"] == "k"


def test_the_file_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[server]\nport = 3001\n")
    monkeypatch.setenv("VOICE_AGENT_CONFIG", str(tmp_path / "other.toml"))
    assert load_settings().server.port == 3001


def test_an_empty_variable_unsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_AGENT_STT__LANGUAGE", "")
    assert load_settings().stt.language is None


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("VOICE_AGENT_TTS__ENGINE", "festival", r"tts\.engine .*'piper', 'kokoro' or 'xtts'.*festival"),
        ("VOICE_AGENT_SERVER__PORT", "many", r"server\.port \(VOICE_AGENT_SERVER__PORT\).*integer.*many"),
        ("VOICE_AGENT_VAD__THRESHOLD", "3", r"vad\.threshold .*less than 1"),
        ("VOICE_AGENT_LLM__BASEURL", "x", r"VOICE_AGENT_LLM__BASEURL.*unknown.*did you mean base_url"),
        ("VOICE_AGENT_LLM_BASE_URL", "x", r"VOICE_AGENT_LLM_BASE_URL.*unknown.*did you mean llm__base_url"),
        ("VOICE_AGENT_SPEED", "x", r"VOICE_AGENT_SPEED.*unknown.*known here: server, vad"),
        ("VOICE_AGENT_CONFIG", "/nowhere.toml", r"/nowhere\.toml: no such configuration file"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=said):
        load_settings()


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[turn]\nstop = 500\n", r"turn\.stop .*did you mean stop_ms"),
        ("[turns]\n", r"turns .*did you mean turn"),
        ("[turn\n", r"voice-agent\.toml: not valid TOML"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_allowed(tmp_path: Path, toml: str, said: str) -> None:
    (tmp_path / "voice-agent.toml").write_text(toml)
    with pytest.raises(SettingsError, match=said):
        load_settings()


def test_every_mistake_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_AGENT_TTS__SPEED", "9")
    monkeypatch.setenv("VOICE_AGENT_SERVER__PORT", "-1")
    with pytest.raises(SettingsError, match=r"(?s)server\.port.*tts\.speed|tts\.speed.*server\.port"):
        load_settings()
