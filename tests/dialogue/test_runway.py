"""Audio is held back as long as what follows on it would come too late, and no longer."""

from dataclasses import dataclass

import numpy as np
import pytest

from tests.dialogue.calling import Caller, calling
from tests.scripted import Script
from voice_agent.dialogue.events import ResponseAudio, ResponseEnded, ResponseStarted
from voice_agent.dialogue.response import MOST_HELD_S
from voice_agent.dialogue.runway import SENTENCE, WORTH_IT_S, Runway
from voice_agent.dialogue.spoken_text import MS_PER_CHARACTER
from voice_agent.speeds import Speeds

SPEEDS = Speeds(voice=4.0, voice_begins_s=0.1, model=60.0)
CLAUSE = 20
CLAUSE_S = CLAUSE * MS_PER_CHARACTER / 1000
"""1.3 s."""


def spoken(speeds: Speeds, characters: int = CLAUSE) -> Runway:
    """A first chunk is written and all of it is made, at 0 s."""
    runway = Runway(speeds)
    runway.wrote(characters, 0.0)
    runway.cut(characters)
    runway.speaks(characters, characters, 0.0)
    runway.made(characters * MS_PER_CHARACTER / 1000, 0.0)
    runway.spoken()
    return runway


def test_nothing_is_held_back_of_a_text_that_is_all_made() -> None:
    runway = spoken(Speeds(model=1.0))
    assert runway.short_s(0.0) > 10
    runway.written()
    assert runway.short_s(0.0) == 0


def test_the_next_sentence_is_waited_for_if_it_will_be_late() -> None:
    slow, quick = Speeds(model=SENTENCE / 3), Speeds(model=SENTENCE / 1)
    assert spoken(quick).short_s(0.0) == 0
    assert spoken(slow).short_s(0.0) == pytest.approx(3 + slow.voice_begins_s - CLAUSE_S)


def test_the_pace_of_its_own_writing_counts_more_the_more_there_is_of_it() -> None:
    runway = spoken(Speeds(model=1000.0), characters=5)
    assert runway.short_s(0.0) == 0
    shorts = []
    for second in range(1, 5):
        runway.wrote(5, float(second))
        shorts.append(runway.short_s(float(second)))
    assert shorts[0] > 1.0, "it writes five characters a second"
    slow = spoken(Speeds(model=5.0), characters=5)
    for second in range(1, 5):
        slow.wrote(5, float(second))
    assert shorts[-1] == pytest.approx(slow.short_s(4.0), rel=0.6)


def test_a_chunk_that_is_written_already_only_waits_for_the_voice() -> None:
    speeds = Speeds(model=1.0, voice_begins_s=2.0)
    runway = spoken(speeds)
    runway.wrote(50, 0.0)
    runway.cut(50)
    assert runway.short_s(0.0) == pytest.approx(speeds.voice_begins_s - CLAUSE_S)


@pytest.mark.parametrize(("voice", "short"), [(4.0, False), (1.0, False), (0.5, True)])
def test_a_voice_that_is_slower_than_its_speech_needs_a_start(voice: float, short: bool) -> None:
    runway = Runway(Speeds(voice=voice))
    runway.wrote(200, 0.0)
    runway.cut(200)
    runway.written()
    runway.speaks(200, 200, 0.0)
    runway.made(1.0, 0.1)
    assert bool(runway.short_s(0.1)) is short


def test_what_replies_show_of_the_engines_is_averaged() -> None:
    speeds = Speeds()
    for _ in range(40):
        runway = Runway(speeds)
        runway.wrote(10, 0.0)
        runway.wrote(100, 5.0)
        runway.written()
        runway.speaks(110, 110, 5.0)
        runway.made(0.5, 5.5)
        runway.asks(6.0)
        runway.made(2.0, 6.0)  # it lay ready
        runway.asks(6.0)
        runway.made(2.0, 8.0)
    assert speeds.model == pytest.approx(20.0, rel=0.01)
    assert speeds.voice == pytest.approx(1.0, rel=0.01)
    assert speeds.voice_begins_s == pytest.approx(0.5, rel=0.01)


@dataclass
class Heard:
    """Of a reply, from when it is due."""

    after_s: float
    gap_s: float
    """The longest time for which the player had nothing."""


async def heard(script: Script) -> Heard:
    async with calling(script) as caller:
        clock = TimedCaller(caller)
        caller.session.subscribe(clock.note)
        caller.session.read("hello")
        await caller.until(ResponseEnded)
        return clock.heard()


class TimedCaller:
    """When what was sent."""

    def __init__(self, caller: Caller) -> None:
        self._now = caller.session._clock
        self._rate = caller.session.options.output_rate
        self._begun = 0.0
        self._pieces: list[tuple[float, float]] = []

    def note(self, event: object) -> None:
        match event:
            case ResponseStarted():
                self._begun = self._now()
            case ResponseAudio(_, pcm):
                self._pieces.append((self._now(), len(pcm) / self._rate))

    def heard(self) -> Heard:
        ends = self._pieces[0][0]
        gaps = []
        for at, seconds in self._pieces:
            gaps.append(max(0.0, at - ends))
            ends = max(ends, at) + seconds
        return Heard(self._pieces[0][0] - self._begun, float(np.max(gaps)))


REPLY = "Well, that is a long story. It began many years ago in a small town by the sea."


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_a_reply_begins_at_once_where_it_can_go_on() -> None:
    script = Script()
    script.generator.replies = [REPLY]
    script.generator.delay_s = 0.02
    alone = await heard(script)
    assert alone.gap_s == 0 and alone.after_s == pytest.approx(0.05 + 0.1, abs=0.05)


@pytest.mark.asyncio
@pytest.mark.looptime
@pytest.mark.parametrize("delay_s", [0.1, 0.15, 0.2, 0.5])
async def test_a_reply_of_a_slow_model_is_held_back_and_has_no_gap_unless_it_would_be_held_for_long(
    delay_s: float,
) -> None:
    script = Script()
    script.generator.replies = [REPLY]
    script.generator.delay_s = delay_s
    slow = await heard(script)
    at_least = delay_s + 0.1
    assert slow.after_s <= at_least + MOST_HELD_S + delay_s
    assert slow.gap_s <= WORTH_IT_S or slow.after_s == pytest.approx(at_least + MOST_HELD_S, abs=delay_s)
