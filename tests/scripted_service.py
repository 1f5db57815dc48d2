"""The service with scripted engines, for `bentoml serve tests.scripted_service:VoiceAgent`: no weights are needed.

What is wrong with its engines is named by the environment variable `FAULT`.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any

from tests.scripted import Script
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
        """Native code that does not give Python's lock back."""

        async def stream(*_: Any, **__: Any) -> AsyncGenerator[Pcm16, None]:
            ctypes.PyDLL(None).sleep(3600)
            yield None  # type: ignore[misc]

        script.synthesizer.stream = stream  # type: ignore[method-assign]

    @staticmethod
    def child_is_stopped(script: Script) -> None:
        """A child process that is waited for and does not run."""
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
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


Engines.build = _build  # type: ignore[method-assign,assignment]
