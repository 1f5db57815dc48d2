"""The real server in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

READY_WITHIN_S = 120
"""To become ready, on a machine that does other things too (alone it takes seconds)."""

COMMAND = (sys.executable, "-m", "voice_agent", "serve")


def default_signals() -> None:
    """In a child, before it begins: a run under nohup or in the background would have it pass over these."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True)
class Server:
    """A server that is running."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def family(self) -> list[psutil.Process]:
        """The process and all that it started."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            if self.status("/readyz") == 200:
                return
            time.sleep(0.1)
        raise TimeoutError(self.log.read_text())

    def status(self, path: str, timeout_s: float = 5.0) -> int | None:
        """HTTP status of a page; None while nothing answers."""
        try:
            return httpx2.get(self.http + path, timeout=timeout_s).status_code
        except httpx2.TransportError:
            return None

    def end(self, number: signal.Signals, *, group: bool = False) -> float:
        """Send a signal, as Ctrl-C does to the whole group, and wait for the end; how long it took, seconds."""
        begun = time.monotonic()
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.wait(timeout=30)
        return time.monotonic() - begun


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    folder: Path,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = COMMAND,
    port: int | None = None,
) -> Iterator[Server]:
    """A server with its log in `folder`; whatever the test does, nothing of it is left."""
    port = port or free_port()
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env={**os.environ, "BENTOML_HOME": str(folder / "bentoml"), **(environment or {})},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=default_signals,
        )
    server = Server(process, port, log)
    family: list[psutil.Process] = []
    try:
        yield server
    finally:
        if process.poll() is None:
            family = server.family()
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
        for left in family:
            if left.is_running():
                left.kill()
