"""What the doctor finds, and where it says that conversations go."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from voice_agent.cli import app


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("VOICE_AGENT_MODELS__DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")


def examine() -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, " ".join(result.output.split())


def test_a_machine_that_can_run_it_is_told_so() -> None:
    code, said = examine()
    assert code == 0
    assert (
        "privacy conversations stay on this machine (embedded llama.cpp, qwen2.5-coder-0.5b-instruct)" in said
    )


class _Models(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def test_an_endpoint_on_this_machine_is_asked_without_the_proxy_that_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://proxy.invalid:3128")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with HTTPServer(("127.0.0.1", 0), _Models) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        monkeypatch.setenv("VOICE_AGENT_LLM__BASE_URL", url)
        code, said = examine()
        thread.join(30)
    assert f"{url} answers" in said
    assert code == 0


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("VOICE_AGENT_TTS__ENGINE", "festival", "tts.engine (VOICE_AGENT_TTS__ENGINE): input should be"),
        ("VOICE_AGENT_TTS__VOICE", "[/nobody]", "tts.voice"),
        ("VOICE_AGENT_LLM__BASE_URL", "http://[::1/v1", "llm.base_url: 'http://[::1/v1' is no URL"),
        ("VOICE_AGENT_SERVER__HOST", "nowhere.invalid", "server.host (VOICE_AGENT_SERVER__HOST, --host)"),
        ("VOICE_AGENT_MODELS__OFFLINE", "true", "models.offline keeps the server from it"),
    ],
)
def test_what_keeps_it_from_running_is_named_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    code, output = examine()
    assert code == 1
    assert said in output


def test_a_port_that_is_taken_is_noted_with_what_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        monkeypatch.setenv("VOICE_AGENT_SERVER__PORT", str(held.getsockname()[1]))
        code, said = examine()
    assert code == 0
    assert "in use. Process" in said


def test_every_command_has_its_help() -> None:
    runner = CliRunner()
    said = runner.invoke(app, ["--help"]).output
    for command in ("serve", "talk", "doctor", "models", "lab"):
        assert f" {command} " in said
        assert runner.invoke(app, [command, "--help"]).exit_code == 0
