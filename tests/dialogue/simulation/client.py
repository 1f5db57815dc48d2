"""The client at the other end: it plays what it is sent, reports its position, and has habits, not all of them good."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Literal, get_args

from voice_agent.audio import samples_to_ms
from voice_agent.dialogue.events import (
    Event,
    ResponseAudio,
    ResponseEnded,
    ResponsePaused,
    ResponseResumed,
    ResponseStarted,
    SessionEnded,
    UserTranscript,
)
from voice_agent.dialogue.outbox import ClientTooSlow
from voice_agent.dialogue.session import Session

REPORT_EVERY_S = 0.2
LAG_S = 0.15
"""How long a good line is held up at times."""
STOPS_READING_S = 20.0

Reports = Literal["promptly", "late", "no more", "the same", "nonsense", "never"]
Reads = Literal["always", "with pauses", "never"]


@dataclass(frozen=True)
class Habits:
    """Of a client, for one session."""

    reports: Reports
    late_s: float
    reads: Reads

    @classmethod
    def draw(cls, chance: random.Random) -> "Habits":
        all_reports: tuple[Reports, ...] = get_args(Reports)
        all_reads: tuple[Reads, ...] = get_args(Reads)
        [reports] = chance.choices(all_reports, (6, 2, 1, 1, 1, 1))
        [reads] = chance.choices(all_reads, (8, 1, 0.5))
        return cls(reports, chance.uniform(0.2, 5.0), reads)

    @property
    def good(self) -> bool:
        """Whether what the session takes for heard must be what was played."""
        return self.reports == "promptly" and self.reads == "always"


@dataclass
class Sounded:
    """One response, as the loudspeaker knows it."""

    id: str
    sent_ms: float = 0.0
    played_ms: float = 0.0


@dataclass
class Client:
    """Of one session."""

    habits: Habits
    chance: random.Random
    output_rate: int
    pauses: bool
    read: list[tuple[float, Event]] = field(default_factory=list)
    """What it was told, and when."""
    sounded: dict[str, Sounded] = field(default_factory=dict)
    over: bool = False
    """The session has ended, or the client was given up."""
    too_slow: bool = False

    def __post_init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._playing: Sounded | None = None
        self._paused = False
        self._advanced_at = 0.0

    async def attend(self, session: Session) -> None:
        """Read and report until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._report(session))
            if self.habits.reads != "never":
                tasks.create_task(self._read(session))

    async def _read(self, session: Session) -> None:
        try:
            async for event in session.events():
                self.read.append((self._clock(), event))
                if self.chance.random() < 0.01:
                    await asyncio.sleep(LAG_S)
                if self.habits.reads == "with pauses" and self.chance.random() < 0.005:
                    await asyncio.sleep(STOPS_READING_S)
                self._take(event)
        except ClientTooSlow:
            self.over = self.too_slow = True

    def _take(self, event: Event) -> None:
        self._play()
        match event:
            case ResponseStarted():
                self._playing = self.sounded[event.response] = Sounded(event.response)
                self._paused = False
            case ResponseAudio():
                self.sounded[event.response].sent_ms += samples_to_ms(len(event.pcm), self.output_rate)
            case ResponsePaused():
                self._paused = True
            case ResponseResumed(response):
                self._paused = False
                if not self.pauses:
                    self.sounded[response].sent_ms = self.sounded[response].played_ms
            case ResponseEnded():
                self._playing = None
            case SessionEnded():
                self.over = True

    def _play(self) -> None:
        """Bring the loudspeaker up to now."""
        now = self._clock()
        ms, self._advanced_at = (now - self._advanced_at) * 1000, now
        if (playing := self._playing) and not self._paused:
            playing.played_ms = min(playing.sent_ms, playing.played_ms + ms)

    async def _report(self, session: Session) -> None:
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            self._play()
            if self._playing and not self._paused:
                self._report_once(session, self._playing)

    def _report_once(self, session: Session, playing: Sounded) -> None:
        chance, position = self.chance, playing.played_ms
        match self.habits.reports:
            case "promptly":
                session.played(playing.id, position)
            case "late":
                asyncio.get_running_loop().call_later(
                    self.habits.late_s, session.played, playing.id, position
                )
            case "no more" if position < 1000:
                session.played(playing.id, position)
            case "the same":
                session.played(playing.id, min(position, 700.0))
            case "nonsense":
                response = chance.choice((playing.id, playing.id, "resp_1", "resp_999", ""))
                session.played(
                    response, chance.choice((0.0, position, position / 2, position + 5000, 1e12, 0.1))
                )

    def history(self) -> list[tuple[Literal["user", "assistant"], str]]:
        """The conversation as a client brings it along when it comes back."""
        turns: dict[object, tuple[Literal["user", "assistant"], str]] = {}
        for _, event in self.read:
            match event:
                case UserTranscript(turn, text, final=True) if text:
                    turns.setdefault(turn, ("user", ""))
                    turns[turn] = ("user", text)
                case ResponseEnded() if event.heard:
                    turns[event.response] = ("assistant", event.heard)
        return list(turns.values())
