"""Whisper through faster-whisper and CTranslate2."""

import math
import threading
from collections.abc import Sequence
from typing import Final

import numpy as np
from faster_whisper import WhisperModel

from voice_agent.audio import RATE, Pcm16, to_float
from voice_agent.config import ModelsSettings, SttSettings
from voice_agent.errors import StageError
from voice_agent.stages.transcriber.evidence import Piece, audible
from voice_agent.stages.transcriber.transcript import Transcript
from voice_agent.stages.transcriber.weights import check_name, load
from voice_agent.stages.transcriber.window import MAX_TOKENS, WINDOW_S, Window, text_limit
from voice_agent.stages.worker import TookTooLongError, Worker
from voice_agent.urgency import Need

UNSURE: Final = -0.3
"""Mean log-probability of the likeliest token at each step, below which texts are compared as a whole (beam search)."""


class FasterWhisper:
    """Whisper on CTranslate2: int8 on a CPU, float16 on a GPU.

    The engine works on a window as long as the utterance (see `Window`); a text that looks like a loop is
    decoded again on Whisper's whole window, and an utterance longer than that by faster-whisper itself.
    """

    def __init__(self, settings: SttSettings, models: ModelsSettings) -> None:
        """Check the model's name; loads nothing.

        Raises:
            SettingsError: `settings.model` is neither a known name nor a folder with a model.
        """
        self._settings = settings
        self._models = models
        self._model: WhisperModel | None = None
        self._window: Window | None = None
        self.languages: tuple[str, ...] = ()
        self._worker = Worker("transcriber", threads=settings.workers, timeout_s=settings.timeout_s, spare=1)
        check_name(settings.model)

    async def start(self) -> None:
        """See `Transcriber`."""
        self._model = model = await self._worker.load(lambda: load(self._settings, self._models))
        self._window = await self._worker.load(lambda: Window(model))
        self.languages = tuple(sorted(model.supported_languages))
        self._check_language(self._settings.language or None)
        second = np.random.default_rng(0).normal(0, 100, RATE).astype(np.int16)  # silence would be skipped
        await self.transcribe(second)

    async def transcribe(
        self,
        pcm: Pcm16,
        *,
        language: str | None = None,
        prompt: str | None = None,
        partial: bool = False,
        need: Need | None = None,
    ) -> Transcript:
        """See `Transcriber`."""
        language = language or self._settings.language or None
        prompt = prompt or self._settings.prompt
        if self._model is None:
            raise StageError("transcriber", "Whisper has not been started: await start() first")
        self._check_language(language)
        abandoned = threading.Event()
        try:
            return await self._worker.run(
                lambda: self._infer(pcm, language, prompt, partial, abandoned),
                timeout_s=self._settings.timeout_s,
                need=need,
                stop=abandoned,
            )
        except TookTooLongError as error:
            raise StageError(
                "transcriber",
                f"no transcript of {len(pcm) / RATE:.1f} s of audio within {self._settings.timeout_s:g} s "
                "(stt.timeout_s): use a smaller stt.model, or more stt.workers if the machine has cores to spare",
            ) from error

    @property
    def healthy(self) -> bool:
        """See `Checked` of `engines.py`."""
        return self._worker.healthy

    async def close(self) -> None:
        """See `Transcriber`."""
        await self._worker.close()
        self._model = self._window = None

    def _check_language(self, language: str | None) -> None:
        if language and language not in self.languages:
            raise StageError(
                "transcriber",
                f"language {language!r} is not one that Whisper {self._settings.model} hears "
                f"({', '.join(self.languages)}); for others set stt.model to a multilingual one, such as base",
            )

    def _infer(
        self,
        pcm: Pcm16,
        language: str | None,
        prompt: str | None,
        partial: bool,
        abandoned: threading.Event,
    ) -> Transcript:
        """Runs on a worker's thread."""
        if not audible(pcm):
            return _transcript([], language or "")
        if len(pcm) > WINDOW_S * RATE:
            return self._read_long(pcm, language, prompt, abandoned)
        assert self._window
        window, beam_size = self._window, self._settings.beam_size
        whole = self._settings.window == "whole"
        _check_wanted(abandoned)
        encoded = window.encode(pcm, whole=whole)
        _check_wanted(abandoned)
        spoken = language or window.language(encoded)

        def decode(beam_size: int) -> Piece:
            _check_wanted(abandoned)
            return window.decode(
                encoded,
                language=spoken,
                prompt=prompt,
                beam_size=beam_size,
                most_tokens=text_limit(len(pcm) / RATE),
            )

        piece = decode(1)
        if partial:
            return _transcript([piece], spoken)
        if beam_size > 1 and (piece.avg_logprob < UNSURE or piece.loops):
            piece = decode(beam_size)
        if piece.loops and not whole:
            _check_wanted(abandoned)
            encoded = window.encode(pcm, whole=True)
            piece = decode(beam_size)
        return _transcript([piece], spoken)

    def _read_long(
        self, pcm: Pcm16, language: str | None, prompt: str | None, abandoned: threading.Event
    ) -> Transcript:
        """Window after window, each from where the words of the one before end."""
        assert self._model
        _check_wanted(abandoned)
        segments, info = self._model.transcribe(
            to_float(pcm),
            language=language,
            initial_prompt=prompt,
            beam_size=self._settings.beam_size,
            condition_on_previous_text=False,
            temperature=0.0,
            log_prob_threshold=None,
            no_speech_threshold=None,
            max_new_tokens=MAX_TOKENS,
        )
        pieces = []
        for segment in segments:
            pieces.append(
                Piece(
                    segment.text.strip(),
                    len(segment.tokens),
                    len(segment.tokens) >= MAX_TOKENS,
                    segment.avg_logprob,
                    segment.no_speech_prob,
                    segment.compression_ratio,
                )
            )
            _check_wanted(abandoned)
        return _transcript(pieces, info.language)


def _check_wanted(abandoned: threading.Event) -> None:
    """End what runs if nobody waits for it. CTranslate2 can't be stopped within a step."""
    if abandoned.is_set():
        raise StageError("transcriber", "nobody waits for this transcript any more")


def _transcript(pieces: Sequence[Piece], language: str) -> Transcript:
    """Join pieces; the evidence is of those that were heard, or of all where none was."""
    heard = [piece for piece in pieces if piece.has_words]
    invented = [piece for piece in pieces if not piece.has_words]
    evidence = heard or invented
    tokens = sum(piece.tokens for piece in evidence)
    return Transcript(
        text=" ".join(piece.text for piece in heard),
        language=language,
        avg_logprob=sum(p.avg_logprob * p.tokens for p in evidence) / tokens if tokens else -math.inf,
        no_speech_prob=min((piece.no_speech_prob for piece in evidence), default=1.0),
        compression_ratio=max((piece.compression_ratio for piece in evidence), default=0.0),
        discarded=" ".join(piece.text for piece in invented),
    )
