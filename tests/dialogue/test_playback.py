"""Pacing and the account of what was played, on virtual time."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from voice_agent.audio import Pcm16
from voice_agent.dialogue.playback import AHEAD_S, PIECE_MS, STALLED_S, Playback

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

RATE = 8000


def audio(seconds: float) -> Pcm16:
    return np.arange(round(seconds * RATE)).astype(np.int16)


def now() -> float:
    return asyncio.get_running_loop().time()


def started(*args: Any, **options: Any) -> Playback:
    playback = Playback(*args, **options)
    playback.start()
    return playback


async def test_nothing_goes_out_before_it_is_due_and_then_at_once() -> None:
    sent: list[Pcm16] = []
    playback = Playback(RATE, 1000, sent.append)
    await playback.put(audio(0.5))
    await asyncio.sleep(5)
    assert not sent and playback.played_ms == 0
    playback.start()
    assert np.array_equal(np.concatenate(sent), audio(0.5))


async def test_more_than_the_lead_that_was_ready_is_paced_too() -> None:
    sent: list[Pcm16] = []
    playback = Playback(RATE, 400, sent.append)
    await playback.put(audio(3.0))
    playback.start()
    assert playback.sent_ms <= 400 + PIECE_MS
    await asyncio.sleep(1)
    assert playback.sent_ms == pytest.approx(1400, abs=PIECE_MS)
    await playback.finish()
    assert np.array_equal(np.concatenate(sent), audio(3.0))


async def test_a_client_that_pauses_goes_on_with_what_it_holds() -> None:
    sent: list[Pcm16] = []
    playback = started(RATE, 1000, sent.append)
    putting = asyncio.create_task(playback.put(audio(3.0)))
    await asyncio.sleep(0.5)
    playback.pause()
    await asyncio.sleep(10)
    assert playback.played_ms == pytest.approx(500)
    assert playback.sent_ms == pytest.approx(1500, abs=PIECE_MS + 1)
    playback.resume()
    begun = now()
    await putting
    await playback.finish()
    assert now() - begun == pytest.approx(2.5, abs=0.01)
    assert np.array_equal(np.concatenate(sent), audio(3.0))


async def test_a_client_that_cannot_pause_is_sent_the_rest_from_the_very_sample() -> None:
    sent: list[Pcm16] = []
    playback = started(RATE, 1000, sent.append, client_pauses=False)
    putting = asyncio.create_task(playback.put(audio(3.0)))
    await asyncio.sleep(0.5)
    playback.pause()
    await asyncio.sleep(10)
    before, at = len(sent), round(playback.played_ms * RATE / 1000)
    playback.resume()
    await putting
    await playback.finish()
    assert at == pytest.approx(0.5 * RATE, abs=1)
    assert np.array_equal(np.concatenate(sent[before:]), audio(3.0)[at:])
    assert playback.played_ms == pytest.approx(3000)


async def test_where_a_paused_client_says_it_stopped_is_where_it_goes_on() -> None:
    playback = started(RATE, 1000, lambda pcm: None)
    await playback.put(audio(2.0))
    await asyncio.sleep(0.5)
    playback.pause()
    playback.acknowledge(300)
    await asyncio.sleep(1)
    playback.resume()
    begun = now()
    await playback.finish()
    assert now() - begun == pytest.approx(1.7, abs=0.01)


async def test_what_a_client_says_that_has_dropped_the_rest_does_not_move_the_sample() -> None:
    sent: list[Pcm16] = []
    playback = started(RATE, 1000, sent.append, client_pauses=False)
    await playback.put(audio(2.0))
    await asyncio.sleep(0.5)
    playback.pause()
    playback.acknowledge(1000)  # on a telephone, a clear returns every mark
    before = len(sent)
    playback.resume()
    await playback.finish()
    assert np.array_equal(np.concatenate(sent[before:]), audio(2.0)[round(0.5 * RATE) :])


async def test_the_next_sentence_is_taken_while_the_one_before_is_played() -> None:
    playback = started(RATE, 400, lambda pcm: None)
    begun = now()
    await playback.put(audio(2.0))
    assert now() == begun
    await playback.put(audio(2.0))
    assert now() - begun == pytest.approx(4.0 - 0.4 - AHEAD_S, abs=0.1)


async def test_what_sounds_is_told_with_its_time_and_again_when_it_goes_on() -> None:
    sounds: list[tuple[int, float]] = []
    playback = started(
        RATE, 5000, lambda pcm: None, sounds=lambda pcm, begins: sounds.append((int(pcm[0]), begins))
    )
    begun = now()
    await playback.put(audio(0.5))
    assert sounds[1][0] == round(PIECE_MS * RATE / 1000)
    assert sounds[1][1] == pytest.approx(begun + PIECE_MS / 1000)
    await asyncio.sleep(0.3)
    playback.pause()
    await asyncio.sleep(1)
    told = len(sounds)
    playback.resume()
    assert sounds[told][0] == pytest.approx(0.3 * RATE, abs=1)
    assert sounds[told][1] == pytest.approx(now())


async def test_all_audio_goes_out_in_order_and_in_small_pieces() -> None:
    sent: list[Pcm16] = []
    playback = started(RATE, 1000, sent.append)
    await playback.put(audio(2.5))
    await playback.finish()
    assert max(map(len, sent)) <= RATE * PIECE_MS / 1000
    assert np.array_equal(np.concatenate(sent), audio(2.5))
    assert playback.sent_ms == pytest.approx(2500)


async def test_the_first_audio_goes_out_at_once_and_the_rest_is_paced() -> None:
    begun = now()
    times: list[float] = []
    playback = started(RATE, 1000, lambda pcm: times.append(now() - begun))
    await playback.put(audio(3.0))
    await playback.finish()
    assert times[0] == 0
    assert times[-1] == pytest.approx(2.0, abs=0.1)


async def test_without_reports_what_was_sent_is_taken_as_played_at_real_time() -> None:
    playback = started(RATE, 5000, lambda pcm: None)
    await playback.put(audio(2.0))
    assert playback.played_ms == 0
    await asyncio.sleep(0.5)
    assert playback.played_ms == pytest.approx(500)
    await asyncio.sleep(5)
    assert playback.played_ms == pytest.approx(2000)


async def test_a_player_that_ran_dry_goes_on_where_it_was() -> None:
    playback = started(RATE, 5000, lambda pcm: None)
    await playback.put(audio(1.0))
    await asyncio.sleep(3)
    await playback.put(audio(1.0))
    await asyncio.sleep(0.25)
    assert playback.played_ms == pytest.approx(1250)


async def test_a_report_is_carried_forward_but_never_past_what_was_sent() -> None:
    playback = started(RATE, 5000, lambda pcm: None)
    await playback.put(audio(2.0))
    await asyncio.sleep(1)
    playback.acknowledge(700)
    assert playback.played_ms == 700
    await asyncio.sleep(0.2)
    assert playback.played_ms == pytest.approx(900)
    playback.acknowledge(999_999)
    assert playback.played_ms == pytest.approx(2000)


async def reporting(playback: Playback, position_ms: Callable[[float], float]) -> None:
    """Report five times a second the position after so many seconds, for ever."""
    begun = now()
    while True:
        await asyncio.sleep(0.2)
        playback.acknowledge(position_ms(now() - begun))


async def test_a_client_that_falls_behind_is_sent_no_more_than_the_lead() -> None:
    playback = started(RATE, 1000, lambda pcm: None)
    stalling = asyncio.create_task(reporting(playback, lambda _: 100))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(STALLED_S):
            await playback.put(audio(10.0))
    stalling.cancel()
    assert playback.sent_ms <= 100 + 1000 + 200 + PIECE_MS


@pytest.mark.parametrize("client_pauses", [True, False])
@pytest.mark.parametrize("stuck_at_ms", [0, 100, 4000])
async def test_a_player_that_stands_still_holds_a_reply_up_only_for_a_while(
    stuck_at_ms: float, client_pauses: bool
) -> None:
    playback = started(RATE, 1000, lambda pcm: None, client_pauses=client_pauses)
    begun = now()
    stalling = asyncio.create_task(reporting(playback, lambda s: min(1000 * s, stuck_at_ms)))
    await playback.put(audio(10.0))
    await playback.finish()
    stalling.cancel()
    assert 10 <= now() - begun <= 10 + STALLED_S + 1.5
    assert playback.played_ms == pytest.approx(10_000)


async def test_reports_that_are_late_by_more_than_a_second_are_waited_for_to_the_end() -> None:
    playback = started(RATE, 3000, lambda pcm: None)
    begun = now()
    late = asyncio.create_task(reporting(playback, lambda s: max(0.0, 1000 * (s - 1.5))))
    await playback.put(audio(14.0))
    await playback.finish()
    late.cancel()
    assert now() - begun == pytest.approx(15.5, abs=0.3)


async def test_a_player_that_hardly_moves_is_not_waited_for_for_ever() -> None:
    playback = started(RATE, 3000, lambda pcm: None)
    begun = now()
    crawling = asyncio.create_task(reporting(playback, lambda s: 10 * s))
    await playback.put(audio(14.0))
    await playback.finish()
    crawling.cancel()
    assert now() - begun <= 14 + STALLED_S + 1


async def test_it_is_finished_when_all_was_played() -> None:
    begun = now()
    playback = started(RATE, 5000, lambda pcm: None)
    await playback.put(audio(2.0))
    await playback.finish()
    assert now() - begun == pytest.approx(2.0)


async def test_a_client_that_is_late_is_waited_for_but_not_for_ever() -> None:
    begun = now()
    playback = started(RATE, 5000, lambda pcm: None)
    await playback.put(audio(2.0))
    await asyncio.sleep(1.5)
    playback.acknowledge(1000)
    await playback.finish()
    assert now() - begun == pytest.approx(2.5)

    playback = started(RATE, 5000, lambda pcm: None)
    begun = now()
    await playback.put(audio(1.0))

    async def stuck() -> None:
        while True:
            playback.acknowledge(0)
            await asyncio.sleep(0.1)

    sticking = asyncio.create_task(stuck())
    await playback.finish()
    sticking.cancel()
    assert now() - begun == pytest.approx(STALLED_S + 1.0, abs=0.2)
