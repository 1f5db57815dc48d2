"""A small catalogue with a fake hub on loopback and a folder of wheels as the package index; no network."""

import hashlib
import json
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from voice_agent.models import cli, fetch, sources
from voice_agent.models.catalog import parse

CONTENT = bytes(range(256)) * 400
"""A file of 102,400 bytes."""
FILE = "model.bin"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Hub:
    """A fake Hugging Face: files by path, and ways to fail."""

    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and Range header of each request."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next answers break off, one each."""
    ranges: bool = True
    announces_length: bool = True
    silent: bool = False
    """Closes each connection without an answer."""
    gate: threading.Event = field(default_factory=threading.Event)
    """Downloads wait for it."""
    url: str = ""

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def downloads(self) -> list[str | None]:
        """Range header of each download."""
        return [byte_range for method, _, byte_range in self.requests if method == "GET"]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            hub.requests.append(("HEAD", self.path, None))
            if not hub.silent:
                self.send_response(200)
                self.end_headers()

        def do_GET(self) -> None:
            byte_range = self.headers["Range"]
            hub.requests.append(("GET", self.path, byte_range))
            if not hub.gate.wait(30) or hub.silent:
                return
            content = hub.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(byte_range.removeprefix("bytes=").rstrip("-")) if byte_range and hub.ranges else 0
            self.send_response(206 if start else 200)
            if hub.announces_length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            cut = hub.cuts.pop(0) if hub.cuts else None
            self.wfile.write(content[start:][:cut])

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(sources, "_failures", {})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield hub
    hub.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip finds archives in, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def add_wheel(index: Path, name: str, members: Mapping[str, bytes], version: str = "1.0") -> Path:
    """A wheel with `members`, as pip accepts it."""
    info = f"{name}-{version}.dist-info"
    path = index / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in members.items():
            wheel.writestr(member, content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def entry(*sources: str, name: str = "tiny", files: Mapping[str, bytes] | None = None) -> str:
    """A catalogue entry in TOML."""
    listed = "".join(
        f"{{ path = {json.dumps(path)}, size = {len(content)}, sha256 = '{sha256(content)}' }},"
        for path, content in (files or {FILE: CONTENT}).items()
    )
    head = f"[[weights]]\nname = '{name}'\nlicence = 'MIT'\nabout = 'A test.'\nfiles = [{listed}]\n"
    return head + "".join(f"[[weights.sources]]\n{source}\n" for source in sources)


HUGGING_FACE = "kind = 'huggingface'\nrepo = 'some/repo'"
HUB_PATH = f"/some/repo/resolve/main/{FILE}"
PIP = f"kind = 'pip'\nparts = [{{ file = '{FILE}', archive = 'tiny-weights==1.0', member = 'tiny/{FILE}' }}]"
MEMBER = f"tiny/{FILE}"


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a catalogue in the place of the project's."""

    def replace(text: str) -> None:
        entries = parse(text)
        for module in (fetch, cli):
            monkeypatch.setattr(module, "catalog", lambda: entries)

    return replace


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder for weights, not there yet."""
    return tmp_path / "models"
