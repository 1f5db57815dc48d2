"""The engines that all sessions share, chosen by the settings."""

from dataclasses import dataclass, field
from typing import Protocol, Self, runtime_checkable

from voice_agent.config import LlmSettings, ModelsSettings, Settings
from voice_agent.load import Load
from voice_agent.models import catalog
from voice_agent.speculation import Speculation
from voice_agent.speeds import Speeds
from voice_agent.stages import endpoint
from voice_agent.stages.chunker import Chunker, SentenceChunker
from voice_agent.stages.endpoint import Endpoint, NoEndpoint, SmartTurn
from voice_agent.stages.generator import Generator
from voice_agent.stages.generator.endpoint import is_configured
from voice_agent.stages.generator.llamacpp import EMBEDDED_MODEL, LlamaCppGenerator
from voice_agent.stages.generator.openai_api import OpenAIGenerator
from voice_agent.stages.synthesizer import Synthesizer
from voice_agent.stages.transcriber import FasterWhisper, Transcriber
from voice_agent.stages.vad import Vad, build_vad


class Engine(Protocol):
    """Common to the engines of all stages."""

    async def start(self) -> None:
        """Load, and do the work once."""

    async def close(self) -> None:
        """Free everything."""


@runtime_checkable
class Checked(Protocol):
    """Common to the engines that can cease to work: their threads can hang, or their process not start."""

    @property
    def healthy(self) -> bool:
        """Whether it can still work, as far as is known. Where its threads hang: see `stages/pool.py`."""


@runtime_checkable
class Explained(Checked, Protocol):
    """One that ceases to work for other reasons than threads that hang."""

    @property
    def ailment(self) -> str:
        """Says what is wrong while it is not healthy, and what to do or what is being done."""


@dataclass(frozen=True)
class Engines:
    """One engine for each stage."""

    vad: Vad
    endpoint: Endpoint
    transcriber: Transcriber
    generator: Generator
    chunker: Chunker
    synthesizer: Synthesizer
    speculation: Speculation = field(default_factory=Speculation)
    """How much of them may go into responses that are not yet due."""
    load: Load = field(default_factory=Load)
    """How much of the machine they take, and whether one more conversation can be served."""
    speeds: Speeds = field(default_factory=Speeds)
    """How fast they work at present."""

    @classmethod
    def build(cls, settings: Settings) -> Self:
        """The engines that the settings name; nothing is loaded yet."""
        return cls(
            vad=build_vad(settings.vad),
            endpoint=SmartTurn(settings.models) if settings.turn.detector == "smart-turn" else NoEndpoint(),
            transcriber=FasterWhisper(settings.stt, settings.models),
            generator=build_generator(settings.llm, settings.models),
            chunker=SentenceChunker(),
            synthesizer=build_synthesizer(settings),
            speculation=Speculation(settings.turn.prepare),
            load=Load(limit if isinstance(limit := settings.server.max_conversations, int) else None),
        )

    def all(self) -> tuple[Engine, ...]:
        """Those that have something to load."""
        return (self.vad, self.endpoint, self.transcriber, self.generator, self.synthesizer)

    @property
    def hung(self) -> str | None:
        """Says what is wrong if an engine can't work any more; None while all can."""
        for engine in self.all():
            if isinstance(engine, Checked) and not engine.healthy:
                if isinstance(engine, Explained):
                    return engine.ailment
                return f"too many threads of {type(engine).__name__} hang; restart the server"
        return None


def build_synthesizer(settings: Settings) -> Synthesizer:
    """The voice that `tts.engine` names; its module, and what that imports, is loaded only now."""
    match settings.tts.engine:
        case "piper":
            from voice_agent.stages.synthesizer.piper import PiperSynthesizer

            return PiperSynthesizer(settings.tts, settings.models)
        case "kokoro":
            from voice_agent.stages.synthesizer.kokoro import KokoroSynthesizer

            return KokoroSynthesizer(settings.tts, settings.models)
        case "xtts":
            from voice_agent.stages.synthesizer.xtts import XttsSynthesizer

            return XttsSynthesizer(settings.tts, settings.models)


def needed_weights(settings: Settings) -> list[str]:
    """The catalogue's names for what the engines will load; nothing for an API, or a file of the user's own."""
    names = [f"whisper-{settings.stt.model}"]
    if settings.turn.detector == "smart-turn":
        names.append(endpoint.WEIGHTS)
    if not _uses_api(settings.llm):
        names.append(settings.llm.model or EMBEDDED_MODEL)
    match settings.tts.engine:
        case "piper":
            from voice_agent.stages.synthesizer import piper

            names.append(f"{piper.CATALOG_PREFIX}{settings.tts.voice or piper.DEFAULT_VOICE}")
        case "kokoro":
            from voice_agent.stages.synthesizer import kokoro

            names.append(kokoro.WEIGHTS)
        case "xtts":
            pass
    return [name for name in names if name in catalog()]


def build_generator(settings: LlmSettings, models: ModelsSettings) -> Generator:
    """The engine that the settings ask for; with `auto` the API where a base URL or a key is set.

    Raises:
        SettingsError: the API is asked for, but neither is set; or the URL or a proxy can't be used.
    """
    return OpenAIGenerator(settings) if _uses_api(settings) else LlamaCppGenerator(settings, models)


def _uses_api(settings: LlmSettings) -> bool:
    return settings.engine == "openai" or (settings.engine == "auto" and is_configured(settings))
