"""Voice-activity detection: the `Vad` protocol and its engines.

A stream is fed inline, on the event loop. On one core of the reference machine a frame of 20 ms costs
webrtcvad 3 µs, Silero 80 µs (150 µs every 32 ms), and the cascade 5 µs on a quiet line and 75 µs in speech.
"""

from collections import deque
from itertools import repeat
from pathlib import Path
from typing import Final, Protocol

import faster_whisper
import numpy as np
import webrtcvad
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from voice_agent.audio import (
    FRAME_MS,
    RATE,
    SILENCE,
    FrameResampler,
    Pcm16,
    Resampler,
    frames,
    ms_to_samples,
    to_float,
)
from voice_agent.config import VadSettings
from voice_agent.errors import StageError
from voice_agent.stages.onnx_session import open_session
from voice_agent.stages.worker import LOADING_S, Worker

WINDOW: Final = 512
"""Samples that Silero judges at a time (32 ms); fixed by the model at 16 kHz."""
CONTEXT: Final = 64
"""Samples of the window before, which Silero v5 and v6 take in front of each window."""
STATE: Final = (1, 1, 128)
"""Shape of Silero's two recurrent states."""


_FRAME_OF_SILENCE: Final[Pcm16] = np.zeros(ms_to_samples(FRAME_MS), np.int16)


class VadStream(Protocol):
    """The ear of one session; holds state."""

    def feed(self, frame: Pcm16) -> float:
        """Probability (0 to 1) that the latest frame is speech; `frame` holds FRAME_MS at the stream's rate."""

    def feed_frames(self, audio: Pcm16) -> list[float]:
        """The same for each of the frames that `audio` consists of: in silence, several cost hardly more than one."""

    def reset(self) -> None:
        """Forget what was heard."""


class Vad(Protocol):
    """An engine, shared by the sessions."""

    async def start(self) -> None:
        """Load the engine and judge one frame with it.

        Raises:
            StageError: the engine could not be loaded.
        """

    def stream(self, rate: int = RATE) -> VadStream:
        """A fresh stream, of audio at `rate`. `start` must have been called."""

    async def close(self) -> None:
        """Free the engine."""


def build_vad(settings: VadSettings) -> Vad:
    """The engine that the settings name."""
    match settings.engine:
        case "webrtcvad":
            return WebRtcVad(settings.webrtc_mode)
        case "silero":
            return SileroVad()
        case "cascade":
            return CascadeVad(settings)


class WebRtcVad:
    """WebRTC's GMM detector: next to free, and fooled by most noise."""

    def __init__(self, mode: int) -> None:
        self._mode = mode

    async def start(self) -> None:
        """See `Vad`."""
        self.stream().feed(_FRAME_OF_SILENCE)

    def stream(self, rate: int = RATE) -> "WebRtcStream":
        """See `Vad`."""
        return WebRtcStream(self._mode, rate)

    async def close(self) -> None:
        """See `Vad`."""


class WebRtcStream:
    """webrtcvad's yes or no, as 1 or 0."""

    RATES = (8000, 16_000, 32_000, 48_000)
    """Rates that webrtcvad takes, hertz; it works at 8000 itself."""

    def __init__(self, mode: int, rate: int = RATE) -> None:
        self._mode = mode
        self._rate = rate
        self.reset()

    def reset(self) -> None:
        """See `VadStream`."""
        self._vad = webrtcvad.Vad(self._mode)
        self._resampler = None if self._rate in self.RATES else FrameResampler(self._rate)

    def feed(self, frame: Pcm16) -> float:
        """See `VadStream`."""
        if self._resampler:
            return float(self._vad.is_speech(self._resampler.feed(frame).tobytes(), RATE))
        return float(self._vad.is_speech(frame.tobytes(), self._rate))

    def feed_frames(self, audio: Pcm16) -> list[float]:
        """See `VadStream`."""
        return [self.feed(frame) for frame in frames(audio, ms_to_samples(FRAME_MS, self._rate))]


class SileroVad:
    """Silero v6, from the ONNX file that faster-whisper ships (MIT)."""

    def __init__(self) -> None:
        self._session: InferenceSession | None = None

    async def start(self) -> None:
        """See `Vad`."""
        loader = Worker("vad", threads=1, timeout_s=LOADING_S)
        try:
            self._session = await loader.load(_load_silero)
        finally:
            await loader.close()
        self.stream().feed(np.zeros(WINDOW, np.int16))

    def stream(self, rate: int = RATE) -> "SileroStream":
        """See `Vad`."""
        if self._session is None:
            raise StageError("vad", "Silero has not been started: await start() first")
        return SileroStream(self._session, rate)

    async def close(self) -> None:
        """See `Vad`."""
        self._session = None


def _load_silero() -> InferenceSession:
    path = Path(faster_whisper.__file__).parent / "assets" / "silero_vad_v6.onnx"
    try:
        # A window is 150 µs of work: handing it to other threads costs more than it saves.
        return open_session(path, threads=1)
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        raise StageError("vad", f"Silero could not be loaded from {path}: {error}") from error


class SileroStream:
    """Silero's probability of the last whole window; between windows, what it was."""

    def __init__(self, session: InferenceSession, rate: int = RATE) -> None:
        self._session = session
        self._rate = rate
        self.reset()

    def reset(self) -> None:
        """See `VadStream`."""
        self._resampler = Resampler(self._rate, RATE)
        self._pending: Pcm16 = SILENCE
        self._context: NDArray[np.float32] = np.zeros((1, CONTEXT), np.float32)
        self._h: NDArray[np.float32] = np.zeros(STATE, np.float32)
        self._c: NDArray[np.float32] = np.zeros(STATE, np.float32)
        self._probability = 0.0

    def feed(self, frame: Pcm16) -> float:
        """See `VadStream`. Takes audio of any length: all its windows are judged in one call."""
        pending = np.concatenate((self._pending, self._resampler.feed(frame)))
        count = len(pending) // WINDOW
        if count:
            used = count * WINDOW
            windows = to_float(pending[:used]).reshape(count, WINDOW)
            before = np.vstack((self._context, windows[:-1, -CONTEXT:]))
            probabilities, self._h, self._c = self._session.run(
                None, {"input": np.hstack((before, windows)), "h": self._h, "c": self._c}
            )
            self._context = windows[-1:, -CONTEXT:]
            self._probability = float(probabilities[-1].item())
            pending = pending[used:]
        self._pending = pending
        return self._probability

    def feed_frames(self, audio: Pcm16) -> list[float]:
        """See `VadStream`."""
        return [self.feed(frame) for frame in frames(audio, ms_to_samples(FRAME_MS, self._rate))]


class CascadeVad:
    """webrtcvad as the cheap gate, Silero behind it as the judge: a silent line costs almost nothing."""

    def __init__(self, settings: VadSettings) -> None:
        self._settings = settings
        self._silero = SileroVad()

    async def start(self) -> None:
        """See `Vad`."""
        await self._silero.start()
        self.stream().feed(_FRAME_OF_SILENCE)

    def stream(self, rate: int = RATE) -> "CascadeStream":
        """See `Vad`."""
        gate = WebRtcStream(self._settings.webrtc_mode, rate)
        return CascadeStream(gate, self._silero.stream(rate), self._settings.threshold, rate)

    async def close(self) -> None:
        """See `Vad`."""
        await self._silero.close()


class CascadeStream:
    """Silero's probability while the gate is open, and 0 while it is shut.

    The gate opens when webrtcvad hears a voice or the level jumps. Silero then goes on from where it stopped,
    through the last `LOOK_BACK_MS`, so that it hears the onset and its recurrent state is warm. The gate
    shuts when neither webrtcvad nor Silero has heard a voice for `HOLD_MS`.

    The constants were chosen on 118 recordings of speech, against Silero running all along: with no look-back
    27 onsets came more than a frame later, with 120 ms 5, with 320 ms 2; starting Silero afresh each time
    doubled those.
    """

    LOOK_BACK_MS = 320
    """Ten of Silero's windows; read at once, they cost 0.7 ms."""
    HOLD_MS = 300
    """Bridges the pauses between words, so that the look-back is paid for once an utterance."""
    JUMP = 4.0**2
    """Energy over the noise floor (12 dB) that opens the gate: webrtcvad at its strictest misses whispers."""
    FLOOR = 15.0**2
    """Least noise floor, mean square of samples (-67 dBFS): below it a jump is dither, not a voice."""
    FLOOR_RISE = 1.04
    """Growth of the noise floor a frame: 6 dB in 0.7 s. A fan soon becomes the floor; a word does not."""

    def __init__(self, gate: VadStream, judge: VadStream, threshold: float, rate: int = RATE) -> None:
        self._silence: Pcm16 = np.zeros(ms_to_samples(FRAME_MS, rate), np.int16)
        """A frame of it."""
        self._gate = gate
        self._judge = judge
        self._threshold = threshold
        self._recent: deque[Pcm16] = deque(maxlen=self.LOOK_BACK_MS // FRAME_MS)
        self.reset()

    def reset(self) -> None:
        """See `VadStream`."""
        self._gate.reset()
        self._judge.reset()
        self._recent.clear()
        self._floor = float("inf")  # the first frame sets it
        self._judging = False
        self._quiet_ms = 0

    @property
    def judging(self) -> bool:
        """Whether the gate is open, and Silero running."""
        return self._judging

    def feed(self, frame: Pcm16) -> float:
        """See `VadStream`."""
        return self.feed_frames(frame)[0]

    def feed_frames(self, audio: Pcm16) -> list[float]:
        """See `VadStream`."""
        if not (self._judging or audio.any()):  # what follows, in short
            count = len(audio) // len(self._silence)
            self._recent.extend(repeat(self._silence, count))
            self._floor = self.FLOOR
            return [0.0] * count
        cut = audio.reshape(-1, len(self._silence))
        energies: list[float] = np.square(cut, dtype=np.float32).mean(axis=1).tolist()
        return [self._feed(frame, energy) for frame, energy in zip(cut, energies, strict=True)]

    def _feed(self, frame: Pcm16, energy: float) -> float:
        """`energy`: the mean square of the frame's samples."""
        louder = energy > self.JUMP * self._floor
        self._floor = max(self.FLOOR, min(energy, self._floor * self.FLOOR_RISE))
        # In digital silence there is no voice, and webrtcvad learns nothing from it.
        heard = energy > 0 and (self._gate.feed(frame) > 0 or louder)
        if self._judging:
            probability = self._judge.feed(frame)
        else:
            self._recent.append(frame)
            if not heard:
                return 0.0
            self._judging = True
            probability = self._judge.feed(np.concatenate(self._recent))
            self._recent.clear()
        if heard or probability >= self._threshold:
            self._quiet_ms = 0
        else:
            self._quiet_ms += FRAME_MS
            self._judging = self._quiet_ms < self.HOLD_MS
        return probability
