"""A microphone made of recordings."""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import numpy as np

from voice_agent.audio import FRAME_MS, Pcm16, frames, ms_to_samples
from voice_agent.client.messages import ServerError
from voice_agent.client.wire import Wire


@dataclass(frozen=True, slots=True)
class Spoken:
    """When a recording was sent."""

    sent_s: tuple[float, ...]
    """The time at which each of its frames was sent."""
    frame: int
    """Samples in a frame."""

    def sent_at(self, sample: int) -> float:
        """When the frame with this sample was sent."""
        return self.sent_s[min(sample // self.frame, len(self.sent_s) - 1)]


class Microphone:
    """Sends a frame every 20 ms for as long as it is entered: recordings when asked to, else silence.

    Frame n is due n x 20 ms after the first, so lateness never adds up; what is late is sent at once.
    """

    def __init__(self, client: Wire) -> None:
        self._client = client
        self._frames: deque[Pcm16] = deque()
        self._sent_s: list[float] = []
        self._said: asyncio.Future[None] | None = None
        self._lost: ServerError | None = None
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._frame = ms_to_samples(FRAME_MS, self._client.ready.input_rate)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def say(self, pcm: Pcm16) -> Spoken:
        """Send a recording at the session's input rate; returns when its last frame was sent.

        Raises:
            ServerError: the connection is closed.
        """
        if self._said is not None:
            raise RuntimeError("the microphone takes one recording at a time")
        if self._lost is not None:
            raise self._lost
        self._sent_s = []
        self._frames.extend(frames(pcm, self._frame))
        self._said = asyncio.get_running_loop().create_future()
        try:
            await self._said
        finally:
            self._said = None
            self._frames.clear()
        return Spoken(tuple(self._sent_s), self._frame)

    async def _put(self, frame: Pcm16, due_s: float) -> None:
        """A frame and when it is due; for a line that is not perfect."""
        await self._client.send_audio(frame)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        silence: Pcm16 = np.zeros(self._frame, np.int16)
        due_s = clock()
        try:
            while True:
                await asyncio.sleep(max(0.0, due_s - clock()))
                speaking = bool(self._frames)
                await self._put(self._frames.popleft() if speaking else silence, due_s)
                if speaking:
                    self._sent_s.append(clock())
                    if not self._frames and self._said is not None and not self._said.done():
                        self._said.set_result(None)
                due_s += FRAME_MS / 1000
        except ServerError as error:
            self._lost = error
            if self._said is not None and not self._said.done():
                self._said.set_exception(error)
