"""One response's audio on its way out: held until it is due, paced, paused, and accounted for."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from prometheus_client import Histogram

from voice_agent.audio import Pcm16, frames, ms_to_samples

PIECE_MS: Final = 60
"""Longest audio in one message: what is already on its way when the user interrupts."""

DONE_WITHIN_S: Final = 0.001
"""Less time than this is not worth waiting for; nor can every clock tell it from none."""

AHEAD_S: Final = 3.0
"""Audio that may wait to be sent, seconds: the next sentence is made while the one before is played."""

KEPT_S: Final = 1.0
"""How far before the estimated position audio is kept: a client that reports may be behind it."""

BEHIND_S: Final = 10.0
"""How long after the expected end of playback a client is waited for whose reports say that it still plays."""

STALLED_S: Final = 3.0
"""A player whose reports do not move on by `MOVED_S` in this time is believed no longer: the clock goes on."""
MOVED_S: Final = 1.0
"""A third of real time: a player that is slower than that is none."""


GAP_S: Final = 0.06
"""A shorter silence within a reply is not noticed, seconds."""

_gaps: Final = Histogram(
    "voice_agent_response_gap_seconds",
    "Silences within replies, as their pacing knows: the client had played all that there was.",
    buckets=(0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4),
)


def _nowhere(_: Pcm16) -> None:
    """Where the audio of a closed playback goes."""


class Playback:
    """Sends audio no more than `lead_ms` ahead of what the client plays, and knows how much was played.

    The position is the client's own report where it makes one, carried forward at real time. Without
    reports, a player is assumed that plays what it gets at once, in order.

    Nothing is sent before `start`, nor between `pause` and `resume`. A client that can't pause is expected to
    drop what it holds; on `resume` it is sent that again.
    """

    def __init__(
        self,
        rate: int,
        lead_ms: float,
        send: Callable[[Pcm16], None],
        *,
        client_pauses: bool = True,
        sounds: Callable[[Pcm16, float], None] | None = None,
    ) -> None:
        """`send` gets each piece as it goes out; `sounds` also when it begins to sound, on the loop's clock."""
        self._rate = rate
        self._lead_s = lead_ms / 1000
        self._send = send
        self._client_pauses = client_pauses
        self._sounds = sounds
        loop = asyncio.get_running_loop()
        self._clock, self._call_at = loop.time, loop.call_at
        self._unsent: deque[Pcm16] = deque()
        self._unplayed: deque[tuple[float, Pcm16]] = deque()
        """What was sent and perhaps not yet played, and where it begins, in seconds."""
        self._sent_s = 0.0
        self._ends_at = 0.0
        """When the player runs out of audio, if it never stalls."""
        self._reported: tuple[float, float] | None = None
        """The client's last report: seconds played, and when it came."""
        self._moved: tuple[float, float] | None = None
        """The same, of the last report that was `MOVED_S` further than the one before of its kind."""
        self._believed = True
        """Whether reports are taken; not any more from a player that stands still."""
        self._started = False
        self._paused_at: float | None = None
        """Position while paused, in seconds."""
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    @property
    def sent_ms(self) -> float:
        """Audio given to the client, milliseconds."""
        return self._sent_s * 1000

    @property
    def played_ms(self) -> float:
        """Audio that the client has played by now, milliseconds."""
        return self._played_s() * 1000

    @property
    def dry_at(self) -> float:
        """When the player runs out of what it was given and will be, on the loop's clock; later if it is paused."""
        return max(self._ends_at, self._clock()) + self._unsent_s

    def start(self) -> None:
        """Send what there is, and from now on what comes."""
        self._started = True
        self._advance()

    async def put(self, pcm: Pcm16) -> None:
        """Send audio in small pieces; once started, wait while there is enough for now."""
        self._unsent.extend(frames(pcm, ms_to_samples(PIECE_MS, self._rate), pad=False))
        self._advance()
        while self._started and self._unsent_s > AHEAD_S:
            await self._change()

    @property
    def _unsent_s(self) -> float:
        return sum(map(len, self._unsent)) / self._rate

    def pause(self) -> None:
        """Stand still at the sample that is being played."""
        if self._paused_at is None:
            self._paused_at = self._played_s()

    def resume(self) -> None:
        """Go on from that sample."""
        if self._paused_at is None:
            return
        position, self._paused_at = self._paused_at, None
        if self._unplayed:
            position = max(position, self._unplayed[0][0])
        now = self._clock()
        if self._client_pauses:
            held = self._from(position)
        else:
            self._unsent.extendleft(reversed(self._from(position)))
            self._sent_s = position
            held = []
        self._unplayed.clear()
        self._ends_at = now
        if self._reported is not None:
            self._reported = self._moved = (position, now)
        for piece in held:
            self._sound(position, piece)
            position += len(piece) / self._rate
        self._advance()

    def acknowledge(self, ms: float) -> None:
        """The client reports that it has played this much; more than was sent counts as all of it.

        A client that can't pause has dropped what it held by now: its reports of before the pause count no more.
        """
        if not self._believed or (self._paused_at is not None and not self._client_pauses):
            return
        played, now = min(ms / 1000, self._sent_s), self._clock()
        self._reported = (played, now)
        if self._paused_at is not None:
            self._paused_at = played
        elif self._moved is None or played - self._moved[0] >= MOVED_S or played >= self._sent_s:
            self._moved = self._reported
        elif now - self._moved[1] > STALLED_S:
            self._believed, self._reported = False, None
            self._ends_at = now + self._sent_s - played
        self._advance()

    async def finish(self) -> None:
        """Wait until all of the audio was played."""
        while True:
            now = self._clock()
            unplayed = self._sent_s - self._played_s()
            if self._unsent or self._paused_at is not None or not self._started:
                await self._change()
            elif (left := self._ends_at - now) > DONE_WITHIN_S:
                await self._change(left)
            elif (late := self._ends_at + BEHIND_S - now) > DONE_WITHIN_S and unplayed > DONE_WITHIN_S:
                await self._change(min(unplayed, late))
            else:
                break

    def close(self) -> None:
        """Send nothing more, and let go of what it goes to."""
        self._started = False
        self._send, self._sounds = _nowhere, None
        if self._timer:
            self._timer.cancel()

    def _played_s(self) -> float:
        if self._paused_at is not None:
            return self._paused_at
        now = self._clock()
        if self._reported is None:
            return self._sent_s - min(self._sent_s, max(0.0, self._ends_at - now))
        played, at = self._reported
        return min(self._sent_s, played + now - at)

    def _advance(self) -> None:
        """Send what is due, and see to it that the rest goes out in time."""
        if self._timer:
            self._timer.cancel()
        self._changed.set()
        if not self._started or self._paused_at is not None:
            return
        while self._unsent:
            ahead = self._sent_s - self._played_s()
            if ahead > self._lead_s + DONE_WITHIN_S:
                self._timer = self._call_at(self._clock() + ahead - self._lead_s, self._advance)
                return
            piece = self._unsent.popleft()
            if self._sent_s and (gap_s := self._clock() - self._ends_at) > GAP_S:
                _gaps.observe(gap_s)
            self._sound(self._sent_s, piece)
            self._sent_s += len(piece) / self._rate
            self._send(piece)

    def _sound(self, position: float, piece: Pcm16) -> None:
        """Note that `piece` is played after all that is on its way."""
        begins = max(self._ends_at, self._clock())
        self._ends_at = begins + len(piece) / self._rate
        kept_from = self._played_s() - KEPT_S
        while self._unplayed and self._unplayed[0][0] + len(self._unplayed[0][1]) / self._rate <= kept_from:
            self._unplayed.popleft()
        self._unplayed.append((position, piece))
        if self._sounds:
            self._sounds(piece, begins)

    def _from(self, position: float) -> list[Pcm16]:
        """What was sent of the audio from `position` on."""
        rest = [piece[max(0, round((position - begins) * self._rate)) :] for begins, piece in self._unplayed]
        return [piece for piece in rest if len(piece)]

    async def _change(self, within_s: float | None = None) -> None:
        """Until something has changed, or this much time has passed."""
        self._changed.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            pass
