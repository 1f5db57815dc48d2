"""Which Whisper: where its weights are, and how they are loaded."""

import os
from pathlib import Path
from typing import Final

import ctranslate2
from faster_whisper import WhisperModel, available_models, download_model

from voice_agent.config import ModelsSettings, SttSettings
from voice_agent.errors import SettingsError, StageError, WeightsError
from voice_agent.models import catalog, ensure

THREADS: Final = max(1, min(4, (os.cpu_count() or 1) // 2))
"""Threads of one transcript: half of the cores. On two cores a second thread made a transcript no sooner, by tiny.en or
by base, and a transcript on one thread takes no longer beside another one (see `docs/latency.md`)."""


def check_name(model: str) -> None:
    """Refuse a name that means no model.

    Raises:
        SettingsError: `model` is neither a known name nor a folder with a model.
    """
    if _folder(model) or f"whisper-{model}" in catalog() or model in available_models():
        return
    ours = sorted(n.removeprefix("whisper-") for n in catalog() if n.startswith("whisper-"))
    others = sorted(set(available_models()) - set(ours))
    raise SettingsError(
        f"stt.model is {model!r}, which is neither a known model nor a folder. Known: {', '.join(ours)}; "
        f"and from Hugging Face: {', '.join(others)}"
    )


def _folder(model: str) -> Path | None:
    """The folder that `model` is the path of, if it is one.

    Raises:
        SettingsError: a folder that holds no model.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return None
    if not (folder / "model.bin").is_file():
        raise SettingsError(f"stt.model: {folder} has no model.bin; name a folder in CTranslate2's format")
    return folder


def load(settings: SttSettings, models: ModelsSettings) -> WhisperModel:
    """The model that the settings name, on the device that they name.

    Raises:
        SettingsError: they name a folder that holds no model.
        WeightsError: the weights can't be had.
        StageError: the model could not be loaded.
    """
    path = _locate(settings.model, models)
    device = settings.device
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    try:
        return WhisperModel(
            str(path),
            device=device,
            compute_type=settings.compute_type or ("float16" if device == "cuda" else "int8"),
            cpu_threads=THREADS,
            num_workers=settings.workers,
        )
    except Exception as error:  # RuntimeError, ValueError, and whatever the tokenizer raises
        raise StageError(
            "transcriber",
            f"Whisper {settings.model} could not be loaded on {device} from {path}: {error}. "
            "Check stt.device, stt.compute_type and the folder.",
        ) from error


def _locate(model: str, models: ModelsSettings) -> Path:
    """The folder that holds `model`, fetched if need be.

    Raises:
        SettingsError: a folder that holds no model.
        WeightsError: it can't be had.
    """
    if folder := _folder(model):
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
