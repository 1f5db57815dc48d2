"""The address that the server listens on."""

import errno
import socket
from dataclasses import dataclass
from typing import Any, Self

import psutil

from voice_agent.config import ServerSettings
from voice_agent.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Address:
    """An address of this machine, and a port."""

    ip: str
    """IPv4 or IPv6."""
    port: int

    @classmethod
    def of(cls, server: ServerSettings) -> Self:
        """The address that the settings name; of a host that has several addresses, IPv4 first.

        Raises:
            SettingsError: the host is no address, nor a name that has one.
        """
        host = server.host.removeprefix("[").removesuffix("]")
        try:
            found = socket.getaddrinfo(host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (
            OSError,
            ValueError,
        ) as error:  # the latter: a name with a part that is empty or too long, or a NUL
            why = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(
                f"server.host (VOICE_AGENT_SERVER__HOST, --host): {server.host!r} is no address of this machine, nor a "
                f"name of one: {why}. 127.0.0.1 is for this machine only, 0.0.0.0 and :: for all that reach it"
            ) from error
        first = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        return cls(str(first[4][0]), server.port)

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    def check_free(self) -> None:
        """Try to listen there.

        Raises:
            SettingsError: that is not possible; it says why, what holds the port, and what to do.
        """
        family = socket.AF_INET6 if ":" in self.ip else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self.ip, self.port))
                probe.listen()
        except OSError as error:
            message = f"can't listen on {self}: {error.strerror}"
            if error.errno == errno.EADDRINUSE:
                message += f". {self._held()}"
            raise SettingsError(
                f"{message}. Or choose another address with --host and --port (server.host, server.port)"
            ) from error

    def _held(self) -> str:
        """The process that listens on the port, and how to end it, in words."""
        holder = _listening(self.port)
        if holder is None:
            return f"This user may not see what listens there; an administrator may: `ss -ltnp sport = {self.port}`"
        with holder.oneshot():
            command = " ".join(holder.cmdline())[:200] or holder.name()
        return f"Process {holder.pid} listens there ({command}); `kill {holder.pid}` ends it"


def _listening(port: int) -> psutil.Process | None:
    """The process that listens on a port; of several that share it, the one that started the others."""
    try:
        found = [socket.pid for socket in psutil.net_connections("tcp") if _is_at(socket, port)]
        process = next((psutil.Process(pid) for pid in found if pid), None)
        while process and (above := process.parent()) and _listens(above, port):
            process = above
        return process
    except psutil.Error:  # on macOS only an administrator may ask
        return None


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        return any(_is_at(socket, port) for socket in process.net_connections("tcp"))
    except psutil.Error:
        return False


def _is_at(socket: Any, port: int) -> bool:
    """Whether one of psutil's connections waits for others on a port."""
    return bool(socket.status == psutil.CONN_LISTEN and socket.laddr.port == port)
