"""A caller: says what it is given over a session, and takes down what it heard, and when."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
import soundfile

from voice_agent.audio import FRAME_MS, SILENCE, Pcm16, to_float
from voice_agent.client import (
    Arrived,
    Client,
    Ended,
    Exchange,
    Id,
    Pause,
    Pong,
    Reply,
    ResponseEnded,
    Resume,
    ServerError,
    Timeline,
    TwilioClient,
    Wire,
)
from voice_agent.client.exchange import TICK_S
from voice_agent.client.player import AUDIBLE_DBFS, WINDOW_MS, levels_dbfs
from voice_agent.errors import LabError
from voice_agent.lab.impairment import Line
from voice_agent.lab.microphone import BadLineMicrophone
from voice_agent.lab.noise import speech_level
from voice_agent.lab.result import Outcome, Turn, Underrun, WireName
from voice_agent.lab.scenario import Expect

RATE: Final = 16_000
"""Both ways, hertz: what the microphone hears of the loudspeaker needs no resampling."""
PING_EVERY_S: Final = 0.25
"""Between two looks at the server's clock. Most answers come late, since a session in which nobody speaks is read a few
times a second; the quickest answer counts."""
CUT_IN_MS: Final = 50.0
"""A reply this much before the end of the speech is none too early: that is as exact as ends are annotated."""
LEAST_UNDERRUN_MS: Final = 10.0
"""Gaps shorter than this are the clock's, not the server's."""
MARGIN_S: Final = 0.3
"""Of the recording of a turn, before the speech and after the reply."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that the caller does."""

    name: str = ""
    pcm: Pcm16 = field(default_factory=SILENCE.copy)
    """The audio, at `RATE`. Empty: silence, or the end of the call."""
    speech: tuple[int, int] = (0, 0)
    """First sample of the speech, and the one after the last."""
    transcript: str | None = None
    silence_s: float = 0.0
    """Instead of `pcm`."""
    hangs_up: bool = False
    """Instead of both: ends the call."""
    over_reply_ms: float | None = None
    """Begins so long after the first audible sample of the reply before; None: once that reply is over."""
    expect: Expect = field(default_factory=Expect)

    @property
    def counts(self) -> bool:
        """Whether it makes a turn: a silence of which nothing is expected only waits."""
        return bool(len(self.pcm) or self.expect.named)


@dataclass(slots=True)
class _Done:
    """Events from an act on, until the next one."""

    act: Act
    begun_s: float
    """When the act began, on the loop's clock."""
    onset_s: float = 0.0
    """When the frame with the first speech sample left."""
    speech_s: float = 0.0
    """When the frame with the last speech sample left: the zero of the turn's times."""
    exchange: Exchange = field(default_factory=Exchange)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Sound:
    """The audio that the loudspeaker played, without a break."""

    from_s: float
    response: Id
    pcm: Pcm16

    @property
    def until_s(self) -> float:
        return self.from_s + len(self.pcm) / RATE


class Caller:
    """One call. Made by `calling`."""

    def __init__(self, client: Wire, microphone: BadLineMicrophone, timeout_s: float) -> None:
        self._client = client
        self._microphone = microphone
        self._timeout_s = timeout_s
        self._clock = asyncio.get_running_loop().time
        self._sounds: list[_Sound] = []
        self._pauses: list[tuple[Id, float, float]] = []
        """Response, and from when to when the server had it paused."""
        self._paused: tuple[Id, float] | None = None
        self._timelines: dict[Id, Timeline] = {}
        self._pings: dict[int, float] = {}
        self._clocks: tuple[float, float] | None = None
        """The quickest answer to a ping: how long it took, and what the server's clock is ahead of ours, seconds."""
        self._done: list[_Done] = []
        self._news = asyncio.Event()
        self._over = False
        """The server has hung up, or is gone."""
        client.player.tap = self._hear

    async def perform(self, acts: Sequence[Act]) -> None:
        """Do them in order. What went wrong with the connection is in the turn that it went wrong in."""
        for number, act in enumerate(acts):
            if act.over_reply_ms is not None:
                await self._until_heard(act.over_reply_ms)
            if act.hangs_up:
                return
            done = _Done(act, self._clock())
            self._done.append(done)
            following = acts[number + 1] if number + 1 < len(acts) else None
            try:
                await self._do(done)
                if following is None or following.over_reply_ms is None:
                    await self._until_over(done.exchange)
            except ServerError as error:
                done.error = str(error)
                return

    def turns(self, dialogue: str, *, audio: bool) -> list[Turn]:
        """The outcome of each act, once all are done; with `audio`, the audible sound as well."""
        self._client.player.advance(self._clock())
        ends = [done.begun_s for done in self._done[1:]] + [float("inf")]
        return [
            self._turn(dialogue, step, done, end, audio)
            for step, (done, end) in enumerate(zip(self._done, ends, strict=True))
            if done.act.counts
        ]

    @property
    def late_s(self) -> Sequence[float]:
        """How late each frame of the microphone was."""
        return self._microphone.late_s

    # What happens.

    async def follow(self) -> None:
        """Take note of what the server says until the connection ends."""
        try:
            while True:
                self._note(await self._client.receive())
        except ServerError as error:
            if self._done and not self._over:
                self._done[-1].exchange.lost = str(error)
            self._over = True
            self._news.set()

    def _note(self, arrived: Arrived) -> None:
        at_s, event = arrived
        match event:
            case Pong(id=number, server_ms=server_ms):
                self._compare_clocks(number, at_s, server_ms)
                return
            case Pause(response=response):
                self._paused = response, at_s
            case Resume() | ResponseEnded() if self._paused:
                self._pauses.append((*self._paused, at_s))
                self._paused = None
            case Timeline(response=response) if response is not None:
                self._timelines[response] = event
            case Ended():
                self._over = True
        if self._done:
            self._done[-1].exchange.take(arrived)
        self._news.set()

    async def ask_the_time(self) -> None:
        """Compare the clocks again and again."""
        with suppress(ServerError):
            while True:
                number = len(self._pings)
                self._pings[number] = self._clock()
                await self._client.ping(number)
                await asyncio.sleep(PING_EVERY_S)

    def _compare_clocks(self, number: int, at_s: float, server_ms: float) -> None:
        took_s = at_s - self._pings[number]
        if self._clocks is None or took_s < self._clocks[0]:
            self._clocks = took_s, server_ms / 1000 - (at_s - took_s / 2)

    def _hear(self, from_s: float, response: Id, pcm: Pcm16) -> None:
        self._sounds.append(_Sound(from_s, response, pcm))
        self._microphone.played.append(pcm)

    # What is done.

    async def _do(self, done: _Done) -> None:
        act = done.act
        if act.silence_s:
            await asyncio.sleep(act.silence_s)
            done.onset_s = done.speech_s = done.begun_s
        else:
            start, end = act.speech
            self._microphone.line.set_speech_level(speech_level(act.pcm[start:end], RATE))
            spoken = await self._microphone.say(act.pcm)
            done.onset_s, done.speech_s = spoken.sent_at(start), spoken.sent_at(end - 1)
        done.exchange.said_s, done.exchange.speech_s = self._clock(), done.speech_s
        if len(act.pcm) and not (self._client.reports_speech or act.expect.no_reply or act.expect.goes_on):
            done.exchange.expect_reply()

    async def _until_over(self, exchange: Exchange) -> None:
        """Until the reply was played, or none can be expected any more."""
        player = self._client.player
        while (wait_s := exchange.over_s(player.ends_s, self._timeout_s) - self._clock()) > TICK_S:
            if self._over:
                return
            await self._for_news(wait_s)

    async def _until_heard(self, ms: float) -> None:
        """Until so much of the reply to the last act was heard, or it is over."""
        done = self._done[-1]
        deadline_s = self._clock() + self._timeout_s
        while not self._over and self._clock() < min(
            deadline_s, done.exchange.over_s(deadline_s, self._timeout_s)
        ):
            self._client.player.advance(self._clock())
            first_s = next((bounds[0] for sound in self._of(done) if (bounds := self._audible(sound))), None)
            if first_s is not None and self._clock() >= first_s + ms / 1000:
                return
            await self._for_news(FRAME_MS / 1000)

    async def _for_news(self, at_most_s: float) -> None:
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._news.wait()

    # What came of it.

    def _of(self, done: _Done) -> list[_Sound]:
        """The audio played of replies that began after this act did."""
        replies = self._client.player.replies
        return [sound for sound in self._sounds if replies[sound.response].started_s >= done.begun_s]

    def _turn(self, dialogue: str, step: int, done: _Done, end_s: float, audio: bool) -> Turn:
        act = done.act
        replies = [
            reply
            for reply in self._client.player.replies.values()
            if done.begun_s <= reply.started_s < end_s and reply.first_audible(RATE)
        ]
        first = replies[0] if replies else None

        def ms(at_s: float) -> float:
            return round((at_s - done.speech_s) * 1000, 1)

        turn = Turn(
            dialogue=dialogue,
            step=step,
            outcome="no_reply",
            error=done.error or done.exchange.error or done.exchange.lost,
            said=act.transcript,
            transcript=done.exchange.transcript,
            speech_ms=(act.speech[1] - act.speech[0]) * 1000 / RATE,
        )
        if first:
            self._take_reply(turn, first, ms)
        if act.over_reply_ms is not None and step:
            turn.stops_ms = self._silent_after(self._done[step - 1], done)
        if audio:
            until_s = max([sound.until_s for sound in self._sounds if sound.from_s < end_s] + [done.speech_s])
            from_s, until_s = done.onset_s - MARGIN_S, min(end_s, until_s) + MARGIN_S
            turn.audio = self._recording(from_s, until_s)
            turn.audio_zero_ms = round((done.speech_s - from_s) * 1000, 1)
        turn.outcome = _outcome(turn)
        return turn

    def _take_reply(self, turn: Turn, reply: Reply, ms: Callable[[float], float]) -> None:
        turn.reply = reply.text.strip()
        piece = reply.first_audible(RATE)
        assert piece
        turn.voice_to_voice_ms = ms(piece.arrived_s)
        sounds = [sound for sound in self._sounds if sound.response == reply.response]
        audible = [bounds for sound in sounds if (bounds := self._audible(sound))]
        if audible:
            turn.heard_ms = ms(audible[0][0])
            turn.reply_ms = round((audible[-1][1] - audible[0][0]) * 1000, 1)
        turn.underruns = [
            Underrun(at_ms=ms(before.until_s), lasted_ms=round(gap_s * 1000, 1))
            for before, after in pairwise(sounds)
            if (gap_s := after.from_s - before.until_s) * 1000 > LEAST_UNDERRUN_MS
            and not any(
                of == reply.response and start <= after.from_s and before.until_s <= end
                for of, start, end in self._pauses
            )
        ]
        timeline = self._timelines.get(reply.response)
        if timeline and timeline.server_ms is not None and self._clocks:
            last_speech_ms = ms(timeline.server_ms / 1000 - self._clocks[1])
            turn.steps = {
                name: round(last_speech_ms + at, 1) for name, at in timeline.steps.items() if at is not None
            }

    def _silent_after(self, before: _Done, done: _Done) -> float | None:
        """From the onset of the speech over a reply until that was silent; None where the reply went on to its end."""
        sounds = [sound for sound in self._of(before) if sound.from_s < done.onset_s]
        if not sounds:
            return None
        old = self._client.player.replies[sounds[-1].response]
        if old.ended is None or old.ended.reason == "completed":
            return None
        last_s = max(sound.until_s for sound in self._sounds if sound.response == old.response)
        return round(max(0.0, last_s - done.onset_s) * 1000, 1)

    def _audible(self, sound: _Sound) -> tuple[float, float] | None:
        """From when to when something of it can be heard."""
        loud = np.flatnonzero(levels_dbfs(sound.pcm, RATE) > AUDIBLE_DBFS)
        if not len(loud):
            return None
        window_s = WINDOW_MS / 1000
        return sound.from_s + float(loud[0]) * window_s, min(
            sound.until_s, sound.from_s + float(loud[-1] + 1) * window_s
        )

    def _recording(self, from_s: float, until_s: float) -> str:
        """MP3 in base64: left the microphone, right the loudspeaker."""
        tracks = np.zeros((max(1, round((until_s - from_s) * RATE)), 2), np.int16)
        heard = [(sound.from_s, sound.pcm) for sound in self._sounds]
        for track, pieces in enumerate((self._microphone.sent, heard)):
            for at_s, pcm in pieces:
                start = round((at_s - from_s) * RATE)
                pcm = pcm[max(0, -start) : max(0, len(tracks) - start)]
                tracks[max(0, start) : max(0, start) + len(pcm), track] = pcm
        file = io.BytesIO()
        soundfile.write(file, to_float(tracks), RATE, format="MP3")  # of integers it makes noise
        return base64.b64encode(file.getvalue()).decode()


def _outcome(turn: Turn) -> Outcome:
    if turn.error:
        return "failed"
    if turn.voice_to_voice_ms is None:
        return "no_reply"
    return "cut_in" if turn.voice_to_voice_ms < -CUT_IN_MS else "answered"


@asynccontextmanager
async def calling(url: str, wire: WireName, line: Line, timeout_s: float) -> AsyncIterator[Caller]:
    """A call for as long as the context lasts.

    Args:
        url: of the server, `ws://` or `wss://`.
        wire: what is spoken there.
        line: what the caller's audio goes through.
        timeout_s: how long to wait for a reply while nothing at all comes.

    Raises:
        NoServerError: no voice agent answers at `url`.
        ServerError: the server refused the session.
        LabError: it does not take the rate.
    """
    connection = TwilioClient(url) if wire == "twilio" else Client(url, input_rate=RATE, output_rate=RATE)
    async with connection as client:
        if (client.ready.input_rate, client.ready.output_rate) != (RATE, RATE):
            raise LabError(f"{url} does not hear and speak at {RATE} Hz")
        async with BadLineMicrophone(client, line) as microphone:
            caller = Caller(client, microphone, timeout_s)
            jobs = (caller.follow(), caller.ask_the_time(), microphone.carry())
            tasks = [asyncio.create_task(job) for job in jobs]
            try:
                yield caller
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
