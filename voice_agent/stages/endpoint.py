"""Whether a turn is over, heard from the voice: the `Endpoint` protocol, and smart-turn v3.2."""

from typing import Final, Protocol

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from voice_agent.audio import RATE, Pcm16, to_float
from voice_agent.config import ModelsSettings
from voice_agent.errors import StageError, VoiceAgentError
from voice_agent.models import ensure
from voice_agent.stages.onnx_session import THREADS, open_session
from voice_agent.stages.onnx_stop import OnnxStop
from voice_agent.stages.worker import Worker

WEIGHTS: Final = "smart-turn-v3.2"
"""Name in the catalogue."""
MODEL_FILE: Final = "smart-turn-v3.2-cpu.onnx"
WINDOW_S: Final = 8
"""Seconds that smart-turn hears: the last ones, with silence before an utterance that is shorter."""
WINDOW: Final = WINDOW_S * RATE
TIMEOUT_S: Final = 10.0
"""Longest wait for a score, the queue included. One takes 45 ms of a core, and the turn is decided after 3 s
without it."""
NEUTRAL_AUDIO: Final = 0.5
"""The probability that says nothing either way."""


class Endpoint(Protocol):
    """Hears from intonation and pace whether the speaker has come to an end."""

    async def start(self) -> None:
        """Load the weights and judge a second of audio, so that the first user does not pay for it.

        Raises:
            WeightsError: the weights can't be had.
            StageError: the engine could not be loaded.
        """

    async def score(self, pcm: Pcm16) -> float:
        """Probability (0 to 1) that the turn is over, from the utterance so far at RATE, the silence after it included.

        Raises:
            StageError: the engine failed, or took too long.
        """

    async def close(self) -> None:
        """Free the engine. Nothing is running afterwards."""


class NoEndpoint:
    """Hears nothing in it: words and silence decide."""

    async def start(self) -> None:
        """See `Endpoint`."""

    async def score(self, pcm: Pcm16) -> float:
        """The probability that says nothing either way."""
        return NEUTRAL_AUDIO

    async def close(self) -> None:
        """See `Endpoint`."""


class SmartTurn:
    """Smart Turn v3.2 (Pipecat, BSD-2): Whisper tiny's encoder with a classifier, int8, 23 languages."""

    def __init__(self, models: ModelsSettings) -> None:
        self._models = models
        self._session: InferenceSession | None = None
        self._worker = Worker("endpoint", threads=THREADS, timeout_s=TIMEOUT_S)

    async def start(self) -> None:
        """See `Endpoint`."""
        self._session = await self._worker.load(self._load)
        await self.score(np.random.default_rng(0).normal(0, 100, RATE).astype(np.int16))

    async def score(self, pcm: Pcm16) -> float:
        """See `Endpoint`. One that is cancelled before a thread took it up is not computed, and ends if one has."""
        session = self._session
        if session is None:
            raise StageError("endpoint", "smart-turn has not been started: await start() first")
        stop = OnnxStop()
        return await self._worker.run(lambda: _infer(session, pcm, stop), stop=stop)

    @property
    def healthy(self) -> bool:
        """See `Checked` of `engines.py`."""
        return self._worker.healthy

    async def close(self) -> None:
        """See `Endpoint`."""
        await self._worker.close()
        self._session = None

    def _load(self) -> InferenceSession:
        path = ensure(WEIGHTS, directory=self._models.dir, offline=self._models.offline) / MODEL_FILE
        try:
            return open_session(
                path, threads=1
            )  # the transcriber, which works at the same time, wants the others
        except VoiceAgentError:
            raise
        except Exception as error:  # onnxruntime's errors share no public base
            raise StageError("endpoint", f"smart-turn could not be loaded from {path}: {error}") from error


def _infer(session: InferenceSession, pcm: Pcm16, stop: OnnxStop) -> float:
    """Runs on a worker's thread."""
    (probability,) = session.run(None, {"input_features": features(pcm)[None]}, stop.options)
    return float(probability.item())


_extractor: Final = FeatureExtractor(chunk_length=WINDOW_S)
_HOP: Final = _extractor.hop_length
_EDGE: Final = 3
"""Frames of padding that reach no speech: a frame is 2.5 hops long, and centred."""


def features(pcm: Pcm16) -> NDArray[np.float32]:
    """Whisper's log-mel spectrogram of the last 8 s, shape (80, 800), of the waveform at mean 0 and variance 1.

    As smart-turn was trained with: `WhisperFeatureExtractor(chunk_length=8)(..., do_normalize=True)`. Within 1e-5 of
    what pipecat 1.14 gives it (`pipecat/audio/turn/smart_turn/_whisper_features.py`).
    """
    audio = to_float(pcm[-WINDOW:])
    audio = np.pad(audio, (WINDOW - len(audio), 0))
    audio = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
    # The padding is constant, and so is its spectrum: one column of it stands for the rest.
    same = max(0, (WINDOW - len(pcm)) // _HOP - _EDGE)
    mel = _extractor(audio[same * _HOP :], padding=0).astype(np.float32)
    return np.hstack((np.repeat(mel[:, :1], same, axis=1), mel))
