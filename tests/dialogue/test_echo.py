"""The echo guard, on recorded speech in simulated rooms.

`pytest tests/dialogue/test_echo.py -s` prints the figures of the scenes.
"""

import asyncio
import functools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.dialogue.rooms import (
    AGENT,
    ROOMS,
    USERS,
    Room,
    Scene,
    scene,
    voice,
)
from voice_agent.audio import (
    FRAME,
    FRAME_MS,
    RATE,
    Pcm16,
    ms_to_samples,
    to_pcm16,
)
from voice_agent.config import VadSettings
from voice_agent.dialogue import echo, echo_path
from voice_agent.dialogue.echo import EchoGuard
from voice_agent.stages.vad import CascadeVad

RUN = 3
"""Frames of speech in a row that open an utterance."""
SETTLED_MS = 750
"""After a reply has begun to be heard; by then the echo of a session's first one has been found."""


@functools.cache
def vad() -> CascadeVad:
    engine = CascadeVad(VadSettings())
    asyncio.run(engine.start())
    return engine


def speech(pcm: Pcm16) -> NDArray[np.bool_]:
    """For each frame, whether VAD takes it for speech."""
    stream = vad().stream()
    return np.array([stream.feed(pcm[i : i + FRAME]) >= 0.5 for i in range(0, len(pcm), FRAME)])


def marks(given: Scene, guard: EchoGuard | None = None, lead: int = RATE) -> NDArray[np.bool_]:
    """For each frame, whether the guard takes it for echo; what is played is known `lead` samples ahead."""
    guard = guard or EchoGuard()
    coming = list(given.plays)
    out = []
    for at in range(0, len(given.mic), FRAME):
        while coming and coming[0][0] <= at + lead:
            start, pcm = coming.pop(0)
            guard.play(pcm, start)
        out.append(guard.is_echo(given.mic[at : at + FRAME], at))
    return np.array(out)


def openings(through: NDArray[np.bool_]) -> list[int]:
    """Frames at which an utterance would open."""
    run, out = 0, []
    for i, value in enumerate(through):
        run = run + 1 if value else 0
        if run == RUN:
            out.append(i)
    return out


def settled(given: Scene) -> slice:
    return slice((given.starts[0] + ms_to_samples(SETTLED_MS)) // FRAME, None)


@pytest.mark.parametrize("name", ROOMS)
def test_what_the_agent_says_opens_no_utterance(name: str) -> None:
    given = scene(ROOMS[name], replies=AGENT)
    spoken, is_echo = speech(given.mic), marks(given)
    unguarded = openings(spoken[settled(given)])
    guarded = openings((spoken & ~is_echo)[settled(given)])
    print(f"\n{name}: {len(unguarded)} utterances opened by the echo, {len(guarded)} with the guard")
    assert len(unguarded) >= 3, "the scene has no echo to guard against"
    assert len(guarded) <= max(1, len(unguarded) // 4)


@pytest.mark.parametrize(
    ("user_db", "within_ms", "share"), [(6.0, 60, 0.9), (0.0, 80, 0.75), (-6.0, 200, 0.5)]
)
def test_user_over_the_echo_is_let_through(user_db: float, within_ms: int, share: float) -> None:
    added = []
    for seed, name in enumerate(("laptop", "slow Bluetooth", "living room", "speakerphone")):
        for user in USERS:
            given = scene(ROOMS[name], user=user, user_db=user_db, speaks_at=0.3, seed=seed)
            assert given.onset is not None
            first = given.onset // FRAME
            spoken, is_echo = speech(given.mic), marks(given)
            without = openings(spoken[first:])
            alone = openings(speech(scene(None, user=user, user_db=-15, speaks_at=0.3).mic)[first:])
            if not without:
                continue
            through = openings((spoken & ~is_echo)[first:])
            added.append(((through[0] if through else 50) - max(without[0], *alone[:1], 0)) * FRAME_MS)
    late = np.array(added)
    print(
        f"\n{user_db:+.0f} dB: {len(late)} scenes, ms more than without: {np.percentile(late, [50, 75, 90])}"
    )
    assert np.mean(late <= within_ms) >= share


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("reply", [0.02, 0.5])
def test_nothing_is_echo_where_nothing_comes_back(user: str, reply: float) -> None:
    given = scene(None, user=user, speaks_at=reply)
    assert speech(given.mic).any()
    assert not marks(given).any()


@pytest.mark.parametrize("user", USERS[:3])
def test_headphones_that_leak_hold_nobody_back(user: str) -> None:
    given = scene(Room(gain_db=-45), user=user, user_db=40)
    assert given.onset is not None
    first = given.onset // FRAME
    spoken, is_echo = speech(given.mic), marks(given)
    assert openings((spoken & ~is_echo)[first:])[0] == openings(spoken[first:])[0]


def test_echo_of_the_first_reply_is_found_within_half_a_second() -> None:
    given = scene(ROOMS["laptop"])
    assert marks(given)[given.starts[0] // FRAME :][:25].any()


def test_headphones_put_on_between_replies_end_the_echo() -> None:
    room, plain = scene(ROOMS["laptop"]), scene(None, user="goforward", speaks_at=0.4)
    cut = plain.plays[-1][0] - len(voice(AGENT[1])) - RATE // 2
    mic = np.concatenate((room.mic[:cut], plain.mic[cut:]))
    is_echo = marks(Scene(plain.plays, mic, plain.starts))
    assert plain.onset is not None
    assert is_echo[: cut // FRAME].any()
    assert not is_echo[plain.onset // FRAME :].any()


def test_lag_that_moves_within_a_reply_is_followed() -> None:
    """The player ran dry for 80 ms, and nobody knows."""
    given = scene(ROOMS["laptop"], replies=[AGENT[2], AGENT[0]])
    dry = (given.starts[1] + 2 * RATE) // FRAME * FRAME
    mic = np.insert(given.mic, dry, np.zeros(ms_to_samples(80), np.int16))
    moved = Scene(given.plays, mic, given.starts)
    later = slice(dry // FRAME + 80, None)
    spoken = speech(mic)[later]
    assert openings(spoken)
    assert not openings(spoken & ~marks(moved)[later])


def test_what_was_cut_is_not_expected() -> None:
    """A user who says what the agent would have said is a user."""
    given = scene(ROOMS["laptop"], replies=[AGENT[0]])
    whole, guard = marks(given), EchoGuard()
    for start, pcm in given.plays:
        guard.play(pcm, start)
    cut = given.starts[0] + 2 * RATE
    out = []
    for at in range(0, len(given.mic), FRAME):
        if at == cut // FRAME * FRAME:
            guard.stop(at)
        out.append(guard.is_echo(given.mic[at : at + FRAME], at))
    after = slice(cut // FRAME + 40, cut // FRAME + 140)
    assert whole[after].sum() > 80
    assert openings(speech(given.mic)[after] & ~np.array(out)[after])


def test_frames_that_were_not_asked_about_do_no_harm() -> None:
    """Only those that VAD takes for speech are given."""
    given = scene(ROOMS["laptop"], replies=AGENT)
    spoken, guard, through = speech(given.mic), EchoGuard(), []
    for start, pcm in given.plays[:]:
        guard.play(pcm, start) if start < given.starts[1] - RATE else None
    coming = [play for play in given.plays if play[0] >= given.starts[1] - RATE]
    for i, said in enumerate(spoken):
        at = i * FRAME
        while coming and coming[0][0] <= at + RATE:
            guard.play(coming[0][1], coming.pop(0)[0])
        through.append(bool(said) and not guard.is_echo(given.mic[at : at + FRAME], at))
    assert len(openings(np.array(through)[settled(given)])) <= 1


def test_the_same_samples_give_the_same_answers() -> None:
    given = scene(ROOMS["speakerphone"], user="something")
    assert (marks(given) == marks(given)).all()
    assert (marks(given) == marks(given, lead=3 * RATE)).all()


def test_costs_nothing_where_nothing_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo, "find_lag", refuse("looked for an echo"))
    monkeypatch.setattr(echo, "bands", refuse("analysed a frame"))
    guard, frame = EchoGuard(), to_pcm16(voice("goforward")[:FRAME])
    assert not any(guard.is_echo(frame, at) for at in range(0, 10 * RATE, FRAME))


def refuse(what: str) -> Callable[..., None]:
    def raise_(*_: object) -> None:
        raise AssertionError(what)

    return raise_


PLAYED = echo_path.SEARCH + ms_to_samples(920)
"""Samples in which a lag is looked for."""


def part_of(name: str, start: int, length: int) -> NDArray[np.float32]:
    return (32768 * np.roll(voice(name), -start)[:length]).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    lag=st.integers(0, ms_to_samples(900)),
    start=st.integers(0, 100_000),
    gain_db=st.floats(-30, 0),
    seed=st.integers(0, 1000),
)
def test_lag_that_is_believed_is_right(lag: int, start: int, gain_db: float, seed: int) -> None:
    played = part_of("0870", start, PLAYED)
    noise = np.random.default_rng(seed).normal(0, 5, echo_path.SEARCH)
    mic = played[lag : lag + echo_path.SEARCH] * 10 ** (gain_db / 20) + noise
    found, sureness = echo_path.find_lag(mic.astype(np.float32), played)
    assert sureness < EchoGuard.SURE or abs(found - lag) <= 4


def test_lag_is_seen_in_most_of_what_is_played() -> None:
    lag = ms_to_samples(300)
    sure = []
    for start in range(0, 80_000, 4000):
        played = part_of("0870", start, PLAYED)
        mic = 0.1 * played[lag : lag + echo_path.SEARCH]
        sure.append(echo_path.find_lag(mic, played)[1] > EchoGuard.SURE)
    assert np.mean(sure) > 0.8


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(USERS), st.integers(0, 20_000), st.sampled_from(AGENT), st.integers(0, 100_000))
def test_no_lag_is_seen_in_other_speech(user: str, start: int, agent: str, at: int) -> None:
    mic, played = part_of(user, start, echo_path.SEARCH), part_of(agent, at, PLAYED)
    assert echo_path.find_lag(mic, played)[1] < EchoGuard.SURE


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 150_000)), max_size=6), st.integers(0, 300_000)
)
def test_schedule_keeps_what_was_written_and_silence_between(
    pieces: list[tuple[int, int]], start: int
) -> None:
    played = echo._Played()
    timeline = np.zeros(2_000_000, np.float32)
    for count, (gap, length) in enumerate(pieces, 1):
        at = played.end + gap
        played.write(np.full(length, count, np.int16), at)
        timeline[at : at + length] = count
    timeline[: max(0, played.end - echo.KEPT)] = 0
    assert (played.read(start, 30_000) == timeline[start : start + 30_000]).all()
