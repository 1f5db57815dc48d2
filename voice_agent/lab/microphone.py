"""A caller's microphone, on a line that may be bad."""

import asyncio

import numpy as np

from voice_agent.audio import SILENCE, Pcm16
from voice_agent.client import Microphone, Wire
from voice_agent.lab.impairment import Line


class BadLineMicrophone(Microphone):
    """Sends what a bad line lets through, late as it is."""

    def __init__(self, client: Wire, line: Line) -> None:
        super().__init__(client)
        self.line = line
        self.sent: list[tuple[float, Pcm16]] = []
        """Every frame, from when it was due."""
        self.late_s: list[float] = []
        """How late each was taken."""
        self.played: list[Pcm16] = []
        """By the loudspeaker since the last frame."""
        self._way: asyncio.Queue[tuple[float, Pcm16]] = asyncio.Queue()

    async def _put(self, frame: Pcm16, due_s: float) -> None:
        now_s = asyncio.get_running_loop().time()
        self.late_s.append(now_s - due_s)
        self._client.player.advance(now_s)
        played = np.concatenate(self.played)[-len(frame) :] if self.played else SILENCE
        self.played.clear()
        picked_up = self.line.microphone(frame, played)
        delay_s = self.line.delay_s(len(self.sent))
        self.sent.append((due_s, picked_up))
        if delay_s is not None:
            self._way.put_nowait((due_s + delay_s, picked_up))

    async def carry(self) -> None:
        """Take what was put on the line to the server, at its time."""
        clock = asyncio.get_running_loop().time
        while True:
            at_s, frame = await self._way.get()
            if (wait_s := at_s - clock()) > 0:
                await asyncio.sleep(wait_s)
            await self._client.send_audio(frame)
