"""Coqui's XTTS in memory. Imports torch: only `xtts.py` imports this, and only when it starts."""

import copy
import sys
import textwrap
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from voice_agent.audio import read_audio, to_float
from voice_agent.errors import SettingsError, WeightsError
from voice_agent.stages.synthesizer.edges import Audio


def _import_torchaudio() -> None:
    """Import torchaudio, without its compiled extension if that cannot be loaded.

    The only builds of it on the package index are for CUDA, and their extension fails to load beside a torch
    for the CPU. All that XTTS uses is Python. torchaudio itself goes on without the extension where its file
    is missing; this gives it the same answer where the file is there and useless.
    """
    try:
        import torchaudio
    except OSError:
        extension = types.ModuleType("torchaudio._extension")
        extension._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
        extension._IS_ALIGN_AVAILABLE = False  # type: ignore[attr-defined]
        extension.fail_if_no_align = lambda function: function  # type: ignore[attr-defined]
        sys.modules[extension.__name__] = extension
        import torchaudio  # noqa: F401


_import_torchaudio()

from TTS.tts.configs.xtts_config import XttsConfig  # noqa: E402
from TTS.tts.models.xtts import Xtts  # noqa: E402
from TTS.utils.manage import ModelManager  # noqa: E402

COQUI_NAME: Final = "tts_models/multilingual/multi-dataset/xtts_v2"
"""Coqui's name for the weights."""
CHUNK_TOKENS: Final = 20
"""Audio tokens in a piece: 0.93 s. Coqui's own choice; each piece decodes the whole sentence again."""
MOST_CHARACTERS: Final = 250
"""Of one part of a text in a language for which XTTS's tokenizer has no limit; its own default."""
CLONE_RATE: Final = 22_050
"""Rate at which XTTS listens to a voice that it takes on, hertz."""
CLONE_LEAST_S: Final = 1.0
"""Least that it needs to hear, seconds (its own limit is 0.33, its authors ask for 3 to 6)."""


def download(directory: Path) -> Path:
    """The folder with Coqui's weights, fetched into Hugging Face's cache by Coqui's model manager if need be.

    The manager wants the environment variable COQUI_TOS_AGREED to be 1, and a place (`directory`) of its own.

    Raises:
        WeightsError: they can't be fetched.
    """
    try:
        weights, _, _ = ModelManager(output_prefix=directory, progress_bar=True).download_model(COQUI_NAME)
    except Exception as error:  # whatever its HTTP clients raise
        raise WeightsError(
            f"{COQUI_NAME} could not be downloaded ({error}). Set tts.checkpoint to a folder that has it."
        ) from error
    return Path(weights).parent


class _Stop(StoppingCriteria):  # type: ignore[misc, unused-ignore]  # untyped where it is not installed
    """Ends the generation of tokens once an event is set."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        return torch.full(
            (input_ids.shape[0],), self._stop.is_set(), dtype=torch.bool, device=input_ids.device
        )


class XttsModel:
    """A checkpoint in memory, with the voices that it can speak in."""

    def __init__(self, folder: Path, speaker_wav: Path | None) -> None:
        """Load onto the GPU if there is one.

        Raises:
            SettingsError: `speaker_wav` can't be read.
            WeightsError: the checkpoint holds no speaker, and none was given.
        """
        self._config = XttsConfig()
        self._config.load_json(folder / "config.json")
        self._model = Xtts(self._config)
        self._model.load_checkpoint(self._config, checkpoint_dir=folder)
        # In float32, as Coqui runs it: what half precision does to the voice was not measured.
        torch.set_float32_matmul_precision("high")
        self._model.to("cuda" if torch.cuda.is_available() else "cpu")
        self.languages: tuple[str, ...] = tuple(self._config.languages)
        self.voices: dict[str, tuple[Any, Any]] = {}
        if speaker_wav:
            self.voices[speaker_wav.stem] = self._clone(speaker_wav)
        if self._model.speaker_manager:
            for name, parts in self._model.speaker_manager.speakers.items():
                self.voices[name] = parts["gpt_cond_latent"], parts["speaker_embedding"]
        if not self.voices:
            raise WeightsError(f"{folder} has no speakers_xtts.pth. Put it there, or set tts.speaker_wav.")

    def parts(self, text: str, language: str) -> list[str]:
        """`text` cut between words, each part as long as XTTS says that it can speak the language at a time."""
        limit = self._model.tokenizer.char_limits.get(language.split("-")[0], MOST_CHARACTERS)
        return [text] if len(text) <= limit else textwrap.wrap(text, limit)

    def pieces(
        self, text: str, voice: str, language: str, speed: float, stop: threading.Event
    ) -> Iterator[Audio]:
        """Consecutive pieces of the sound of one sentence; they end early once `stop` is set."""
        latents, embedding = self.voices[voice]
        config = self._config
        stream = _view(self._model).inference_stream(
            text,
            language,
            latents,
            embedding,
            stream_chunk_size=CHUNK_TOKENS,
            temperature=config.temperature,
            length_penalty=config.length_penalty,
            repetition_penalty=config.repetition_penalty,
            top_k=config.top_k,
            top_p=config.top_p,
            speed=speed,
            stopping_criteria=StoppingCriteriaList([_Stop(stop)]),
        )
        for piece in stream:
            yield piece.float().cpu().numpy().astype(np.float32, copy=False)

    def _clone(self, recording: Path) -> tuple[Any, Any]:
        """The voice heard in a recording, which Coqui would read by torchcodec; that may not load either."""
        config, model = self._config, self._model
        audio = torch.from_numpy(to_float(read_audio(recording.expanduser(), CLONE_RATE)))[None]
        audio = audio[:, : CLONE_RATE * config.max_ref_len]
        if audio.shape[1] < CLONE_RATE * CLONE_LEAST_S:
            raise SettingsError(
                f"tts.speaker_wav: {recording} is shorter than {CLONE_LEAST_S} s; give 6 s or more."
            )
        latents = model.get_gpt_cond_latents(
            audio, CLONE_RATE, length=config.gpt_cond_len, chunk_length=config.gpt_cond_chunk_len
        )
        return latents, model.get_speaker_embedding(audio, CLONE_RATE)


def _view(model: Any) -> Any:
    """A model for one stream, which shares the weights.

    XTTS keeps the text and the voice of the request at hand on the module that generates tokens, so that two
    requests on one model speak each other's words. Copied are only the modules on the way to that one.
    """
    view = _twin(model)
    view.gpt = _twin(model.gpt)
    view.gpt.gpt_inference = _twin(model.gpt.gpt_inference)
    return view


def _twin(module: Any) -> Any:
    """A copy of a module, with the same parameters and submodules; what is set on it stays its own."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin
