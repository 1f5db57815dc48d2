"""Kokoro: the better voice for a CPU with time to spare. StyleTTS 2 under ONNX Runtime."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Final

import numpy as np
from kokoro_onnx.chunker import split_phonemes
from kokoro_onnx.config import MAX_PHONEME_LENGTH, SAMPLE_RATE
from kokoro_onnx.tokenizer import Tokenizer
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from voice_agent.audio import Pcm16, frames, to_pcm16
from voice_agent.config import ModelsSettings, TtsSettings
from voice_agent.errors import StageError
from voice_agent.models import catalog, ensure
from voice_agent.stages.onnx_session import open_session
from voice_agent.stages.onnx_stop import OnnxStop
from voice_agent.stages.synthesizer.edges import Audio, Edges, pause_ms
from voice_agent.stages.synthesizer.text import legible, speakable
from voice_agent.stages.synthesizer.voices import check_voice, default_first
from voice_agent.stages.worker import Worker
from voice_agent.urgency import Need

WEIGHTS: Final = "kokoro-82m-v1.0-int8"
DEFAULT_VOICE: Final = "af_heart"
"""The one that Kokoro's authors grade best (VOICES.md of hexgrad/Kokoro-82M)."""
STYLE_SHAPE: Final = (MAX_PHONEME_LENGTH, 256)
"""A voice: one style for each number of phonemes."""
LANGUAGES: Final = {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}
"""espeak's name for the language of a voice, by the first letter of its name. Japanese (j) and Chinese (z)
are left out: espeak does not read their scripts well enough for these voices."""
MOST_PHONEMES: Final = 200
"""In one run, of the model's 510: 10 s of sound, made in 3.3 s on two cores with 230 MB; 510 take 8.6 s and 640 MB."""
WARM_UP: Final = "Hello there."
SENTENCE_END: Final = ".!?…"


class KokoroSynthesizer:
    """A `Synthesizer` that runs Kokoro. It makes a sentence at a time: the model speaks no less."""

    def __init__(self, settings: TtsSettings, models: ModelsSettings) -> None:
        """Raises SettingsError: no such voice."""
        self._default = settings.voice or DEFAULT_VOICE
        offered = [
            Path(file.path).stem for file in catalog()[WEIGHTS].files if file.path.startswith("voices/")
        ]
        check_voice("tts.voice", self._default, offered)
        self._settings = settings
        self._models = models
        self._worker = Worker("synthesizer", threads=settings.workers, timeout_s=settings.timeout_s)
        self._engine: _Engine | None = None
        self.rate: int = SAMPLE_RATE
        self.voices: tuple[str, ...] = ()

    async def start(self) -> None:
        """Load the model and say hello; see `Synthesizer`."""
        self._engine = await self._worker.load(self._load)
        self.voices = default_first(self._engine.styles, self._default)
        async for _ in self.stream(WARM_UP):
            pass

    def stream(
        self, text: str, *, voice: str | None = None, language: str | None = None, need: Need | None = None
    ) -> AsyncGenerator[Pcm16, None]:
        """Speak `text`; see `Synthesizer`. `language` is the voice's own.

        Raises:
            SettingsError: the voice is unknown.
            StageError: the engine failed, or took longer than `tts.timeout_s` for a piece.
        """
        stop = OnnxStop()
        return self._worker.stream(self._speak(text, voice, stop), stop, need)

    @property
    def healthy(self) -> bool:
        """See `Checked` of `engines.py`."""
        return self._worker.healthy

    async def close(self) -> None:
        """Free the model; see `Synthesizer`."""
        await self._worker.close()
        self._engine = None

    def speaks(self, voice: str | None, language: str | None) -> str | None:
        """The voice's language; see `Synthesizer`."""
        return LANGUAGES.get((voice or self._default)[:1])

    def _load(self) -> "_Engine":
        return _Engine(ensure(WEIGHTS, directory=self._models.dir, offline=self._models.offline))

    def _speak(self, text: str, voice: str | None, stop: OnnxStop) -> Generator[Pcm16, None, None]:
        if self._engine is None:
            raise StageError("synthesizer", "Kokoro was not started")
        name = voice or self.voices[0]
        check_voice("voice", name, self.voices)
        if not speakable(text):
            return
        for sentence in self._engine.sentences(legible(text), name):
            edges = Edges(self.rate)
            sound = edges.feed(self._engine.say(sentence, name, self._settings.speed, stop))
            pcm = to_pcm16(np.concatenate([sound, edges.finish(pause_ms(sentence))]))
            yield from frames(
                pcm, self.rate, pad=False
            )  # a second at a time: it is resampled on the event loop


class _Engine:
    """The model and its voices in memory."""

    def __init__(self, folder: Path) -> None:
        (model,) = folder.glob("*.onnx")
        self._session: InferenceSession = open_session(model)
        self._tokenizer = Tokenizer()
        self.styles: dict[str, NDArray[np.float32]] = {
            file.stem: np.memmap(file, "<f4", "r", shape=STYLE_SHAPE)
            for file in folder.glob("voices/*.bin")
            if file.stem[0] in LANGUAGES
        }

    def sentences(self, text: str, voice: str) -> list[str]:
        """Phonemes, a sentence at a time; one that is too long for the model is cut where it hurts least."""
        phonemes = " ".join(self._tokenizer.phonemize(text, LANGUAGES[voice[0]]).split())
        for mark in SENTENCE_END:
            phonemes = phonemes.replace(f"{mark} ", f"{mark}\n")
        parts = [part for line in phonemes.split("\n") for part in split_phonemes(line, MOST_PHONEMES)]
        return [part for part in parts if speakable(part)]

    def say(self, phonemes: str, voice: str, speed: float, stop: OnnxStop) -> Audio:
        """The sound of at most 510 phonemes, with the model's silence around it; raises once `stop` is set."""
        tokens = self._tokenizer.tokenize(phonemes)
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": np.array(self.styles[voice][len(tokens) - 1 :][:1]),
            "speed": np.array([speed], np.float32),
        }
        sound: Audio = self._session.run(None, inputs, stop.options)[0]
        return sound
