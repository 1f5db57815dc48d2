"""A bad line and a bad room: what is done to the caller's audio on its way to the server.

Only to that. What the server sends arrives as it was sent, so that the reply is measured as the server gave it.
Everything is drawn from a seed: the same seed gives the same audio at the same times, whatever the server is.
"""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from voice_agent.audio import FRAME_MS, Pcm16, ms_to_samples, read_audio, ulaw_decode, ulaw_encode
from voice_agent.errors import LabError
from voice_agent.lab.noise import Array, attenuated, clipped, rms

BURST_FRAMES: Final = 3.0
"""Mean length of a loss: on the Internet packets are lost in bursts, most of them a few frames long (Jiang &
Schulzrinne, "Modeling of Packet Loss and Delay and Their Effect on Real-Time Multimedia Service Quality", 2000)."""
MOST_LOSS: Final = 0.75
"""With bursts of three frames, one frame in four comes through if there is one good frame between them."""

NOMINAL_RMS: Final = attenuated(32768, 26)
"""Level of speech until it is told: the nominal one of telephony, -26 dB of full scale (ITU-T P.830)."""
LOOP_FADE_MS: Final = 50.0
"""Where the end of the noise is blended into its beginning, so that the loop does not click."""

RT60_S: Final = 0.3
"""Time in which a room's sound falls by 60 dB: that of a furnished room."""
DIRECT_DELAY_MS: Final = (40.0, 60.0)
"""From the player's clock to the microphone's: the buffers of both sound devices, and a metre of air (3 ms)."""
DIRECT_TO_ROOM_DB: Final = 6.0
"""How far the room lies below the direct sound: loudspeaker and microphone in one device."""

BAND_HZ: Final = (300.0, 3400.0)
"""The band that the telephone network lets through (ITU-T G.712)."""
LINE_RATE: Final = 8000


class Impairment(BaseModel):
    """The impairments of the line and the room; by default none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    jitter_ms: NonNegativeFloat = 0.0
    """Mean delay that a frame meets on its own, exponentially distributed. Frames stay in order, so one that is late
    holds up those behind it, and the delay that is seen is longer on average."""
    loss: float = Field(0.0, ge=0, le=MOST_LOSS)
    """Share of frames that never leave, in bursts of three or so (a Gilbert model): the telephone network in front of
    the socket, which has datagrams. On a WebSocket itself nothing is lost, but late; that is `stall_ms`."""
    stall_ms: NonNegativeFloat = 0.0
    """For so long nothing leaves, and then all at once: a lost segment under TCP, a change of cell."""
    stall_every_s: PositiveFloat = 10.0
    """From the beginning of a stall to that of the next."""
    mulaw: bool = False
    """The band of the telephone, 300 to 3400 Hz, and G.711 mu-law at 8 kHz. It delays 1 kHz by half a millisecond."""
    noise: Path | None = None
    """A recording, played in a loop."""
    snr_db: float = 20.0
    """How far `noise` is below the speech."""
    echo_db: NonNegativeFloat | None = None
    """How far the reply is below what was played, when it gets from the loudspeaker back into the microphone."""
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _stalls_end(self) -> "Impairment":
        if self.stall_ms >= self.stall_every_s * 1000:
            raise ValueError(
                f"stall_ms, {self.stall_ms:g}, should be less than stall_every_s, {self.stall_every_s:g} s: "
                "else nothing ever leaves"
            )
        return self

    def as_dict(self) -> dict[str, float | bool | str]:
        """The impairments that are set, for a result; empty for a good line and a quiet room."""
        wrong: dict[str, float | bool | str] = {}
        if self.jitter_ms:
            wrong["jitter_ms"] = self.jitter_ms
        if self.loss:
            wrong["loss"] = self.loss
        if self.stall_ms:
            wrong |= {"stall_ms": self.stall_ms, "stall_every_s": self.stall_every_s}
        if self.mulaw:
            wrong["mulaw"] = True
        if self.noise:
            wrong |= {"noise": self.noise.name, "snr_db": self.snr_db}
        if self.echo_db is not None:
            wrong["echo_db"] = self.echo_db
        return {**wrong, "seed": self.seed} if wrong else {}


class Line:
    """One call's room and line: what the microphone picks up, and when it leaves.

    Frames are of 20 ms. Both methods are called for each in turn; neither blocks, and the dearest, echo with
    mu-law, take 0.2 ms at 16 kHz on a busy core.
    """

    def __init__(self, impairment: Impairment, rate: int, call: int = 0) -> None:
        """Read the noise, build the room.

        Args:
            impairment: what is wrong.
            rate: of the frames, one of `SAMPLE_RATES`, hertz.
            call: counts calls: each has draws of its own, in the same room.

        Raises:
            AudioError: `noise` can't be read.
            LabError: `noise` is silent, or mu-law needs a package that is not installed.
        """
        self._frame = ms_to_samples(FRAME_MS, rate)
        self._speech_rms = NOMINAL_RMS
        self._snr_db = impairment.snr_db
        self._noise = _loop(impairment.noise, rate) if impairment.noise else None
        draws, of_noise = (np.random.default_rng([impairment.seed, call, part]) for part in range(2))
        self._noise_at = int(of_noise.integers(len(self._noise))) if self._noise is not None else 0
        self._room = (
            _Room(impairment.echo_db, rate, impairment.seed) if impairment.echo_db is not None else None
        )
        self._telephone = _Telephone(rate) if impairment.mulaw else None
        self._way = _Way(impairment, draws)

    def set_speech_level(self, level: float) -> None:
        """How loud the voice is from now on, as `noise.speech_level` gives it: what the noise is measured against."""
        self._speech_rms = level

    def microphone(self, frame: Pcm16, played: Pcm16) -> Pcm16:
        """The audio to send for the next 20 ms.

        Args:
            frame: the caller's voice.
            played: what the loudspeaker played in the same 20 ms, at the same rate; shorter if it stopped.

        Raises:
            ValueError: they are not of 20 ms.
        """
        if len(frame) != self._frame or len(played) > self._frame:
            raise ValueError(f"{len(frame)} and {len(played)} samples; a frame of 20 ms has {self._frame}")
        if self._noise is None and self._room is None and self._telephone is None:
            return frame
        sound = frame.astype(np.float64)
        if self._noise is not None:
            now = (self._noise_at + np.arange(self._frame)) % len(self._noise)
            sound += self._noise[now] * attenuated(self._speech_rms, self._snr_db)
            self._noise_at = int(now[-1]) + 1
        if self._room is not None:
            sound += self._room.feed(played)
        if self._telephone is not None:
            sound = self._telephone.feed(sound)
        return clipped(sound)

    def delay_s(self, frame_number: int) -> float | None:
        """How late after its time a frame leaves, seconds; None if it never does.

        Args:
            frame_number: 0, 1, 2 ...

        Raises:
            ValueError: a number was left out or comes again.
        """
        return self._way.delay_s(frame_number)


class _Way:
    """When frames leave."""

    def __init__(self, impairment: Impairment, rng: np.random.Generator) -> None:
        self._impairment = impairment
        self._rng = rng
        loss = impairment.loss
        self._begins = loss / (1 - loss) / BURST_FRAMES
        """Probability that a burst of loss begins with the next frame: so that `loss` is its share in the long run."""
        self._losing = rng.random() < loss
        self._stalls_from_s = rng.random() * impairment.stall_every_s
        self._next = 0
        self._left_s = 0.0
        """When the last frame left."""

    def delay_s(self, frame_number: int) -> float | None:
        if frame_number != self._next:
            raise ValueError(f"frame {frame_number}; it is the turn of {self._next}")
        self._next += 1
        late_s = self._rng.exponential(self._impairment.jitter_ms / 1000)
        lost, drawn = self._losing, self._rng.random()
        self._losing = drawn >= 1 / BURST_FRAMES if lost else drawn < self._begins
        if lost:
            return None
        due_s = frame_number * FRAME_MS / 1000
        self._left_s = self._stalled_until(max(self._left_s, due_s + late_s))
        return self._left_s - due_s

    def _stalled_until(self, at_s: float) -> float:
        every_s, stall_s = self._impairment.stall_every_s, self._impairment.stall_ms / 1000
        into_s = (at_s - self._stalls_from_s) % every_s
        in_stall = at_s >= self._stalls_from_s and into_s < stall_s
        return at_s + stall_s - into_s if in_stall else at_s


class _Room:
    """The way from the loudspeaker to the microphone: the direct sound, and a tail of noise that dies away."""

    def __init__(self, echo_db: float, rate: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._frame = ms_to_samples(FRAME_MS, rate)
        self._delay = ms_to_samples(rng.uniform(*DIRECT_DELAY_MS), rate)
        self._size = round(RT60_S * rate)
        """Of a frame's echo: what is 60 dB down is left out."""
        taps = self._size - self._frame + 1
        room = rng.normal(size=taps) * 10 ** (-3 * np.arange(taps) / self._size)
        room[0] = 0
        room *= attenuated(1, DIRECT_TO_ROOM_DB) / math.sqrt(float(np.square(room).sum()))
        room[0] = 1
        room *= attenuated(1, echo_db) / math.sqrt(float(np.square(room).sum()))
        self._response = np.fft.rfft(room, self._size)
        self._coming = np.zeros(self._delay + self._size)
        """The echo to come of all that was played so far."""

    def feed(self, played: Pcm16) -> Array:
        if played.any():
            echo = np.fft.irfft(np.fft.rfft(played, self._size) * self._response, self._size)
            self._coming[self._delay :] += echo
        heard = self._coming[: self._frame].copy()
        self._coming[: -self._frame] = self._coming[self._frame :]
        self._coming[-self._frame :] = 0
        return heard


class _Telephone:
    """Down to the 8 kHz of the line, through mu-law, and up again."""

    def __init__(self, rate: int) -> None:
        try:
            from scipy import signal
        except ImportError as error:
            raise LabError("--mulaw needs scipy: pip install 'voice-agent[lab]'") from error
        self._filter: Any = signal.sosfilt
        self._step = rate // LINE_RATE
        self._band = signal.ellip(4, 0.5, 40, BAND_HZ, "bandpass", output="sos", fs=rate)
        self._state = np.zeros((len(self._band), 2))
        self._smooth = None
        """After zeros are put between the line's samples, this is what is left of them."""
        if self._step > 1:
            self._smooth = signal.ellip(6, 0.5, 50, BAND_HZ[1], "lowpass", output="sos", fs=rate)
            self._smooth_state = np.zeros((len(self._smooth), 2))

    def feed(self, sound: Array) -> Array:
        band, self._state = self._filter(self._band, sound, zi=self._state)
        line = ulaw_decode(ulaw_encode(clipped(band[:: self._step])))
        if self._smooth is None:
            return line.astype(np.float64)
        spread = np.zeros(len(sound))
        spread[:: self._step] = line
        heard, self._smooth_state = self._filter(self._smooth, spread * self._step, zi=self._smooth_state)
        return np.asarray(heard)


@lru_cache(maxsize=4)
def _loop(path: Path, rate: int) -> NDArray[np.float32]:
    """The recording so that it can be repeated without a click; its mean square is 1."""
    noise = read_audio(path, rate).astype(np.float32)
    level = rms(noise)
    if not level:
        raise LabError(f"{path}: there is no sound in it; noise is wanted")
    fade = min(ms_to_samples(LOOP_FADE_MS, rate), len(noise) // 2)
    if fade:
        rising = np.sqrt(np.linspace(0, 1, fade, dtype=np.float32))
        noise[:fade] = noise[:fade] * rising + noise[-fade:] * rising[::-1]
        noise = noise[:-fade]
    return noise / np.float32(level)
