"""Where settings come from, and what a wrong one gets."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from voice_agent.config import Section, Settings, load_settings
from voice_agent.errors import SettingsError
from voice_agent.language import base_language


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


def every_setting() -> Iterator[tuple[str, str]]:
    for section, info in Settings.model_fields.items():
        model = info.annotation
        assert isinstance(model, type) and issubclass(model, Section)
        yield from ((section, name) for name in model.model_fields)


NONE_IF_EMPTY = {("stt", "language"), ("turn", "filler")}
"""Settings that have a default, and can be none."""


@pytest.mark.parametrize("nothing", ["", "  \n"])
@pytest.mark.parametrize(("section", "name"), list(every_setting()))
def test_an_empty_variable_means_the_default_or_none_where_a_setting_can_be_none(
    monkeypatch: pytest.MonkeyPatch, section: str, name: str, nothing: str
) -> None:
    default = getattr(getattr(load_settings(), section), name)
    monkeypatch.setenv(f"VOICE_AGENT_{section}__{name}".upper(), nothing)
    value = getattr(getattr(load_settings(), section), name)
    assert value == (None if (section, name) in NONE_IF_EMPTY else default)


@pytest.mark.parametrize("section", Settings.model_fields)
def test_an_empty_section_is_its_defaults(monkeypatch: pytest.MonkeyPatch, section: str) -> None:
    default = load_settings()
    monkeypatch.setenv(f"VOICE_AGENT_{section.upper()}", "")
    assert load_settings() == default


def test_an_empty_variable_goes_before_the_file_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "voice-agent.toml").write_text('[llm]\nbase_url = "http://file"\nmax_tokens = 5\n')
    monkeypatch.setenv("VOICE_AGENT_LLM__BASE_URL", "")
    monkeypatch.setenv("VOICE_AGENT_LLM__MAX_TOKENS", "")
    settings = load_settings()
    assert (settings.llm.base_url, settings.llm.max_tokens) == (None, 200)


def test_white_space_around_a_value_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_AGENT_LLM__API_KEY", "secret\n")
    monkeypatch.setenv("VOICE_AGENT_TTS__ENGINE", " kokoro ")
    settings = load_settings()
    assert settings.llm.api_key and settings.llm.api_key.get_secret_value() == "secret"
    assert settings.tts.engine == "kokoro"


@pytest.mark.parametrize(
    "variables",
    [
        {"VOICE_AGENT_LLM__EXTRA_BODY": '{"reasoning_effort": "none", "top_k": 20}'},
        {"VOICE_AGENT_LLM__EXTRA_BODY__REASONING_EFFORT": "none", "VOICE_AGENT_LLM__EXTRA_BODY__TOP_K": "20"},
        {"VOICE_AGENT_LLM": '{"extra_body": {"reasoning_effort": "none", "top_k": 20}}'},
        {
            "VOICE_AGENT_LLM__EXTRA_BODY": '{"reasoning_effort": "none"}',
            "VOICE_AGENT_LLM__EXTRA_BODY__TOP_K": "20",
        },
        {
            "VOICE_AGENT_LLM": " ",
            "VOICE_AGENT_LLM__EXTRA_BODY": '{"reasoning_effort": "none", "top_k": 20}',
        },
        {
            "VOICE_AGENT_LLM__EXTRA_BODY__TOP_K": "20",
            "VOICE_AGENT_LLM": '{"extra_body": {"reasoning_effort": "none", "top_k": 1}}',
        },
    ],
)
def test_a_setting_with_several_values_is_json_or_one_variable_each(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings().llm.extra_body == {"reasoning_effort": "none", "top_k": 20}


@pytest.mark.parametrize(
    "name", ["", "-LLM", "-TTS", "-STT", "-SERVER", "-LLM-GPU", "-CONFIG", "-1", "--LLM"]
)
@pytest.mark.parametrize("by", ["Kubernetes", "Docker"])
def test_what_the_platform_sets_for_a_service_of_our_name_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, by: str
) -> None:
    prefix = f"VOICE_AGENT{name.replace('-', '_')}"
    theirs = {
        "PORT": "tcp://10.0.0.5:3000",
        "PORT_3000_TCP": "tcp://10.0.0.5:3000",
        "PORT_3000_TCP_PROTO": "tcp",
        "PORT_3000_TCP_PORT": "3000",
        "PORT_3000_TCP_ADDR": "10.0.0.5",
        "PORT_5060_UDP": "udp://10.0.0.5:5060",
        "PORT_5060_UDP_ADDR": "fd00::5",
    }
    if by == "Kubernetes":
        theirs |= {
            "SERVICE_HOST": "10.0.0.5",
            "SERVICE_PORT": "3000",
            "SERVICE_PORT_HTTP": "3000",
            "SERVICE_PORT_WS_TLS": "3001",
        }
    elif name != "--LLM":
        theirs |= {"NAME": "/web/voice-agent", "ENV_LANG": "C.UTF-8"}
    for variable, value in theirs.items():
        monkeypatch.setenv(f"{prefix}_{variable}", value)
    assert load_settings().server.port == 3000


@pytest.mark.parametrize("value", ["en-US", "EN_us", "en_US.UTF-8", " en ", "en"])
def test_a_language_with_its_region_is_the_language(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    monkeypatch.setenv("VOICE_AGENT_STT__LANGUAGE", value)
    assert load_settings().stt.language == "en"
    monkeypatch.delenv("VOICE_AGENT_STT__LANGUAGE")
    (tmp_path / "voice-agent.toml").write_text(f'[stt]\nlanguage = "{value}"\n')
    assert load_settings().stt.language == "en"


def test_the_base_of_a_language_is_its_first_subtag() -> None:
    assert [base_language(tag) for tag in ("zh-Hant-TW", "pt_BR", "yue", "DE@euro")] == [
        "zh",
        "pt",
        "yue",
        "de",
    ]


def test_the_home_directory_may_be_written_as_a_tilde(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VOICE_AGENT_MODELS__DIR", "~/weights")
    (tmp_path / "mine.toml").write_text("[server]\nport = 3001\n")
    monkeypatch.setenv("VOICE_AGENT_CONFIG", "~/mine.toml")
    settings = load_settings()
    assert (settings.models.dir, settings.server.port) == (tmp_path / "weights", 3001)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("VOICE_AGENT_TTS__ENGINE", "festival", r"tts\.engine .*'piper', 'kokoro' or 'xtts'.*festival"),
        ("VOICE_AGENT_SERVER__PORT", "many", r"server\.port \(VOICE_AGENT_SERVER__PORT\).*integer.*many"),
        ("VOICE_AGENT_VAD__THRESHOLD", "3", r"vad\.threshold .*less than 1"),
        ("VOICE_AGENT_LLM__BASEURL", "x", r"VOICE_AGENT_LLM__BASEURL.*unknown.*did you mean base_url"),
        ("VOICE_AGENT_LLM_BASE_URL", "x", r"VOICE_AGENT_LLM_BASE_URL.*unknown.*did you mean llm__base_url"),
        ("VOICE_AGENT_SPEED", "x", r"VOICE_AGENT_SPEED.*unknown.*known here: server, vad"),
        ("VOICE_AGENT_PORT", "3001", r"VOICE_AGENT_PORT.*unknown.*did you mean server__port"),
        ("VOICE_AGENT_SERVER_PORT", "3001", r"VOICE_AGENT_SERVER_PORT.*unknown.*did you mean server__port"),
        ("VOICE_AGENT_SERVER__PORT", "65536", r"server\.port .*less than or equal to 65535.*65536"),
        ("VOICE_AGENT_SERVER__PORT", "0", r"server\.port .*greater than or equal to 1.*'0'"),
        ("VOICE_AGENT_SERVER__PORT", "3000.5", r"server\.port .*integer.*3000\.5"),
        ("VOICE_AGENT_SERVER__MAX_SESSIONS", "-1", r"server\.max_sessions .*greater than 0.*-1"),
        ("VOICE_AGENT_STT__TIMEOUT_S", "-2", r"stt\.timeout_s .*greater than 0.*-2"),
        ("VOICE_AGENT_TURN__QUIET_S", "nan", r"turn\.quiet_s .*finite number.*nan"),
        ("VOICE_AGENT_TURN__MAX_UTTERANCE_S", "inf", r"turn\.max_utterance_s .*finite number.*inf"),
        ("VOICE_AGENT_TURN__BARGE_IN", "maybe", r"turn\.barge_in .*boolean.*maybe"),
        ("VOICE_AGENT_VAD__ENGINE", "ten", r"vad\.engine .*'cascade', 'silero' or 'webrtcvad'.*'ten'"),
        ("VOICE_AGENT_LLM__ENGINE", "gpt", r"llm\.engine .*'auto', 'openai' or 'llamacpp'.*'gpt'"),
        (
            "VOICE_AGENT_LLM__EXTRA_BODY",
            "reasoning_effort=none",
            r"llm\.extra_body \(VOICE_AGENT_LLM__EXTRA_BODY\): .*JSON.*'reasoning_effort=none'",
        ),
        ("VOICE_AGENT_LLM__EXTRA_BODY", "[1]", r"llm\.extra_body .*JSON.*given: \[1\]"),
        ("VOICE_AGENT_LLM__EXTRA_BODY", '{"a": ', r"llm\.extra_body .*JSON.*"),
        ("VOICE_AGENT_LLM__MAX_TOKENS__X", "1", r"llm\.max_tokens .*integer"),
        ("VOICE_AGENT_LLM", "gpt", r"llm \(VOICE_AGENT_LLM\): .*JSON.*'gpt'"),
        ("VOICE_AGENT_LLM__", "x", r"VOICE_AGENT_LLM__\): unknown.*known here: engine"),
        ("VOICE_AGENT_", "x", r"VOICE_AGENT_\): unknown.*known here: server"),
        ("VOICE_AGENT_LLM__BASE_URL", "\udcff", r"llm\.base_url .*'\\udcff'"),
        ("VOICE_AGENT_VAD__THRESHOLD", "x" * 5000, r"(?s)^.{0,300}$"),
        ("VOICE_AGENT_CONFIG", "/", r"/: is a folder, not a configuration file"),
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
        ("[turn\n", r"voice-agent\.toml: not valid TOML.*line 1"),
        ("llm = 3\n", r"llm \(VOICE_AGENT_LLM\): should be .*table in TOML; given: 3"),
        ("[[llm]]\n", r"llm \(VOICE_AGENT_LLM\): should be .*table in TOML"),
        ("[server]\nport = 1\nport = 2\n", r"voice-agent\.toml: not valid TOML.*line 3"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_allowed(tmp_path: Path, toml: str, said: str) -> None:
    (tmp_path / "voice-agent.toml").write_text(toml)
    with pytest.raises(SettingsError, match=said):
        load_settings()


@pytest.mark.parametrize("value", ["x", "3", "[1]", '"x"', "{"])
def test_a_section_that_is_a_plain_value_is_refused_also_beside_settings_of_it(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("VOICE_AGENT_LLM", value)
    monkeypatch.setenv("VOICE_AGENT_LLM__MODEL", "m")
    monkeypatch.setenv("VOICE_AGENT_LLM__EXTRA_BODY__TOP_K", "20")
    with pytest.raises(SettingsError, match=r"llm \(VOICE_AGENT_LLM\): .*JSON"):
        load_settings()


def test_every_mistake_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_AGENT_TTS__SPEED", "9")
    monkeypatch.setenv("VOICE_AGENT_SERVER__PORT", "-1")
    with pytest.raises(SettingsError, match=r"(?s)server\.port.*tts\.speed|tts\.speed.*server\.port"):
        load_settings()


def test_a_key_is_not_repeated_in_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "voice-agent.toml").write_text("[llm]\napi_key = 1234567\n")
    with pytest.raises(SettingsError, match=r"llm\.api_key ") as wrong:
        load_settings()
    assert "1234567" not in str(wrong.value)


@pytest.mark.parametrize("name", ["voice-agent.toml", ".env"])
def test_a_file_that_is_not_text_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"# caf\xe9\n")
    with pytest.raises(SettingsError, match=rf"{name}: not text in UTF-8 \(at byte 5\)"):
        load_settings()


@pytest.mark.parametrize("name", ["voice-agent.toml", ".env"])
def test_a_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("")
    refused = PermissionError(13, "Permission denied")  # the tests may run as root, whom nothing is refused
    monkeypatch.setattr(Path, "read_text", mock.Mock(side_effect=refused))
    with pytest.raises(SettingsError, match=rf"{name}: can't be read: Permission denied"):
        load_settings()


def test_a_file_with_the_mark_of_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "voice-agent.toml").write_bytes(b"\xef\xbb\xbf[server]\nport = 3001\n")
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfVOICE_AGENT_STT__MODEL=base\r\n")
    settings = load_settings()
    assert (settings.server.port, settings.stt.model) == (3001, "base")


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "voice-agent.toml").mkdir()  # Docker makes one where there is no file to mount
    with pytest.raises(SettingsError, match=r"voice-agent\.toml: is a folder"):
        load_settings()


def test_a_broken_line_of_dot_env_is_named_without_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('# keys\n\nOPENAI_API_KEY="sk-secret\nOTHER=1\n')
    with pytest.raises(SettingsError, match=r"\.env, line 3: .*quote") as wrong:
        load_settings()
    assert "secret" not in str(wrong.value)


def test_a_user_without_a_home_is_told_to_name_the_whole_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "expanduser", mock.Mock(side_effect=RuntimeError("no home")))
    monkeypatch.setenv("VOICE_AGENT_MODELS__DIR", "~/weights")
    with pytest.raises(SettingsError, match=r"models\.dir \(VOICE_AGENT_MODELS__DIR\).*whole path"):
        load_settings()
