"""Finds the faults of the settings that can be known before anything is loaded.

The service tries an engine again that could not be started, for an endpoint may come up after it. What no waiting mends
is found here, where a person sees it.
"""

from importlib.util import find_spec
from pathlib import Path

import ctranslate2
from faster_whisper.tokenizer import _LANGUAGE_CODES

from voice_agent.config import LlmSettings, Settings, SttSettings, TtsSettings
from voice_agent.dialogue.items import LEAST_ROOM
from voice_agent.dialogue.options import check_instructions
from voice_agent.errors import SettingsError
from voice_agent.models import catalog
from voice_agent.stages.generator import Generator
from voice_agent.stages.generator.openai_api import OpenAIGenerator
from voice_agent.stages.transcriber.weights import check_name


def check(settings: Settings, generator: Generator) -> None:
    """Look at what the settings name.

    Raises:
        SettingsError: one names what is not there, or what this machine can't do.
    """
    check_name(settings.stt.model)
    _check_transcriber(settings.stt)
    if not isinstance(generator, OpenAIGenerator):
        _check_embedded(settings.llm)
    _check_room(settings.llm)
    if settings.tts.engine == "xtts":
        _check_xtts(settings.tts)


def _check_transcriber(stt: SttSettings) -> None:
    heard = ("en",) if stt.model.endswith(".en") else _LANGUAGE_CODES
    if stt.language and stt.language not in heard:
        raise SettingsError(
            f"stt.language: {stt.language!r} is none that Whisper {stt.model} hears ({', '.join(heard)}); for others "
            "set stt.model to a multilingual one, such as base"
        )
    gpus = ctranslate2.get_cuda_device_count()
    if stt.device == "cuda" and not gpus:
        raise SettingsError("stt.device is cuda, but CUDA finds no GPU here: set it to auto or cpu")
    device = "cuda" if gpus and stt.device != "cpu" else "cpu"
    # The first two are CTranslate2's own for "whatever is quickest".
    known = {"auto", "default", *ctranslate2.get_supported_compute_types(device)}
    if stt.compute_type and stt.compute_type not in known:
        raise SettingsError(
            f"stt.compute_type: {stt.compute_type!r} is none that the {device} here has: {', '.join(sorted(known))}"
        )


def _check_room(llm: LlmSettings) -> None:
    if llm.context_tokens - llm.max_tokens < LEAST_ROOM:
        raise SettingsError(
            f"llm.max_tokens: replies of {llm.max_tokens} tokens leave a conversation no room in "
            f"llm.context_tokens={llm.context_tokens}: lower the one or raise the other"
        )
    try:
        check_instructions(llm.system_prompt or "", llm)
    except SettingsError as error:
        raise SettingsError(f"llm.system_prompt: {error}") from None


def _check_embedded(llm: LlmSettings) -> None:
    if llm.model is None:
        return
    if llm.model.endswith(".gguf"):
        if not Path(llm.model).expanduser().is_file():
            raise SettingsError(f"llm.model: {llm.model}: no such file")
        return
    offered = [name for name, weights in catalog().items() if weights.files[0].path.endswith(".gguf")]
    if llm.model not in offered:
        raise SettingsError(
            f"llm.model: {llm.model!r} is none of the embedded models ({', '.join(offered)}), nor a path to a .gguf "
            "file. For an API's model set llm.base_url (VOICE_AGENT_LLM__BASE_URL), or OPENAI_API_KEY"
        )


def _check_xtts(tts: TtsSettings) -> None:
    if find_spec("TTS") is None:
        raise SettingsError(
            "tts.engine is xtts, but Coqui TTS is not installed: run `make xtts`, or set it to piper or kokoro"
        )
    if tts.checkpoint and not tts.checkpoint.expanduser().is_dir():
        raise SettingsError(f"tts.checkpoint: {tts.checkpoint}: no such folder")
    if tts.speaker_wav and not tts.speaker_wav.expanduser().is_file():
        raise SettingsError(f"tts.speaker_wav: {tts.speaker_wav}: no such file")
