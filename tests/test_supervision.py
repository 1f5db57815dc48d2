"""The processes of the server hear of each other's end. With the real server: `test_service.py`."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from voice_agent import supervision

GONE_WITHIN_S = 30
"""A bound for the tests' own sake."""

WORKER = """
import signal, sys, threading
from voice_agent import supervision

sys.platform = {platform!r}
signal.signal(signal.SIGTERM, lambda *_: sys.exit("told"))
supervision.end_with_owner()
print("here", flush=True)
threading.Event().wait(60)
"""

OWNER = """
import os, subprocess, sys
from voice_agent import supervision

os.environ[supervision.OWNER] = str(os.getpid())
worker = subprocess.Popen([sys.executable, "-c", {worker!r}], stdout=subprocess.PIPE)
worker.stdout.readline()
print(worker.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("platform", ["linux", "elsewhere"])
def test_a_worker_ends_with_its_owner_though_that_is_killed(platform: str) -> None:
    code = OWNER.format(worker=WORKER.format(platform=platform))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as owner:
        assert owner.stdout and owner.stderr
        worker = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
        psutil.wait_procs([worker], timeout=GONE_WITHIN_S)
        assert not worker.is_running()
        assert b"told" in owner.stderr.read()  # it was asked, and not killed: its sessions were told


def test_a_worker_whose_owner_was_gone_before_it_looked_ends_too() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    ran = subprocess.run(
        [sys.executable, "-c", WORKER.format(platform="linux")],
        env={**os.environ, supervision.OWNER: str(gone.pid)},
        capture_output=True,
        timeout=GONE_WITHIN_S,
    )
    assert ran.returncode == 1 and b"told" in ran.stderr


def test_without_a_supervisor_nothing_is_watched() -> None:
    code = WORKER.format(platform="linux").replace(
        "threading.Event().wait(60)", "print(threading.active_count())"
    )
    environment = {name: value for name, value in os.environ.items() if name != supervision.OWNER}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, timeout=GONE_WITHIN_S
    )
    assert ran.stdout.split() == [b"here", b"1"]


def test_what_a_dead_worker_counted_as_under_way_is_forgotten_and_what_it_did_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    count = """
from prometheus_client import Counter, Gauge
Gauge("sessions", "Under way.", multiprocess_mode="livesum").set(3)
Counter("turns", "Done.").inc(7)
"""
    subprocess.run([sys.executable, "-c", count], check=True, timeout=GONE_WITHIN_S)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    forget = "from voice_agent import supervision; supervision.forget_dead_workers()"
    with subprocess.Popen(
        [sys.executable, "-c", f"{count}\nprint(flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as alive:
        assert alive.stdout and alive.stdin
        alive.stdout.readline()
        assert registry.get_sample_value("sessions") == 6
        subprocess.run([sys.executable, "-c", forget], check=True, timeout=GONE_WITHIN_S)
        assert registry.get_sample_value("sessions") == 3
        assert registry.get_sample_value("turns_total") == 14
        alive.stdin.write(b"\n")
        alive.stdin.close()
    subprocess.run([sys.executable, "-c", forget], check=True, timeout=GONE_WITHIN_S)
    assert not registry.get_sample_value("sessions")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (3, "ended by itself with exit code 3"),
        (-signal.SIGKILL, "was ended by SIGKILL: out of memory?"),
        (-signal.SIGSEGV, "was ended by SIGSEGV"),
        (-signal.SIGRTMAX, "was ended by SIGRTMAX"),
        (-40, "was ended by signal 40"),
    ],
)
def test_how_a_process_ended_is_told_by_name(code: int, said: str) -> None:
    assert supervision._ended(code) == said


@pytest.mark.parametrize(
    ("host", "shown"),
    [("::1", "[::1]"), ("::", "[::]"), ("fe80::1%eth0", "[fe80::1%eth0]"), ("127.0.0.1", "127.0.0.1")],
)
def test_an_ipv6_address_is_logged_in_brackets(host: str, shown: str) -> None:
    message = 'Starting production %s BentoServer from "%s" listening on %s://%s:%d (Press CTRL+C to quit)'
    arguments = ("HTTP", "voice_agent.service:VoiceAgent", "http", host, 3000)
    record = logging.LogRecord("bentoml.serve", logging.INFO, "", 0, message, arguments, None)
    assert supervision._bracketed(record)
    assert f'"voice_agent.service:VoiceAgent" listening on http://{shown}:3000 (' in record.getMessage()
