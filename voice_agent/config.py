"""Settings: one typed tree, read from defaults, a TOML file, the environment, then flags.

Environment variables start with `VOICE_AGENT_` and put `__` between levels:
`VOICE_AGENT_LLM__BASE_URL`. The file is `voice-agent.toml` in the working directory, or the one that
`VOICE_AGENT_CONFIG` (the flag `--config`) names. A `.env` file is read as the environment is, beneath it.
"""

import difflib
import os
from collections.abc import Collection
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, Union, cast, get_args, get_origin

import platformdirs
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from voice_agent.config_sources import (
    ENV_PREFIX,
    as_json,
    config_file,
    from_environment,
    from_file,
    load_dot_env,
)
from voice_agent.errors import SettingsError
from voice_agent.language import base_language

_UNIONS: Final = (Union, UnionType)

_EXAMPLE: Final = '{"reasoning_effort": "none"}'

SHOWN: Final = 80
"""Characters of a wrong value that its error repeats."""

VadEngine = Literal["cascade", "silero", "webrtcvad"]
LlmEngine = Literal["auto", "openai", "llamacpp"]
TtsEngine = Literal["piper", "kokoro", "xtts"]
Eagerness = Literal["low", "auto", "high"]


class Section(BaseModel):
    """One branch of the tree; a key that is not declared is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_text(cls, value: object, info: ValidationInfo) -> object:
        return _read(cls, value, info)


def _read(model: type[BaseModel], value: object, info: ValidationInfo) -> object:
    """A text as it is meant: without the white space around it, as a Kubernetes secret often ends in a new line.

    An environment variable can only say "nothing" by being empty. That is the default; or none, where the setting
    can be none.
    """
    if not isinstance(value, str):
        return value
    field = model.model_fields[cast(str, info.field_name)]
    if text := value.strip():
        if any("\ud800" <= sign <= "\udfff" for sign in text):  # how Python keeps what it can't decode
            raise ValueError("is not text in UTF-8")
        return as_json(text) if _holds_more(field.annotation) else text
    return None if type(None) in get_args(field.annotation) else field.get_default(call_default_factory=True)


def _holds_more(annotation: object) -> bool:
    """Whether a setting holds other settings, or several values."""
    kinds = [annotation, *get_args(annotation)] if get_origin(annotation) in _UNIONS else [annotation]
    classes = [kind for kind in (get_origin(kind) or kind for kind in kinds) if isinstance(kind, type)]
    return any(
        issubclass(kind, Section) or (issubclass(kind, Collection) and not issubclass(kind, str))
        for kind in classes
    )


class ServerSettings(Section):
    """Where the service listens, and how much it takes on."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` for every one that the machine has."""
    port: int = Field(3000, ge=1, le=65535)
    max_sessions: PositiveInt = 32
    """Sessions at once; one more is refused before it starts."""
    max_conversations: PositiveInt | Literal["measured"] | None = None
    """Sessions that may talk at once, each for half a minute from its last turn on; one more hears that all lines are
    busy. `measured`: as many as this machine was measured to serve. By default there is no limit."""
    idle_s: float = Field(60.0, ge=0)
    """How long a client may send nothing at all, neither audio nor requests, before it is let go; 0 for ever."""


class VadSettings(Section):
    """Voice-activity detection."""

    engine: VadEngine = "cascade"
    """`cascade`: webrtcvad as a cheap gate, Silero behind it as the judge."""
    threshold: float = Field(0.5, gt=0, lt=1)
    """Speech probability from which a frame counts as speech."""
    webrtc_mode: int = Field(2, ge=0, le=3)
    """Aggressiveness of webrtcvad: 0 lets most through, 3 least."""


class TurnSettings(Section):
    """Taking turns between the user and the agent."""

    eagerness: Eagerness = "auto"
    """How soon a pause is taken for the end of the turn: `high` answers sooner and cuts in more often."""
    start_ms: PositiveInt = 60
    """Speech that opens an utterance."""
    stop_ms: PositiveInt = 60
    """Silence after which a response is prepared."""
    max_utterance_s: PositiveFloat = 60.0
    """An utterance longer than this is ended as if the user had stopped."""
    detector: Literal["smart-turn", "none"] = "smart-turn"
    """The detector that hears from the voice whether a turn is over; `none` goes by the words and the silence alone."""
    prepare: int | None = Field(None, ge=0)
    """Responses prepared at once before their turn is over, in all sessions; 0 prepares none. By default one for
    each core: on a busy machine, work that may be thrown away would delay work that is due."""
    barge_in: bool = True
    """Whether the user can interrupt the agent while they speak; if not, only their turn does, when it is over."""
    echo_guard: bool = True
    """Whether the agent's own voice, heard by the microphone, is told from the user's."""
    filler: str | None = "Let me think."
    """Spoken when a reply is late; empty for nothing."""
    filler_after_ms: PositiveInt = 1500
    """How late that is, counted from the end of the turn."""
    quiet_question: str = "Are you still there?"
    quiet_goodbye: str = "Goodbye."
    quiet_s: float = Field(30.0, ge=0)
    """How long the user may be quiet after a reply, in seconds, before the question is asked; after as long again the
    agent says goodbye and ends the session. 0 waits for ever."""


class SttSettings(Section):
    """Speech to text: faster-whisper."""

    # On 114 recorded utterances and two cores, tiny.en makes 11.2 % word errors, and base 10.0 % in twice the
    # time. The 340 ms more would be heard in every turn, the errors in few.
    model: str = "tiny.en"
    """A name from `voice-agent models list` (without `whisper-`), one of faster-whisper's own, or a folder in
    CTranslate2's format."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compute_type: str | None = None
    """As CTranslate2 names them; by default `int8` on a CPU and `float16` on a GPU."""
    language: str | None = "en"
    """Two-letter code, `en` for `en-US` too; empty to detect it (multilingual models)."""
    prompt: str | None = None
    """Text that primes Whisper: names and jargon it should spell right."""
    # With tiny.en, 1 makes 12.5 % word errors, and 5 11.2 % in a tenth more time.
    beam_size: PositiveInt = 5
    """Texts pursued at once."""
    window: Literal["utterance", "whole"] = "utterance"
    """The audio that Whisper's encoder works on: the utterance, in a fraction of the time, or always 30 s. Measured
    with tiny.en and base; should another model lose words, set `whole`."""
    workers: PositiveInt = 2
    """Utterances transcribed at once, each on half of the cores. Of several workers, one is kept for utterances that
    are over; those that still go on share the others."""
    timeout_s: PositiveFloat = 20.0
    """Longest wait for a transcript, the queue included."""

    @field_validator("language")
    @classmethod
    def _base(cls, language: str | None) -> str | None:
        return language and base_language(language)


class LlmSettings(Section):
    """The language model, behind the `openai` client."""

    engine: LlmEngine = "auto"
    """`auto`: the API where a base URL or a key is set, else the embedded llama.cpp."""
    base_url: str | None = None
    """An OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1. `OPENAI_BASE_URL` is honoured."""
    api_key: SecretStr | None = None
    """`OPENAI_API_KEY` is honoured."""
    model: str | None = None
    """By default the first for chat that the endpoint offers, or the embedded model."""
    system_prompt: str | None = None
    """In place of the built-in instructions for speech."""
    temperature: float | None = Field(None, ge=0, le=2)
    """By default 0.7 for an API, and 0.3 for the embedded model."""
    max_tokens: PositiveInt = 200
    """Longest reply."""
    # Somebody waits on the line. A second attempt still fits, after one that was silent.
    turn_timeout_s: PositiveFloat = 15.0
    """Longest wait for the next words of a reply, all attempts, a model's thoughts and a restart of the embedded
    llama.cpp included; then the user hears an apology."""
    first_token_timeout_s: PositiveFloat = 10.0
    """Longest wait for the reply to begin, in one attempt."""
    token_timeout_s: PositiveFloat = 10.0
    """Longest wait between two tokens."""
    retries: int = Field(2, ge=0)
    """Attempts after the first, as long as no text has come and `turn_timeout_s` is not over."""
    # A model of tens of gigabytes off a disk takes minutes, and some servers begin anew when the client leaves.
    warm_up_timeout_s: PositiveFloat = 300.0
    """Longest wait for an endpoint's model to load, when the server starts."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Fields added to each request as they are, such as {"reasoning_effort": "none"}."""
    threads: PositiveInt | None = None
    """Threads of the embedded llama.cpp; by default one for each two cores, at most four."""
    context_tokens: PositiveInt = 2048
    """Longest conversation that the model is sent, instructions and reply included; what is older is dropped. Also
    the room that the embedded llama.cpp makes for each."""


class TtsSettings(Section):
    """Text to speech."""

    engine: TtsEngine = "piper"
    """`xtts` wants a GPU, and `make xtts`."""
    voice: str | None = None
    """A voice of the engine; by default its first."""
    speed: float = Field(1.0, ge=0.5, le=2.0)
    """Above 1 is faster."""
    workers: PositiveInt = 1
    """Chunks spoken at once."""
    timeout_s: PositiveFloat = 20.0
    """Longest wait for the next piece of audio."""
    checkpoint: Path | None = None
    """Folder of an XTTS checkpoint (model.pth, config.json, vocab.json, speakers_xtts.pth)."""
    speaker_wav: Path | None = None
    """A recording whose voice XTTS takes on, in place of a built-in speaker."""


class ModelsSettings(Section):
    """Where weights are kept."""

    dir: Path = Field(default_factory=lambda: Path(platformdirs.user_cache_dir("voice-agent")) / "models")
    offline: bool = False
    """Use only what is already there."""

    @field_validator("dir")
    @classmethod
    def _expanded(cls, folder: Path) -> Path:
        try:
            return folder.expanduser()
        except RuntimeError as error:  # a container's user often has none
            raise ValueError(
                f"{folder} is in no known home directory; name a folder by its whole path"
            ) from error


class Settings(BaseSettings):
    """The whole tree. `load_settings` reads it with errors that a person can act on."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    server: ServerSettings = ServerSettings()
    vad: VadSettings = VadSettings()
    turn: TurnSettings = TurnSettings()
    stt: SttSettings = SttSettings()
    llm: LlmSettings = LlmSettings()
    tts: TtsSettings = TtsSettings()
    models: ModelsSettings = Field(default_factory=ModelsSettings)

    @field_validator("*", mode="before")
    @classmethod
    def _as_text(cls, value: object, info: ValidationInfo) -> object:
        return _read(cls, value, info)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Strongest first: flags, environment (which `.env` has become part of), TOML."""
        return (
            init_settings,
            InitSettingsSource(settings_cls, from_environment(os.environ)),
            InitSettingsSource(settings_cls, from_file(config_file())),
        )


def load_settings() -> Settings:
    """Read and check every source. What `.env` sets becomes part of the environment, unless it is set there:
    so it works for `OPENAI_API_KEY` too.

    Raises:
        SettingsError: a key that is not known or a value that is not allowed, by name, with what is; or a file that
            can't be read.
    """
    load_dot_env()
    try:
        return Settings()
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors()]
        raise SettingsError("\n".join(lines)) from error


def _explain(detail: ErrorDetails) -> str:
    """One validation error in words: which setting, what is wrong, what is allowed."""
    path = [str(part) for part in detail["loc"]]
    name = f"{'.'.join(path)} ({ENV_PREFIX}{'__'.join(path).upper()})"
    if detail["type"] != "extra_forbidden":
        what = f"{name}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
        if detail["type"] in ("dict_type", "model_type"):
            what = f"{name}: should be an object in JSON, such as {_EXAMPLE}, or a table in TOML"
        secret = any(part.endswith("key") for part in path)
        return (
            what
            if secret or isinstance(detail["input"], dict)
            else f"{what}; given: {_short(detail['input'])}"
        )
    model: type[BaseModel] = Settings
    for part in path[:-1]:
        model = cast(type[BaseModel], model.model_fields[part].annotation)
    spellings = _spellings(path[:-1])
    close = [spelling for spelling in spellings if spelling.endswith(f"__{path[-1]}")]
    close = close or difflib.get_close_matches(path[-1], spellings, n=1, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{name}: unknown setting; {hint}known here: {', '.join(model.model_fields)}"


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"


def _spellings(section: list[str]) -> list[str]:
    """Keys that an unknown one may have been meant as: keys of its section, or with one underscore too few."""
    if section:
        return list(cast(type[BaseModel], Settings.model_fields[section[0]].annotation).model_fields)
    return [
        name if field is None else f"{name}__{field}"
        for name, info in Settings.model_fields.items()
        for field in (None, *cast(type[BaseModel], info.annotation).model_fields)
    ]
