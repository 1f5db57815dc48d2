"""The server that is measured: started if need be, and what it spends."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx2
import psutil
from prometheus_client.parser import text_string_to_metric_families

from voice_agent.errors import LabError
from voice_agent.lab.result import ServerUse

READY_WITHIN_S: Final = 300.0
"""For a server of our own: it may have weights to fetch."""
LOOK_EVERY_S: Final = 0.5
"""Between two looks at its memory, and while it starts."""
END_WITHIN_S: Final = 15.0


class Server:
    """Where it listens and, where it runs on this machine, its processes."""

    def __init__(self, url: str, process: psutil.Process | None = None) -> None:
        self.url = url
        self._process = process or _listening_at(url)
        parts = urlsplit(url)
        self._metrics = urlunsplit(
            ("https" if parts.scheme == "wss" else "http", parts.netloc, "/metrics", "", "")
        )

    @asynccontextmanager
    async def measured(self) -> AsyncIterator["Meter"]:
        """Meters what it spends while the context lasts."""
        meter = Meter(self._process, await self._counters())
        watching = asyncio.create_task(meter.watch())
        try:
            yield meter
        finally:
            watching.cancel()
            meter.end(await self._counters())

    async def _counters(self) -> dict[str, float]:
        """Of its metrics, those that are wanted, by name and label; empty where it shows none."""
        try:
            async with httpx2.AsyncClient(timeout=5, trust_env=False) as client:
                text = (await client.get(self._metrics)).raise_for_status().text
            families = list(text_string_to_metric_families(text))
        except (httpx2.HTTPError, ValueError):
            return {}
        return {
            sample.name + sample.labels.get("outcome", ""): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith(("voice_agent_event_loop_lag", "voice_agent_prepared"))
        }


class Meter:
    """Counts from its making on."""

    def __init__(self, process: psutil.Process | None, counters: dict[str, float]) -> None:
        self._process = process
        self._before = counters
        self._clock = asyncio.get_running_loop().time
        self._from_s = self._clock()
        self._cpu_before_s = self._cpu_s()
        self._memory = 0.0
        self.use = ServerUse(wall_s=0)
        """Whole once it has ended."""

    async def watch(self) -> None:
        """Look at the memory again and again."""
        while True:
            self._memory = max(self._memory, sum(_of(process, "rss") for process in _family(self._process)))
            await asyncio.sleep(LOOK_EVERY_S)

    def end(self, counters: dict[str, float]) -> None:
        """Make up the account."""

        def grown(name: str) -> float:
            return counters.get(name, 0.0) - self._before.get(name, 0.0)

        lag = "voice_agent_event_loop_lag_seconds"
        outcomes = {
            name: round(grown(f"voice_agent_prepared_responses_total{name}"))
            for name in ("used", "discarded", "skipped")
        }
        looks = grown(f"{lag}_count")
        cpu_s = self._cpu_s()
        self.use = ServerUse(
            wall_s=round(self._clock() - self._from_s, 2),
            cpu_s=None
            if cpu_s is None or self._cpu_before_s is None
            else round(cpu_s - self._cpu_before_s, 2),
            memory_mb=round(self._memory / 2**20, 1) if self._memory else None,
            event_loop_lag_ms=round(1000 * grown(f"{lag}_sum") / looks, 2) if looks else None,
            prepared={name: times for name, times in outcomes.items() if times},
            wasted_s=round(grown("voice_agent_prepared_wasted_seconds_total"), 3) if counters else None,
        )

    def _cpu_s(self) -> float | None:
        return sum(_of(process, "cpu") for process in _family(self._process)) if self._process else None


@asynccontextmanager
async def own_server(path: str = "/ws") -> AsyncIterator[Server]:
    """A server, called at `path`, with the settings in force, on a port of its own; ended when the context is left.

    Raises:
        LabError: it did not become ready; the message has the end of its log.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="voice-agent-lab-") as folder:
        log = Path(folder) / "server.log"
        process = _start(port, log)
        try:
            if not await _ready(process, port):
                last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise LabError(f"the server did not become ready; the end of its log:\n{last}")
            yield Server(f"ws://127.0.0.1:{port}{path}", psutil.Process(process.pid))
        finally:
            await asyncio.shield(asyncio.to_thread(_end, process))


def _start(port: int, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "voice_agent", "serve", "--port", str(port)],
            env={**os.environ, "BENTOML_HOME": str(log.parent)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the lab, which then ends the server
        )


async def _ready(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """Waits for it; False if it ended or takes too long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(READY_WITHIN_S), httpx2.AsyncClient(timeout=5, trust_env=False) as client:
            while process.poll() is None:
                with suppress(httpx2.TransportError):
                    if (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == httpx2.codes.OK:
                        return True
                await asyncio.sleep(LOOK_EVERY_S)
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    family = _family(psutil.Process(process.pid)) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in family:
        with suppress(psutil.NoSuchProcess):
            left.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listening_at(url: str) -> psutil.Process | None:
    """The process that listens at `url`, if that is on this machine and may be looked at: the topmost one."""
    parts = urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        return None
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            at = connection.laddr
            if connection.status == psutil.CONN_LISTEN and at and at.port == parts.port and connection.pid:
                return _oldest(psutil.Process(connection.pid))
    return None


def _oldest(process: psutil.Process) -> psutil.Process:
    """BentoML's worker listens as a child of `bentoml serve`, beside what else that has started."""
    parent = process.parent()
    while parent and "bentoml" in " ".join(parent.cmdline()):
        process, parent = parent, parent.parent()
    return process


def _family(process: psutil.Process | None) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return [process, *process.children(recursive=True)] if process else []
    return []


def _of(process: psutil.Process, what: str) -> float:
    """Processor seconds, or bytes resident; 0 of a process that is gone."""
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(process.memory_info().rss if what == "rss" else times.user + times.system)
    return 0.0
