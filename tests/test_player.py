"""The player of the client: what of the received audio was heard, and when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scripted_server import tone
from voice_agent.audio import Pcm16
from voice_agent.client import (
    Pause,
    Player,
    ResponseEnded,
    ResponseStarted,
    Resume,
    speech_bounds,
)


def play(player: Player, at_s: float, samples: int) -> Pcm16:
    pcm = np.arange(1, samples + 1, dtype=np.int16)
    player.receive(at_s, pcm)
    return pcm


def test_audio_plays_at_once_in_order_at_real_time() -> None:
    player = Player(1000)
    player.apply(1.0, ResponseStarted(response="a"))
    play(player, 1.0, 100)
    play(player, 1.0, 100)
    assert player.ends_s == 1.2
    player.advance(1.15)
    reply = player.replies["a"]
    assert [piece.heard for piece in reply.pieces] == [100, 50]
    play(player, 1.5, 100)  # after the player ran dry
    player.advance(2.0)
    assert [piece.started_s for piece in reply.pieces] == [1.0, pytest.approx(1.1), 1.5]
    assert len(reply.heard) == 300
    assert player.ends_s == pytest.approx(1.6)
    assert not player.playing


def test_a_paused_reply_goes_on_from_the_same_sample() -> None:
    player = Player(1000)
    player.apply(0.0, ResponseStarted(response="a"))
    first = play(player, 0.0, 100)
    player.apply(0.03, Pause(response="a"))
    second = play(player, 0.05, 50)
    player.advance(5.0)
    assert len(player.replies["a"].heard) == 30
    player.apply(5.0, Resume(response="a"))
    assert player.ends_s == pytest.approx(5.12)
    player.advance(5.12)
    assert np.array_equal(player.replies["a"].heard, np.concatenate([first, second]))


@pytest.mark.parametrize("reason", ["interrupted", "failed", "something_new"])
def test_a_reply_that_did_not_complete_stops_and_its_late_audio_is_dropped(reason: str) -> None:
    player = Player(1000)
    player.apply(0.0, ResponseStarted(response="a"))
    play(player, 0.0, 100)
    player.apply(0.04, ResponseEnded(response="a", reason=reason))
    play(player, 0.05, 100)
    player.advance(1.0)
    assert len(player.replies["a"].heard) == 40
    assert len(player.replies["a"].received) == 100
    player.apply(1.0, ResponseStarted(response="b"))
    play(player, 1.0, 10)
    assert player.ends_s == 1.01, "the next reply does not wait for what was dropped"


def test_a_completed_reply_is_played_to_its_end() -> None:
    player = Player(1000)
    player.apply(0.0, ResponseStarted(response="a"))
    play(player, 0.0, 100)
    player.apply(0.04, ResponseEnded(response="a", reason="completed"))
    player.advance(1.0)
    assert len(player.replies["a"].heard) == 100


def test_an_interruption_ends_a_pause() -> None:
    player = Player(1000)
    player.apply(0.0, ResponseStarted(response="a"))
    play(player, 0.0, 100)
    player.apply(0.04, Pause(response="a"))
    player.apply(0.2, ResponseEnded(response="a", reason="interrupted"))
    player.apply(0.3, ResponseStarted(response="b"))
    play(player, 0.3, 100)
    player.advance(0.35)
    assert len(player.replies["a"].heard) == 40
    assert len(player.replies["b"].heard) == 50


def test_audio_of_no_response_is_dropped() -> None:
    player = Player(1000)
    play(player, 0.0, 100)
    assert not player.playing
    assert not player.replies


@given(
    pieces=st.lists(st.tuples(st.integers(0, 500), st.integers(1, 400)), min_size=1, max_size=12),
    polls=st.lists(st.integers(0, 8000), max_size=30),
)
def test_looking_at_the_player_changes_nothing_and_positions_only_grow(
    pieces: list[tuple[int, int]], polls: list[int]
) -> None:
    looked_at, alone = Player(8000), Player(8000)
    arrivals, at_ms = [], 0
    for gap_ms, samples in pieces:
        at_ms += gap_ms
        arrivals.append((at_ms, samples))
    steps = sorted([(ms, 0, samples) for ms, samples in arrivals] + [(ms, 1, 0) for ms in polls])
    for player in (looked_at, alone):
        player.apply(0.0, ResponseStarted(response="a"))
    positions = [0]
    for ms, poll, samples in steps:
        if poll:
            positions += [position for _, position in looked_at.progress(ms / 1000)]
        else:
            play(looked_at, ms / 1000, samples)
            play(alone, ms / 1000, samples)
    assert positions == sorted(set(positions)), "a position was reported twice, or went back"
    assert looked_at.ends_s == pytest.approx(alone.ends_s)
    assert alone.ends_s >= at_ms / 1000
    looked_at.advance(alone.ends_s)
    assert len(looked_at.replies["a"].heard) == sum(samples for _, samples in arrivals)


def test_speech_bounds_leave_out_silence_and_quiet_noise() -> None:
    rate = 16_000
    noise = np.random.default_rng(1).integers(-20, 20, rate).astype(np.int16)
    pcm = np.concatenate([noise[:8000], tone(0.5, rate), noise])
    assert speech_bounds(pcm, rate) == (8000, 16_000)
    assert speech_bounds(np.zeros(1600, np.int16), rate) is None
    assert speech_bounds(np.zeros(0, np.int16), rate) is None
    assert speech_bounds(tone(0.1055, rate), rate) == (0, 1688)
