import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.errors import StageError
from voice_agent.stages.synthesizer.edges import (
    ATTACK_MS,
    CLAUSE_PAUSE_MS,
    SENTENCE_PAUSE_MS,
    WORD_PAUSE_MS,
    Audio,
    Edges,
    pause_ms,
)
from voice_agent.stages.synthesizer.text import legible, speakable

RATE = 16_000
HISS = 0.001


def sound(ms: int, level: float) -> Audio:
    return np.full(RATE * ms // 1000, level, np.float32)


def trimmed(audio: Audio, piece: int, pause: int = 200) -> Audio:
    edges = Edges(RATE)
    fed = [edges.feed(audio[start : start + piece]) for start in range(0, len(audio), piece)]
    return np.concatenate([*fed, edges.finish(pause)])


@pytest.mark.parametrize("piece", [37, 1000, 10**6])
def test_silence_in_front_goes_and_the_pause_behind_has_its_length_whatever_the_pieces(piece: int) -> None:
    audio = np.concatenate(
        [sound(400, HISS), sound(300, 0.5), sound(80, HISS), sound(300, 0.5), sound(500, HISS)]
    )
    given = trimmed(audio, piece)
    assert len(given) == RATE * (ATTACK_MS + 300 + 80 + 300 + 200) // 1000
    np.testing.assert_array_equal(given, trimmed(audio, 10**6))
    loud = np.flatnonzero(given > 0.1)
    assert loud[0] == RATE * ATTACK_MS // 1000
    assert len(given) - loud[-1] - 1 == RATE * 200 // 1000


def test_a_sound_without_silence_around_it_is_kept_whole() -> None:
    given = trimmed(sound(300, 0.5), 1000, pause=0)
    np.testing.assert_array_equal(given, sound(300, 0.5))


def test_the_end_fades_into_the_pause() -> None:
    audio = np.concatenate([sound(100, 0.5), sound(500, 0.005)])
    behind = trimmed(audio, 10**6)[RATE // 10 :]
    assert behind[0] == pytest.approx(0.005)
    assert np.all(np.diff(behind) <= 0)
    assert not behind[RATE * 60 // 1000 :].any()


def test_nothing_but_silence_gives_nothing() -> None:
    assert len(trimmed(sound(1000, HISS), 160)) == 0


@pytest.mark.parametrize(
    ("text", "pause"),
    [
        ("Done.", SENTENCE_PAUSE_MS),
        ('He said "why?"', SENTENCE_PAUSE_MS),
        ("Well, I think,", CLAUSE_PAUSE_MS),
        ("one of the", WORD_PAUSE_MS),
        ("", WORD_PAUSE_MS),
    ],
)
def test_the_pause_follows_from_the_last_mark(text: str, pause: int) -> None:
    assert pause_ms(text) == pause


def test_text_is_speakable_if_it_has_a_letter_or_a_digit() -> None:
    assert speakable("...7")
    assert speakable("é")
    assert not speakable(" -- ?! ")
    assert not speakable("")


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_no_sound_is_heard_of_and_not_played(odd: float) -> None:
    audio = sound(20, 0.5)
    audio[7] = odd
    with pytest.raises(StageError, match="no numbers"):
        Edges(RATE).feed(audio)


@given(st.text())
def test_what_is_left_of_a_text_can_be_encoded_and_does_not_end_early(text: str) -> None:
    assert b"\0" not in legible(text).encode()


def test_a_text_that_can_be_read_stays_as_it_is() -> None:
    text = "Naïve 你好\n\t(👍🏽) 5 €."
    assert legible(text) == text
