"""A run: callers say what they were given, and the result is put together."""

import asyncio
import platform
import random
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from voice_agent.client import NoServerError, ServerError
from voice_agent.lab.caller import RATE, Act, calling
from voice_agent.lab.fixtures import Dialogue, Utterance
from voice_agent.lab.impairment import Impairment, Line
from voice_agent.lab.result import Expectation, Level, Machine, Result, Turn, WireName
from voice_agent.lab.scenario import Expect, Scenario
from voice_agent.lab.server import Server
from voice_agent.lab.words import count_errors

STAGGER_S: Final = 3.0
"""Callers of a level begin within this time: no two people lift the receiver at once."""
LEAST_ANSWERED: Final = 0.95
"""Part of the turns that must be answered for a ramp to count a number of sessions as held."""
MOST_SESSIONS: Final = 256
"""Where a ramp ends: one process of the client can't drive many more."""


@dataclass(frozen=True, slots=True)
class Call:
    """The acts of one caller in one session."""

    name: str
    acts: tuple[Act, ...]


def call_of(dialogue: Dialogue) -> Call:
    """A dialogue's recordings, each said once the reply to the one before was heard."""
    return Call(dialogue.name, tuple(_said(utterance) for utterance in dialogue.utterances))


def call_in(scenario: Scenario, utterances: Sequence[Utterance | None]) -> Call:
    """A scenario, with the sound of each of its steps."""
    acts = []
    for step, utterance in zip(scenario.steps, utterances, strict=True):
        over_reply_ms = step.after_ms if step.after == "start" else None
        if utterance:
            acts.append(_said(utterance, step.expect, over_reply_ms))
        else:
            acts.append(
                Act(
                    silence_s=step.silence_s or 0.0,
                    hangs_up=step.hang_up,
                    over_reply_ms=over_reply_ms,
                    expect=step.expect,
                )
            )
    return Call(scenario.name, tuple(acts))


def _said(utterance: Utterance, expect: Expect | None = None, over_reply_ms: float | None = None) -> Act:
    return Act(
        pcm=utterance.pcm,
        speech=utterance.speech,
        transcript=utterance.transcript,
        over_reply_ms=over_reply_ms,
        expect=expect or Expect(),
    )


@dataclass(frozen=True, slots=True)
class Options:
    """How calls are made."""

    repeats: int = 1
    impairment: Impairment = field(default_factory=Impairment)
    timeout_s: float = 30.0
    wire: WireName = "native"
    audio: bool = False
    """Keep what could be heard, for the report."""


async def run_level(
    server: Server,
    calls: Sequence[Call],
    sessions: int,
    options: Options,
    progress: Callable[[], None] = lambda: None,
) -> Level:
    """Every one of `sessions` callers makes every call, `options.repeats` times; `progress` hears of each call made.

    Cancelling it ends the calls, and gives what was measured until then.

    Raises:
        NoServerError: no voice agent answers, from the first call on.
    """
    turns: list[Turn] = []
    late_s: list[float] = []
    seed = options.impairment.seed

    async def make(number: int, session: int, repeat: int) -> None:
        call = calls[number]
        line = Line(options.impairment, RATE, (repeat * sessions + session) * len(calls) + number)
        try:
            async with calling(server.url, options.wire, line, options.timeout_s) as caller:
                await caller.perform(call.acts)
                made = caller.turns(call.name, audio=options.audio)
                late_s.extend(caller.late_s)
        except (NoServerError, ServerError) as error:
            if not turns and isinstance(error, NoServerError):
                raise
            made = [Turn(dialogue=call.name, outcome="failed", error=str(error), speech_ms=0)]
        for turn in made:
            judge(turn, call.acts[turn.step], hears_words=options.wire == "native")
            turns.append(turn.model_copy(update={"repeat": repeat, "sessions": sessions, "session": session}))
        progress()

    async def stay(session: int) -> None:
        await asyncio.sleep(random.Random(seed + session).uniform(0, STAGGER_S) if session else 0)
        for repeat in range(options.repeats):
            for number in range(len(calls)):
                await make((number + session) % len(calls), session, repeat)

    unfinished = False
    async with server.measured() as meter:
        callers = [asyncio.create_task(stay(session)) for session in range(sessions)]
        try:
            await asyncio.gather(*callers)
        except asyncio.CancelledError:
            unfinished = True
            if task := asyncio.current_task():
                task.uncancel()
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
    late_ms = float(np.percentile(late_s, 99)) * 1000 if late_s else 0.0
    return Level(
        sessions=sessions,
        turns=turns,
        server=meter.use,
        client_late_ms=round(late_ms, 1),
        unfinished=unfinished,
    )


def judge(turn: Turn, act: Act, *, hears_words: bool = True) -> None:
    """Count its word errors, and see whether it is what was expected of it.

    Without `hears_words` the wire does not tell what the server understood, and nothing is demanded of that.
    """
    if turn.said is not None and turn.transcript:
        turn.word_errors, turn.words = count_errors(turn.said, turn.transcript)
    expect = act.expect
    replied = turn.voice_to_voice_ms is not None
    if (limit := expect.reply_within_ms) is not None:
        within = replied and turn.outcome == "answered" and (turn.voice_to_voice_ms or 0) <= limit
        turn.expectations.append(
            Expectation(name="reply_within_ms", limit=limit, measured=turn.voice_to_voice_ms, met=within)
        )
    if (limit := expect.stops_within_ms) is not None:
        within = turn.stops_ms is not None and turn.stops_ms <= limit
        turn.expectations.append(
            Expectation(name="stops_within_ms", limit=limit, measured=turn.stops_ms, met=within)
        )
    if expect.goes_on is not None:
        went_on = turn.stops_ms is None
        turn.expectations.append(
            Expectation(name="goes_on", limit=expect.goes_on, measured=went_on, met=went_on == expect.goes_on)
        )
    if hears_words and (limit := expect.transcript_wer_below) is not None:
        rate = turn.word_errors / turn.words if turn.words and turn.word_errors is not None else None
        turn.expectations.append(
            Expectation(
                name="transcript_wer_below", limit=limit, measured=rate, met=rate is not None and rate < limit
            )
        )
    if expect.no_reply is not None:
        turn.expectations.append(
            Expectation(
                name="no_reply", limit=expect.no_reply, measured=not replied, met=replied != expect.no_reply
            )
        )


async def ramp_levels(
    limit_ms: float, measure: Callable[[int], Awaitable[Level]], most: int = MOST_SESSIONS
) -> list[Level]:
    """Levels in the order of their sessions, among them the greatest number that is held and the next that is not.

    Twice as many each time until one is not held; then halfway between.

    Args:
        limit_ms: 95 % of the replies must begin within this.
        measure: makes a level.
        most: sessions that are tried at most.
    """
    levels: dict[int, Level] = {}
    held, too_many, sessions = 0, most + 1, 1
    while held + 1 < too_many and sessions <= most:
        level = levels[sessions] = await measure(sessions)
        if level.unfinished:
            break
        if holds(level, limit_ms):
            held = sessions
        else:
            too_many = sessions
        sessions = min(2 * held, most) if too_many > most else (held + too_many) // 2
        if sessions in levels:
            break
    return [levels[sessions] for sessions in sorted(levels)]


def holds(level: Level, limit_ms: float) -> bool:
    """Whether so many sessions are served well enough."""
    answered = [
        turn for turn in level.turns if turn.outcome == "answered" and turn.voice_to_voice_ms is not None
    ]
    if not level.turns or len(answered) < LEAST_ANSWERED * len(level.turns):
        return False
    return float(np.percentile([turn.voice_to_voice_ms or 0.0 for turn in answered], 95)) <= limit_ms


def machine() -> Machine:
    """This one."""
    processor = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor
        )
    return Machine(
        processor=processor or platform.machine(),
        cores=psutil.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def version() -> str:
    """Of the project, and the commit where it is a git checkout."""
    number = metadata.version("voice-agent")
    with suppress(OSError, subprocess.SubprocessError):
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        ).stdout.strip()
        return f"{number} ({commit})"
    return number


def put_together(
    url: str,
    levels: Sequence[Level],
    options: Options,
    command: str,
    started: datetime,
    ramp_p95_ms: float | None = None,
) -> Result:
    """The whole of a run."""
    return Result(
        started=started.isoformat(timespec="seconds"),
        command=command,
        version=version(),
        url=url,
        wire=options.wire,
        machine=machine(),
        impairment=options.impairment.as_dict(),
        repeats=options.repeats,
        levels=list(levels),
        ramp_p95_ms=ramp_p95_ms,
    )
