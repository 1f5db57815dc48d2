"""The service with scripted engines, for `bentoml serve tests.scripted_service:VoiceAgent`: no weights are needed.

What is wrong with its engines is named by the environment variable `FAULT`. With `PATIENT` it waits for them.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any

from tests.scripted import Script
from voice_agent import agent, ending
from voice_agent.audio import Pcm16
from voice_agent.engines import Engines
from voice_agent.service import VoiceAgent

__all__ = ["VoiceAgent"]

LONG = "This is a rather long reply, which goes on and on for a while. " * 20


class Fault:
    """What can be wrong with an engine, each by the name that a test gives."""

    @staticmethod
    def nothing(script: Script) -> None: ...

    @staticmethod
    def close_hangs(script: Script) -> None:
        async def close() -> None:
            await asyncio.Event().wait()

        script.generator.close = close  # type: ignore[method-assign]

    @staticmethod
    def close_hangs_for_good(script: Script) -> None:
        async def close() -> None:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    continue

        script.generator.close = close  # type: ignore[method-assign]

    @staticmethod
    def thread_hangs(script: Script) -> None:
        async def stream(*_: Any, **__: Any) -> AsyncGenerator[Pcm16, None]:
            await asyncio.to_thread(threading.Event().wait)
            yield None  # type: ignore[misc]

        script.synthesizer.stream = stream  # type: ignore[method-assign]

    @staticmethod
    def loop_hangs(script: Script) -> None:
        async def stream(*_: Any, **__: Any) -> AsyncGenerator[Pcm16, None]:
            while True:
                time.sleep(0.01)  # noqa: ASYNC251 - the fault
            yield

        script.synthesizer.stream = stream  # type: ignore[method-assign]

    @staticmethod
    def interpreter_hangs(script: Script) -> None:
        """Native code that does not give Python's lock back, nor looks at signals."""

        async def stream(*_: Any, **__: Any) -> AsyncGenerator[Pcm16, None]:
            sum(range(10**13))
            yield None  # type: ignore[misc]

        script.synthesizer.stream = stream  # type: ignore[method-assign]

    @staticmethod
    def child_is_stopped(script: Script) -> None:
        """A child process that is waited for and does not run; like llama.cpp it is killed when its owner ends."""
        code = "import ctypes, sys; ctypes.CDLL(None).prctl(1, 9); print(flush=True); sys.stdin.read()"
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout
        child.stdout.readline()
        child.send_signal(signal.SIGSTOP)

        async def close() -> None:
            assert child.stdin
            child.stdin.close()
            await asyncio.to_thread(child.wait)

        script.generator.close = close  # type: ignore[method-assign]


def _build(*_: Any) -> Engines:
    script = Script()
    script.generator.replies = [LONG] * 1000
    getattr(Fault, os.environ.get("FAULT", "nothing"))(script)
    return script.engines()


if "PATIENT" in os.environ:
    agent.CLOSE_WITHIN_S = ending.EXIT_S = ending.KILL_S = 3600  # type: ignore[misc]
Engines.build = _build  # type: ignore[method-assign,assignment]
