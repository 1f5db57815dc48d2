"""Recorded voices in simulated rooms: what the agent says, and how it comes back to the microphone."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests import fixtures
from voice_agent.audio import (
    FRAME,
    RATE,
    Pcm16,
    ms_to_samples,
    read_audio,
    resample,
    to_float,
    to_pcm16,
)

Audio = NDArray[np.float64]

LEVEL = 0.08
"""RMS of an active voice: -22 dBFS, as Piper speaks."""


@dataclass(frozen=True)
class Room:
    """How the agent comes back."""

    gain_db: float = -10.0
    delay_ms: float = 120.0
    reverb_s: float = 0.3
    direct_db: float = 3.0
    """Of the direct sound over the reverberation."""
    drive: float = 0.0
    """How far the loudspeaker is driven into its limits; 1 compresses every peak."""
    telephone: bool = False
    suppressed: bool = False
    """A browser's canceller leaves shreds."""
    late_ms: float = 0.0
    """How much later the sound began than was estimated; negative: earlier."""


ROOMS = {
    "laptop": Room(),
    "loud laptop": Room(gain_db=0, delay_ms=60, drive=0.7),
    "slow Bluetooth": Room(gain_db=-15, delay_ms=390, reverb_s=0.45, direct_db=0),
    "living room": Room(gain_db=-12, delay_ms=200, reverb_s=0.6, direct_db=-3),
    "speakerphone": Room(gain_db=-8, delay_ms=250, telephone=True, drive=0.5),
    "faint": Room(gain_db=-28, delay_ms=90),
    "canceller": Room(gain_db=-18, delay_ms=150, suppressed=True),
    "estimate 150 ms early": Room(delay_ms=300, late_ms=150),
    "estimate 150 ms late": Room(delay_ms=40, late_ms=-150),
}


@dataclass(frozen=True)
class Scene:
    """What is played, and what the microphone hears."""

    plays: list[tuple[int, Pcm16]]
    mic: Pcm16
    starts: list[int]
    """When each reply is first heard, in samples."""
    onset: int | None = None
    """Of the user."""


@functools.cache
def voice(name: str) -> Audio:
    """The speech of a packaged clip, at LEVEL."""
    [clip] = [clip for clip in fixtures.packaged() if name in clip.path.name]
    assert clip.speech_start is not None and clip.speech_end is not None
    audio = to_float(read_audio(clip.path)).astype(np.float64)
    return at_level(audio[round(clip.speech_start * RATE) : round(clip.speech_end * RATE) + 800])


AGENT = ("0870", "0890", "0920")
USERS = ("cards-001", "cards-002", "goforward", "something", "dhd")


def at_level(audio: Audio, level: float = LEVEL) -> Audio:
    """Scaled so that its active frames have this RMS."""
    power = np.square(audio[: len(audio) // FRAME * FRAME]).reshape(-1, FRAME).mean(1)
    scaled: Audio = audio * (level / np.sqrt(power[power > power.max() * 1e-3].mean()))
    return scaled


def convolve(audio: Audio, response: Audio) -> Audio:
    size = len(audio) + len(response)
    return np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(response, size), size)[: len(audio)]


def heard_in(room: Room, played: Audio, rng: np.random.Generator) -> Audio:
    """The echo of what is played: loudspeaker, room, distance, and what is done on the way."""
    x = played / LEVEL
    if room.drive:
        x = np.tanh(0.35 * room.drive * x) + 0.1 * room.drive * np.tanh(0.35 * room.drive * x) ** 2
    x = np.diff(x, prepend=0.0) + 0.6 * x  # a small loudspeaker has no bass
    length = round(room.reverb_s * RATE)
    response = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    response /= np.sqrt((response**2).sum())
    response[0] += 10 ** (room.direct_db / 20)
    x = convolve(x, response)
    x = at_level(x, LEVEL * 10 ** (room.gain_db / 20))
    if room.telephone:
        x = to_float(resample(resample(to_pcm16(x), RATE, 8000), 8000, RATE)).astype(np.float64)[
            : len(played)
        ]
    if room.suppressed:
        gains = 10 ** (np.repeat(rng.normal(0, 2, len(x) // 1600 + 1), 1600)[: len(x)] / 20)
        x = x * np.convolve(gains, np.hanning(800) / np.hanning(800).sum(), "same")
    delay = ms_to_samples(room.delay_ms)
    return np.concatenate((np.zeros(delay), x))[: len(played)]


def scene(
    room: Room | None,
    *,
    user: str | None = None,
    user_db: float = 0.0,
    speaks_at: float = 0.5,
    replies: Sequence[str] = AGENT[:2],
    seed: int = 0,
) -> Scene:
    """The agent's replies a second and a half apart; the user, `user_db` over the echo or LEVEL, in the last one.

    `speaks_at` is the share of that reply that is over by then. No room: nothing comes back.
    """
    rng = np.random.default_rng(seed)
    delay = ms_to_samples(room.delay_ms) if room else 0
    starts, plays, at = [], [], RATE // 2
    timeline = np.zeros(RATE)
    for count, name in enumerate(replies):
        reply = voice(name)
        timeline = np.concatenate((timeline, np.zeros(at + len(reply) + RATE - len(timeline))))
        timeline[at : at + len(reply)] = reply
        # In the first reply the estimate is right.
        estimated = at - (ms_to_samples(room.late_ms) if room and count else 0)
        pieces = range(0, len(reply), 3 * FRAME)
        plays += [(estimated + i, to_pcm16(reply[i : i + 3 * FRAME])) for i in pieces]
        starts.append(at + delay)
        at += len(reply) + RATE * 3 // 2
    mic = np.zeros(len(timeline))
    if room:
        mic = heard_in(room, timeline, rng)
    onset = None
    if user:
        level = LEVEL * 10 ** ((user_db + (room.gain_db if room else 0)) / 20)
        onset = starts[-1] + round(speaks_at * len(voice(replies[-1])))
        speech = at_level(voice(user), level)[: len(mic) - onset]
        mic[onset : onset + len(speech)] += speech
    mic += rng.normal(0, 10 ** (-66 / 20), len(mic))
    whole = len(mic) // FRAME * FRAME
    return Scene(plays, to_pcm16(mic[:whole]), starts, onset)
