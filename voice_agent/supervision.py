"""The processes of the server, and how one hears of another's end.

`bentoml serve` is a supervisor (circus), which starts one worker, starts it anew when it has ended, and in a container
ends itself instead. The worker holds the engines and the sessions. What circus has no option for is put where it looks.
"""

import logging
import os
import re
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil
from prometheus_client.multiprocess import mark_process_dead

from voice_agent.parent import end_with_parent

log = logging.getLogger(__name__)

OWNER: Final = "VOICEAGENT_SUPERVISOR_PID"
"""Variable that tells the worker who started it. (It does not begin as settings do.)"""
LOOK_EVERY_S: Final = 1.0
"""How often the worker looks whether its owner is there, where the system does not tell it."""
GRACE_S: Final = 10.0
"""After its owner's end the worker may take as long to tell its sessions and end; then it is killed."""


def supervise() -> None:
    """In the supervisor, before it starts a worker: say how one ended, and start the next one at once."""
    from circus.arbiter import Arbiter
    from circus.exc import ConflictError
    from circus.sighandler import SysHandler
    from circus.watcher import Watcher

    os.environ[OWNER] = str(os.getpid())
    initialize, notify_event = Watcher.initialize, Watcher.notify_event

    def with_arbiter(self: Watcher, evpub_socket: object, sockets: object, arbiter: Arbiter) -> None:
        initialize(self, evpub_socket, sockets, arbiter)

        async def look() -> None:
            with suppress(ConflictError):  # it is looking already, or ending
                await arbiter.manage_watchers()

        # circus itself looks every ten seconds.
        signal.signal(signal.SIGCHLD, lambda *_: arbiter.loop.add_callback_from_signal(look))

    def and_log(self: Watcher, topic: str, message: dict[str, Any]) -> None:
        notify_event(self, topic, message)
        if topic == "reap" and not (self.is_stopping() or self.is_stopped()):
            then = "starting another" if self.respawn else "ending too, as is usual in a container"
            log.error(
                "the worker (process %d) %s; %s", message["process_pid"], _ended(message["exit_code"]), then
            )

    Watcher.initialize, Watcher.notify_event = with_arbiter, and_log
    # A terminal that closes ends what runs in it, and not what was started with nohup; circus would start it anew.
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    SysHandler.handle_hup = (lambda self: None) if ignored else SysHandler.handle_term
    logging.getLogger("bentoml.serve").addFilter(_bracketed)


def _ended(code: int) -> str:
    """How a process ended, by its exit code; a negative one is a signal's number."""
    if code >= 0:
        return f"ended by itself with exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-code, f"signal {-code}")
    return f"was ended by {name}" + (": out of memory?" if name == "SIGKILL" else "")


def _bracketed(record: logging.LogRecord) -> bool:
    """An IPv6 address is put in brackets where BentoML logs the server's URL."""
    if isinstance(record.args, tuple) and "listening on %s://%s:%d" in str(record.msg):
        record.args = tuple(
            f"[{part}]"
            if isinstance(part, str) and re.fullmatch(r"[0-9a-f:]*:[0-9a-f:.%\w]*", part)
            else part
            for part in record.args
        )
    return True


def end_with_owner() -> None:
    """In the worker: end as on SIGTERM when the supervisor is gone, however it ended, and free the port."""
    owner = int(os.environ.get(OWNER, "0"))
    if not owner:
        return
    signal.signal(
        signal.SIGHUP, signal.SIG_IGN
    )  # a terminal that closes tells both: it is the supervisor's to end us
    end_with_parent(signal.SIGTERM)
    # Elsewhere, and for an owner that was gone before that.
    threading.Thread(target=_watch, args=[owner], name="owner", daemon=True).start()


def _watch(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(LOOK_EVERY_S)
    log.error("the supervisor (process %d) was ended; ending too", owner)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def forget_dead_workers() -> None:
    """In a new worker: what a dead one had counted as under way (`voice_agent_sessions`) is so no more."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return
    for file in Path(folder).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if pid != os.getpid() and not _is_sibling(pid):
            mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


def _is_sibling(pid: int) -> bool:
    """Whether a process is another worker of our owner's, and alive: its number may have gone to someone else."""
    try:
        process = psutil.Process(pid)
        return process.ppid() == os.getppid() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
