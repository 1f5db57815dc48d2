"""The address that the server listens on: which hosts are one, and what is said of a port that is taken."""

import os
import re
import socket
import subprocess
import sys

import psutil
import pytest

from tests.serving import free_port
from voice_agent.address import Address
from voice_agent.config import ServerSettings
from voice_agent.errors import SettingsError


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1:3000"),
        ("localhost", "127.0.0.1:3000"),
        ("0.0.0.0", "0.0.0.0:3000"),
        ("::1", "[::1]:3000"),
        ("[::1]", "[::1]:3000"),
        ("::", "[::]:3000"),
    ],
)
def test_a_host_is_an_address_or_a_name(host: str, shown: str) -> None:
    assert str(Address.of(ServerSettings(host=host))) == shown


@pytest.mark.parametrize("host", ["nowhere.invalid", "http://localhost", "x" * 70, "a..b", "300.1.1.1", "\0"])
def test_a_host_that_is_neither_is_named_with_the_setting(host: str) -> None:
    with pytest.raises(SettingsError, match=r"server\.host \(VOICE_AGENT_SERVER__HOST, --host\): ") as wrong:
        Address.of(ServerSettings(host=host))
    assert repr(host) in str(wrong.value)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_that_is_taken_names_what_holds_it_and_how_to_end_it(family: socket.AddressFamily) -> None:
    ip = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as held:
        try:
            held.bind((ip, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        held.listen()
        taken = Address(ip, held.getsockname()[1])
        with pytest.raises(SettingsError) as wrong:
            taken.check_free()
    said = str(wrong.value)
    assert f"can't listen on {taken}: Address already in use. Process {os.getpid()} listens there (" in said
    assert f"`kill {os.getpid()}` ends it" in said
    assert "--port (server.host, server.port)" in said
    taken.check_free()


def test_of_processes_that_share_a_port_the_one_that_started_the_others_is_named() -> None:
    code = """
import os, socket, sys
held = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork():
    print("here", flush=True)
sys.stdin.read()
"""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout and server.stdin
        server.stdout.readline()
        with pytest.raises(SettingsError, match=re.escape(f"`kill {server.pid}` ends it")):
            Address("127.0.0.1", port).check_free()
        server.stdin.close()


def test_a_holder_that_may_not_be_seen_is_no_obstacle_to_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str) -> list[object]:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    with (
        socket.create_server(("127.0.0.1", 0)) as held,
        pytest.raises(SettingsError, match=r"in use\. This user may not see .* Or choose another"),
    ):
        Address("127.0.0.1", held.getsockname()[1]).check_free()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"can't listen on 192\.0\.2\.1:3000: .*assign"):  # RFC 5737
        Address("192.0.2.1", 3000).check_free()
