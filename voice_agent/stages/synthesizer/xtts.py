"""XTTS: the GPU voice, with cloning. Coqui's model, streamed by its own `inference_stream`.

The code (coqui-tts) is MPL-2.0. Coqui's weights are under the CPML, which allows no commercial use.
"""

import os
import threading
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from voice_agent.audio import Pcm16, to_pcm16
from voice_agent.config import ModelsSettings, TtsSettings
from voice_agent.errors import SettingsError, StageError, WeightsError
from voice_agent.stages.synthesizer.edges import Edges, pause_ms
from voice_agent.stages.synthesizer.text import legible, speakable
from voice_agent.stages.synthesizer.voices import check_voice, default_first
from voice_agent.stages.worker import Worker
from voice_agent.urgency import Need

if TYPE_CHECKING:
    from voice_agent.stages.synthesizer.xtts_model import XttsModel

RATE: Final = 24_000
CHECKPOINT_FILES: Final = ("config.json", "model.pth", "vocab.json")
LICENCE_NOTE: Final = (
    "Coqui's XTTS weights are licensed for non-commercial use only (CPML, https://coqui.ai/cpml). If you "
    "accept that, set COQUI_TOS_AGREED=1 to download them (1.9 GB; not with models.offline), or set "
    "tts.checkpoint to a folder with them."
)
WARM_UP: Final = "Hello there."


class XttsSynthesizer:
    """A `Synthesizer` that runs XTTS, on a GPU if there is one."""

    def __init__(self, settings: TtsSettings, models: ModelsSettings) -> None:
        self._settings = settings
        self._models = models
        self._worker = Worker("synthesizer", threads=settings.workers, timeout_s=settings.timeout_s)
        self._model: XttsModel | None = None
        self.rate: int = RATE
        self.voices: tuple[str, ...] = ()

    async def start(self) -> None:
        """Load the checkpoint and say hello; see `Synthesizer`.

        Raises:
            SettingsError: `tts.voice` or `tts.speaker_wav` is not there.
        """
        self._model = await self._worker.load(self._load)
        self.voices = default_first(
            self._model.voices, self._settings.voice or next(iter(self._model.voices))
        )
        async for _ in self.stream(WARM_UP):
            pass

    def stream(
        self, text: str, *, voice: str | None = None, language: str | None = None, need: Need | None = None
    ) -> AsyncGenerator[Pcm16, None]:
        """Speak `text`, in English by default; see `Synthesizer`.

        Raises:
            SettingsError: the voice or the language is unknown.
            StageError: the engine failed, or took longer than `tts.timeout_s` for a piece.
        """
        stop = threading.Event()
        return self._worker.stream(self._speak(text, voice, language or "en", stop), stop, need)

    @property
    def healthy(self) -> bool:
        """See `Checked` of `engines.py`."""
        return self._worker.healthy

    async def close(self) -> None:
        """Free the model; see `Synthesizer`."""
        await self._worker.close()
        self._model = None

    def speaks(self, voice: str | None, language: str | None) -> str | None:
        """The language that is asked for, English by default; see `Synthesizer`."""
        return language or "en"

    def _load(self) -> "XttsModel":
        folder = self._settings.checkpoint
        if folder:
            _check_complete(folder.expanduser())
        elif self._models.offline or os.environ.get("COQUI_TOS_AGREED") != "1":
            raise WeightsError(f"tts.checkpoint is not set. {LICENCE_NOTE}")
        try:
            from voice_agent.stages.synthesizer import xtts_model
        except ImportError as error:
            raise StageError(
                "synthesizer",
                f"tts.engine: XTTS needs packages that are not installed ({error}). Run `make xtts`.",
            ) from error
        folder = folder or xtts_model.download(self._models.dir)
        return xtts_model.XttsModel(folder.expanduser(), self._settings.speaker_wav)

    def _speak(
        self, text: str, voice: str | None, language: str, stop: threading.Event
    ) -> Generator[Pcm16, None, None]:
        if self._model is None:
            raise StageError("synthesizer", "XTTS was not started")
        name = voice or self.voices[0]
        check_voice("voice", name, self.voices)
        spoken = {known.split("-")[0] for known in self._model.languages}  # it knows "zh-cn" and takes "zh"
        if language.split("-")[0] not in spoken:
            raise SettingsError(
                f"language: XTTS does not speak {language!r}; it speaks {', '.join(self._model.languages)}."
            )
        if not speakable(text):
            return
        for part in self._model.parts(legible(text), language):
            edges = Edges(self.rate)
            for audio in self._model.pieces(part, name, language, self._settings.speed, stop):
                if len(sound := edges.feed(audio)):
                    yield to_pcm16(sound)
            if len(end := edges.finish(pause_ms(part))):
                yield to_pcm16(end)


def _check_complete(folder: Path) -> None:
    missing = [name for name in CHECKPOINT_FILES if not (folder / name).is_file()]
    if missing:
        raise WeightsError(f"tts.checkpoint: {folder} has no {', '.join(missing)}. {LICENCE_NOTE}")
