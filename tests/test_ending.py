"""The server ends, whatever its clients and engines do: the real command, BentoML's two processes, scripted engines."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.serving import Server, serving

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "bentoml", "serve", "tests.scripted_service:VoiceAgent")
ENDS_WITHIN_S = 5.0
"""What is promised (`ending.py`)."""


@contextmanager
def scripted_server(folder: Path, fault: str = "nothing", **variables: str) -> Iterator[Server]:
    environment = {"FAULT": fault, "PYTHONPATH": str(ROOT), **variables}
    with serving(folder, environment, COMMAND) as server:
        server.wait_until_ready()
        yield server


def speaking(server: Server) -> ClientConnection:
    """A client that is being spoken to."""
    client = connect(server.ws, proxy=None)
    client.send('{"type": "text", "text": "hello"}')
    while not isinstance(client.recv(timeout=30), bytes):
        pass
    return client


def half_open(server: Server, sent: bytes = b"") -> socket.socket:
    """A connection that does not get as far as a request."""
    client = socket.create_connection(("127.0.0.1", server.port))
    client.sendall(sent)
    return client


def deaf(server: Server) -> socket.socket:
    """A client that has much to be answered and never reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", server.port))
    client.sendall(
        b"GET /ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    text = json.dumps({"type": "text", "text": "hello"}).encode()
    client.settimeout(1)
    try:
        for _ in range(20_000):
            client.sendall(bytes((0x81, 0x80 | len(text))) + bytes(4) + text)
    except TimeoutError:
        pass  # nor is it read any more
    return client


def left_of(family: list[psutil.Process]) -> list[psutil.Process]:
    """What still runs; a dead process that nobody has buried does not."""
    return [process for process in psutil.wait_procs(family, timeout=1)[1] if process.status() != "zombie"]


def test_clients_that_do_not_read_or_do_not_ask_do_not_keep_it(tmp_path: Path) -> None:
    with scripted_server(tmp_path) as server, ExitStack() as clients:
        family = server.family()
        for _ in range(4):
            clients.enter_context(deaf(server))
            clients.enter_context(half_open(server))
            clients.enter_context(half_open(server, b"GET / HTTP/1.1\r\nHost: he"))
            clients.enter_context(
                half_open(server, b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
            )
        clients.enter_context(speaking(server))
        assert server.end(signal.SIGTERM) < ENDS_WITHIN_S
        assert not left_of(family)


@pytest.mark.parametrize(
    ("fault", "by"),
    [
        ("close_hangs", "SIGTERM"),
        ("close_hangs_for_good", "Ctrl-C"),
        ("thread_hangs", "SIGTERM"),
        ("thread_hangs", "Ctrl-C"),
        ("loop_hangs", "Ctrl-C"),
        ("interpreter_hangs", "SIGTERM"),
        ("child_is_stopped", "SIGTERM"),
    ],
)
def test_an_engine_that_hangs_does_not_keep_it(tmp_path: Path, fault: str, by: str) -> None:
    with scripted_server(tmp_path, fault) as server:
        family = server.family()
        client = connect(server.ws, proxy=None)
        client.send('{"type": "text", "text": "hello"}')
        kinds = [json.loads(client.recv(timeout=30))["type"] for _ in range(3)]
        assert kinds == ["ready", "transcript", "response_started"]
        if fault in ("thread_hangs", "loop_hangs", "interpreter_hangs"):
            wait_until_it_hangs(server, fault)
        number = signal.SIGTERM if by == "SIGTERM" else signal.SIGINT
        assert server.end(number, group=by == "Ctrl-C") < ENDS_WITHIN_S
        assert not left_of(family)


def wait_until_it_hangs(server: Server, fault: str) -> None:
    """Until the voice was asked, which is after the first word of the reply."""
    if fault != "thread_hangs":
        while server.status("/livez", timeout_s=1.0) is not None:
            time.sleep(0.1)


@pytest.mark.parametrize("group", [True, False], ids=["terminal", "supervisor alone"])
def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path, group: bool) -> None:
    with scripted_server(tmp_path, "close_hangs_for_good", PATIENT="1") as server:
        family = server.family()
        client = speaking(server)
        interrupt(server, group)
        with pytest.raises(Exception, match="1012"):  # it has begun to end
            while True:
                client.recv(timeout=5)
        interrupt(server, group)
        server.process.wait(timeout=ENDS_WITHIN_S)
        assert not left_of(family)


def interrupt(server: Server, group: bool) -> None:
    if group:
        os.killpg(server.process.pid, signal.SIGINT)
    else:
        server.process.send_signal(signal.SIGINT)
