"""How the server ends: within five seconds of SIGTERM or Ctrl-C, whatever a client or an engine does.

There are two processes. BentoML's supervisor, on SIGTERM or Ctrl-C, sends the worker SIGTERM and waits for it, for a
day. The worker has a session of its own, which the terminal's Ctrl-C does not reach. In the worker:

1. the sessions are told, and have `DRAIN_S` to close;
2. uvicorn looks whether it should end (`LOOK_EVERY_S`), closes all connections, and waits `CLOSE_S` for that;
3. the engines are closed, in `agent.CLOSE_WITHIN_S`;
4. the process ends by the signal, without waiting for threads: an engine may hang in one.

Should any of this hang, it exits after `EXIT_S` and writes what its threads were doing; should it not even be able to
do that, the supervisor kills it after `KILL_S`. A second Ctrl-C ends it at once.
"""

import asyncio
import atexit
import faulthandler
import logging
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import uvicorn

if TYPE_CHECKING:
    from voice_agent.agent import Agent

# With `agent.CLOSE_WITHIN_S`, 0.7 s, they add up to 3.1 s. The supervisor takes up to half a second to see that its
# worker has ended, and to end.
DRAIN_S: Final = 1.2
CLOSE_S: Final = 0.7
LOOK_EVERY_S: Final = 0.5
"""uvicorn's own is 0.1 s, and most of what the server costs while nobody is there."""
EXIT_S: Final = 3.2
KILL_S: Final = 3.5

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def drain_on_signals(agent: "Agent") -> None:
    """Have a signal end the sessions first, and then the server, in a worker whose uvicorn has set its handlers."""
    loop = asyncio.get_running_loop()
    end = signal.getsignal(signal.SIGTERM)
    ending: list[asyncio.Task[None]] = []

    async def drain_then_end() -> None:
        await agent.drain(DRAIN_S)
        # As if by SIGTERM in any case: uvicorn at last ends the process by the signal that it was given, and SIGINT
        # would be an exception, after which Python waits for every thread.
        if callable(end):
            end(signal.SIGTERM, None)

    def begin() -> None:
        if not ending:
            ending.append(loop.create_task(drain_then_end()))

    def on_signal(_: int, __: FrameType | None) -> None:
        """Runs between any two steps of the main thread, so that an event loop that hangs does not keep it."""
        if not ending:
            faulthandler.dump_traceback_later(EXIT_S, exit=True)
        loop.call_soon_threadsafe(begin)

    for number in SIGNALS:
        signal.signal(number, on_signal)


async def _main_loop(self: uvicorn.Server) -> None:
    self.config.timeout_graceful_shutdown = CLOSE_S  # type: ignore[assignment]  # it is a time-out of asyncio
    while not await self.on_tick(0):  # noqa: ASYNC110 - the flag is uvicorn's
        await asyncio.sleep(LOOK_EVERY_S)


def bound_uvicorn() -> None:
    """Have uvicorn end in time. BentoML passes no options on to it."""
    uvicorn.Server.main_loop = _main_loop  # type: ignore[method-assign]


def bound_supervisor() -> None:
    """Have BentoML's supervisor, in whose process this is called, not wait for a worker that does not end."""
    from circus.sighandler import SysHandler
    from circus.watcher import Watcher

    kill, quit_, interrupt = Watcher.kill_process, SysHandler.quit, SysHandler.handle_int
    told = interrupted = False

    def kill_process(watcher: Any, process: Any, **options: Any) -> Any:
        return kill(watcher, process, **options | {"graceful_timeout": KILL_S})

    def quit_once(handler: Any) -> None:
        nonlocal told
        if not told:
            told = True
            atexit.register(_exit)
            quit_(handler)

    def handle_int(handler: Any) -> None:
        """A second Ctrl-C ends the worker at once."""
        nonlocal interrupted
        if interrupted:
            for watcher in handler.controller.arbiter.watchers:
                for process in watcher.processes.values():
                    os.kill(process.pid, signal.SIGKILL)
        interrupted = True
        interrupt(handler)

    Watcher.kill_process = kill_process
    SysHandler.quit, SysHandler.handle_int = quit_once, handle_int


def _exit() -> None:
    """Without Python's clearing up, which took the supervisor 0.5 to 2 s on a busy machine of two cores."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)
