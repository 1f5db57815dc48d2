"""Speech to text: the `Transcriber` protocol, and Whisper through faster-whisper."""

import asyncio
import math
import os
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel, available_models, download_model
from faster_whisper.transcribe import Segment

from voice_agent.audio import FRAME, RATE, Pcm16, to_float
from voice_agent.config import ModelsSettings, SttSettings
from voice_agent.errors import SettingsError, StageError, VoiceAgentError, WeightsError
from voice_agent.models import catalog, ensure

WINDOW_S: Final = 30
"""Seconds of audio that Whisper decodes at a time."""
MAX_TOKENS: Final = 220
"""Of a window's text: what Whisper's 448 leave beside a full prompt (223) and the special tokens (5)."""


INAUDIBLE: Final = 15.0
"""Root mean square of the loudest 20 ms (-67 dBFS) below which nothing is transcribed: the dither and hum of
an open line. The quietest utterance that was measured is 27 dB above it as a whole."""
REPEATS: Final = 2.4
"""Compression ratio above which a text repeats itself (Radford et al. 2022, section 4.5)."""
LOGPROB_WEIGHT: Final = 0.35
MAX_DOUBT: Final = 0.82
"""Most that `no_speech_prob - LOGPROB_WEIGHT * avg_logprob` may be, for there to be words.

Measured with tiny.en on 114 utterances and on 188 clips of noise and of the silence around speech: one
utterance is dropped (a digit of 0.4 s, misheard) and 3 clips get through (one does hold a word). Whisper's
own rule, `no_speech_prob` above 0.6 and `avg_logprob` below -1, lets 21 through."""
MAX_DOUBT_STOCK: Final = 0.65
"""The same for `STOCK`. Said on the telephone "Thank you." has 0.12; made up for a sneeze, 0.87."""
STOCK: Final = frozenset(
    {"you", "thank you", "thanks for watching", "thank you for watching", "bye", "blank audio", "the end"}
)
"""What Whisper likes to write where nobody speaks, without punctuation."""


@dataclass(frozen=True)
class Transcript:
    """What was said in an utterance, and how sure Whisper is of it."""

    text: str
    """Empty when the evidence says that there were no words."""
    language: str
    """Two-letter code; empty where it was to be detected and there was nothing to hear."""
    avg_logprob: float
    """Mean log-probability of the tokens; 0 is certain, below -1 is guessing."""
    no_speech_prob: float
    """Probability (0 to 1) that nobody speaks."""
    compression_ratio: float
    """Length of the text over its length compressed by zlib; above 2.4 it repeats itself."""
    discarded: str = ""
    """What Whisper wrote that was taken for an invention, not for words."""


class Transcriber(Protocol):
    """Writes down an utterance."""

    languages: tuple[str, ...]
    """Two-letter codes that `transcribe` takes. Known after `start`."""

    async def start(self) -> None:
        """Load the weights and transcribe a second of audio, so that the first user does not pay for it.

        Raises:
            WeightsError: the weights can't be had.
            SettingsError: the settings name a folder that holds no model.
            StageError: the engine could not be loaded, or does not know the language of the settings.
        """

    async def transcribe(
        self, pcm: Pcm16, *, language: str | None = None, prompt: str | None = None
    ) -> Transcript:
        """The words in `pcm`, at RATE.

        Cancelling it takes a request that has not begun off the queue; one that has begun ends unheard.

        Args:
            pcm: the utterance, with some tenths of a second of what was before and after.
            language: two-letter code; by default the settings'.
            prompt: primes the engine with names and jargon to spell right; by default the settings'.

        Raises:
            StageError: the engine failed, took too long, or does not know the language.
        """

    async def close(self) -> None:
        """Free the engine. Nothing is running afterwards."""


class FasterWhisper:
    """Whisper on CTranslate2: int8 on a CPU, float16 on a GPU.

    Requests wait for a worker in the order they came. The queue needs no bound of its own: a session waits
    for one or two transcripts at a time, sessions are bounded, and the time-out includes the wait.
    """

    def __init__(self, settings: SttSettings, models: ModelsSettings) -> None:
        """Check the model's name; loads nothing.

        Raises:
            SettingsError: `settings.model` is neither a known name nor a folder with a model.
        """
        self._settings = settings
        self._models = models
        self._model: WhisperModel | None = None
        self.languages: tuple[str, ...] = ()
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="whisper")
        _check_name(settings.model)

    async def start(self) -> None:
        """See `Transcriber`."""
        loop = asyncio.get_running_loop()
        self._model = model = await loop.run_in_executor(self._pool, self._load)
        self.languages = tuple(sorted(model.supported_languages))
        self._check_language(self._settings.language or None)
        second = np.random.default_rng(0).normal(0, 100, RATE).astype(np.int16)  # silence would be skipped
        await self.transcribe(second)

    async def transcribe(
        self, pcm: Pcm16, *, language: str | None = None, prompt: str | None = None
    ) -> Transcript:
        """See `Transcriber`."""
        if self._model is None:
            raise StageError("transcriber", "Whisper has not been started: await start() first")
        language = language or self._settings.language or None
        self._check_language(language)
        prompt = prompt or self._settings.prompt
        abandoned = threading.Event()
        loop = asyncio.get_running_loop()
        seconds = f"{len(pcm) / RATE:.1f} s of audio"
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await loop.run_in_executor(
                    self._pool, self._infer, self._model, pcm, language, prompt, abandoned
                )
        except TimeoutError as error:
            raise StageError(
                "transcriber",
                f"no transcript of {seconds} within {self._settings.timeout_s:g} s (stt.timeout_s): "
                "use a smaller stt.model, or more stt.workers if the machine has cores to spare",
            ) from error
        except VoiceAgentError:
            raise
        except Exception as error:  # CTranslate2 and its friends share no base
            raise StageError("transcriber", f"Whisper failed on {seconds}: {error}") from error
        finally:
            abandoned.set()

    async def close(self) -> None:
        """See `Transcriber`."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
        self._model = None

    def _load(self) -> WhisperModel:
        path = _locate(self._settings.model, self._models)
        device = self._settings.device
        if device == "auto":
            device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        try:
            return WhisperModel(
                str(path),
                device=device,
                compute_type=self._settings.compute_type or ("float16" if device == "cuda" else "int8"),
                # Beyond four threads Whisper gains little, and the LLM and the voice want cores too.
                cpu_threads=max(1, min(4, (os.cpu_count() or 1) // self._settings.workers)),
                num_workers=self._settings.workers,
            )
        except Exception as error:  # RuntimeError, ValueError, and whatever the tokenizer raises
            raise StageError(
                "transcriber",
                f"Whisper {self._settings.model} could not be loaded on {device} from {path}: {error}. "
                "Check stt.device, stt.compute_type and the folder.",
            ) from error

    def _check_language(self, language: str | None) -> None:
        if language and language not in self.languages:
            raise StageError(
                "transcriber",
                f"language {language!r} is not one that Whisper {self._settings.model} hears "
                f"({', '.join(self.languages)}); for others set stt.model to a multilingual one, such as base",
            )

    def _infer(
        self,
        model: WhisperModel,
        pcm: Pcm16,
        language: str | None,
        prompt: str | None,
        abandoned: threading.Event,
    ) -> Transcript:
        """Runs on a worker's thread."""
        seconds = min(len(pcm) / RATE, WINDOW_S)
        if loudest(pcm) < INAUDIBLE:
            return Transcript(
                "", language or "", avg_logprob=-math.inf, no_speech_prob=1, compression_ratio=0
            )
        segments, info = model.transcribe(
            to_float(pcm),
            language=language,
            initial_prompt=prompt,
            beam_size=self._settings.beam_size,
            condition_on_previous_text=False,
            # Timestamps cost tokens, and only tell where the next window starts.
            without_timestamps=len(pcm) <= WINDOW_S * RATE,
            # One more try, and only at a text that repeats itself (none of 114 utterances did; it is the one
            # step that chance has a part in). A guess does not get better by sampling.
            temperature=(0.0, 0.4),
            best_of=1,
            compression_ratio_threshold=REPEATS,
            log_prob_threshold=None,
            no_speech_threshold=None,
            # The fastest English measured has 10 tokens a second: what goes far beyond is a loop.
            max_new_tokens=min(MAX_TOKENS, round(20 + 15 * seconds)),
        )
        heard: list[Segment] = []
        invented: list[Segment] = []
        for segment in segments:
            (heard if has_words(segment) else invented).append(segment)
            if abandoned.is_set():
                break
        return _transcript(heard, invented, info.language)


def loudest(pcm: Pcm16) -> float:
    """Root mean square of the loudest 20 ms, in units of a sample; 0 without audio."""
    whole = np.pad(pcm, (0, -len(pcm) % FRAME)).reshape(-1, FRAME).astype(np.float32)
    return math.sqrt(float((whole**2).mean(axis=1).max(initial=0)))


def has_words(segment: Segment) -> bool:
    """Whether `segment` is speech that was heard, rather than a text that Whisper made up for noise."""
    words = " ".join(re.findall(r"\w+", segment.text.lower()))
    if not words or segment.compression_ratio > REPEATS:
        return False
    doubt = segment.no_speech_prob - LOGPROB_WEIGHT * segment.avg_logprob
    return bool(doubt < (MAX_DOUBT_STOCK if words in STOCK else MAX_DOUBT))


def _transcript(heard: Sequence[Segment], invented: Sequence[Segment], language: str) -> Transcript:
    """Join segments; the evidence is of those that were heard, or of all where none was."""
    evidence = heard or invented
    tokens = sum(len(segment.tokens) for segment in evidence)
    return Transcript(
        text=" ".join(segment.text.strip() for segment in heard),
        language=language,
        avg_logprob=sum(s.avg_logprob * len(s.tokens) for s in evidence) / tokens if tokens else -math.inf,
        no_speech_prob=min((segment.no_speech_prob for segment in evidence), default=1.0),
        compression_ratio=max((segment.compression_ratio for segment in evidence), default=0.0),
        discarded=" ".join(segment.text.strip() for segment in invented),
    )


def _check_name(model: str) -> None:
    if Path(model).expanduser().is_dir() or f"whisper-{model}" in catalog() or model in available_models():
        return
    ours = sorted(n.removeprefix("whisper-") for n in catalog() if n.startswith("whisper-"))
    others = sorted(set(available_models()) - set(ours))
    raise SettingsError(
        f"stt.model is {model!r}, which is neither a known model nor a folder. Known: {', '.join(ours)}; "
        f"and from Hugging Face: {', '.join(others)}"
    )


def _locate(model: str, models: ModelsSettings) -> Path:
    """The folder that holds `model`, fetched if need be.

    Raises:
        SettingsError: a folder that holds no model.
        WeightsError: it can't be had.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "model.bin").is_file():
            raise SettingsError(
                f"stt.model: {folder} has no model.bin; name a folder in CTranslate2's format"
            )
        return folder
    if f"whisper-{model}" in catalog():
        return ensure(f"whisper-{model}", directory=models.dir, offline=models.offline)
    cache = models.dir.expanduser() / "huggingface"
    try:
        return Path(download_model(model, cache_dir=str(cache), local_files_only=models.offline))
    except Exception as error:  # of huggingface_hub, httpx or the file system
        raise WeightsError(
            f"Whisper {model} could not be fetched from Hugging Face into {cache}: {error}. "
            "Check the network and models.offline, or set stt.model to a model of "
            "`voice-agent models list` or to a folder in CTranslate2's format."
        ) from error
