"""Scenarios from files, and the sound of what is said in them."""

import asyncio
import difflib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import platformdirs
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from voice_agent.audio import SILENCE, Pcm16, ms_to_samples, read_audio, write_wav
from voice_agent.client.player import speech_bounds
from voice_agent.config import Settings, TtsSettings
from voice_agent.dialogue.end_of_turn import LONGEST_MS
from voice_agent.engines import build_synthesizer
from voice_agent.errors import AudioError, LabError, StageError
from voice_agent.lab.fixtures import Utterance
from voice_agent.lab.noise import attenuated, clipped, one_over_f, speech_level
from voice_agent.lab.scenario import PAUSE, Expect, Scenario, Step
from voice_agent.stages.spoken import spoken
from voice_agent.stages.synthesizer import Synthesizer

CACHE: Final = Path(platformdirs.user_cache_dir("voice-agent")) / "lab" / "speech"
ENGINE: Final = "piper"
"""Of the caller's voice: quick, and needed by the default server too, so nothing more is fetched."""

BURST_PEAK: Final = attenuated(32767, 6)
"""Of a burst of noise: as loud as loud speech."""
BURST_RISES_MS: Final = 10.0
BURST_FALLS_DB: Final = 30.0
"""Over its length: a cough begins suddenly and dies away."""


def load_scenarios(paths: Sequence[Path]) -> list[Scenario]:
    """The scenarios in these files, and in the `*.yaml` of these folders.

    A scenario without a `name` has its file's; `play` is relative to the file.

    Raises:
        LabError: a file can't be read or is no scenario. Every field that is wrong is named, with what it should be.
    """
    files = [file for path in paths for file in _files(path)]
    scenarios: dict[str, Scenario] = {}
    problems = []
    for file in files:
        try:
            scenario = _load(file)
        except LabError as problem:
            problems.append(str(problem))
            continue
        if scenario.name in scenarios:
            problems.append(f"{file}: another scenario is named {scenario.name}; name one of them otherwise")
        scenarios[scenario.name] = scenario
    if problems:
        raise LabError("\n".join(problems))
    return list(scenarios.values())


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise LabError(f"{path}: no such file or folder; a scenario is a YAML file")
    files = sorted(path.glob("*.yaml"))
    if not files:
        raise LabError(f"{path}: no scenarios (*.yaml) in it")
    return files


def _load(file: Path) -> Scenario:
    try:
        import yaml
    except ImportError as error:
        raise LabError("scenarios need PyYAML: pip install 'voice-agent[lab]'") from error
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LabError(f"{file}: not YAML that can be read: {error}") from error
    if not isinstance(given, dict):
        raise LabError(f"{file}: a scenario has the fields {', '.join(Scenario.model_fields)}; this has none")
    try:
        scenario = Scenario.model_validate({"name": file.stem, **given})
    except ValidationError as error:
        raise LabError("\n".join(f"{file}{_explain(detail)}" for detail in error.errors())) from error
    steps = [
        step.model_copy(update={"play": file.parent / step.play}) if step.play else step
        for step in scenario.steps
    ]
    for number, step in enumerate(steps, 1):
        if step.play and not step.play.is_file():
            raise LabError(
                f"{file}, step {number}: play: no file {step.play}; it is relative to the scenario's"
            )
    return scenario.model_copy(update={"steps": steps})


def _explain(detail: ErrorDetails) -> str:
    """One validation error in words: which step and field, what is wrong, what is allowed."""
    path = list(detail["loc"])
    model: type[BaseModel] = Scenario
    where = ""
    if path[:1] == ["steps"] and len(path) > 1 and isinstance(path[1], int):
        where, model, path = f", step {path[1] + 1}", Step, path[2:]
    name = ".".join(map(str, path))
    if detail["type"] == "extra_forbidden":
        known = list((Expect if path[0] == "expect" else model).model_fields)
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{where}: {name}: unknown; {hint}known here: {', '.join(known)}"
    if detail["type"] == "value_error":  # of the model's own checks, which name the field
        return f"{where}: {detail['ctx']['error']}"
    message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}"
    if detail["type"] == "missing":
        return f"{where}: {name}: missing"
    if detail["type"] == "string_type":
        message += ", so put it in quotes"
    return f"{where}: {name}: {message}; given: {detail['input']!r}"


class Speech:
    """The words of a scenario's caller, as audio.

    Text is spoken by Piper, once: the sound is kept in the user's cache folder, and the next run needs no engine and
    hears the same. Leave with `close`.
    """

    def __init__(self, settings: Settings, rate: int, cache: Path = CACHE) -> None:
        """Set where weights are (`settings.models`), the rate that is given (hertz), and where speech is kept."""
        self._settings = settings
        self._rate = rate
        self._cache = cache
        self._engines: dict[str | None, Synthesizer] = {}
        self._busy = asyncio.Lock()

    async def utterances(self, scenario: Scenario, seed: int = 0) -> tuple[Utterance | None, ...]:
        """The audio of each step; None where nothing is said. Noise is drawn from the seed.

        Raises:
            AudioError: a recording can't be read.
            LabError: nothing can be heard in it, or in what was synthesized.
            SettingsError: there is no such voice.
            StageError: the engine failed.
            WeightsError: the voice's weights can't be had.
        """
        return tuple(
            [
                await self._utterance(scenario, number, np.random.default_rng([seed, number]))
                for number in range(len(scenario.steps))
            ]
        )

    async def close(self) -> None:
        """Free the engines that were needed."""
        for engine in self._engines.values():
            await engine.close()
        self._engines.clear()

    async def _utterance(self, scenario: Scenario, number: int, rng: np.random.Generator) -> Utterance | None:
        step = scenario.steps[number]
        name = f"{scenario.name}, step {number + 1}"
        if step.say is not None:
            pcm = await self._say(step.say, scenario.voice)
        elif step.play is not None:
            pcm = read_audio(step.play, self._rate)
        elif step.noise_ms is not None:
            pcm = burst(step.noise_ms, self._rate, rng)
        else:
            return None
        speech = speech_bounds(pcm, self._rate)
        if speech is None:
            raise LabError(f"{name}: nothing can be heard in {step.play or step.say!r}")
        if step.snr_db is not None:
            pcm = _in_noise(pcm, self._rate, speech_level(pcm, self._rate), step.snr_db, rng)
        return Utterance(step.play, name, pcm, step.words, speech)

    async def _say(self, text: str, voice: str | None) -> Pcm16:
        """The sound of text, with its pauses; without silence around it."""
        pieces = []
        for part, pause_ms in _parts(text):
            sound = await self._spoken(spoken(part), voice) if part else SILENCE
            pieces += [sound, np.zeros(ms_to_samples(pause_ms, self._rate), np.int16)]
        return np.concatenate(pieces)

    async def _spoken(self, text: str, voice: str | None) -> Pcm16:
        """Text without pauses, from the cache or the engine."""
        key = json.dumps([ENGINE, voice, text]).encode()
        kept = self._cache / f"{hashlib.sha256(key).hexdigest()[:32]}.wav"
        async with self._busy:
            if not kept.is_file():
                await self._synthesize(text, voice, kept)
        try:
            pcm = read_audio(kept, self._rate)
        except AudioError as error:
            raise AudioError(f"{error}; delete it, and it is made again") from error
        bounds = speech_bounds(pcm, self._rate)
        return pcm[slice(*bounds)] if bounds else SILENCE

    async def _synthesize(self, text: str, voice: str | None, kept: Path) -> None:
        if voice not in self._engines:
            engine = build_synthesizer(
                self._settings.model_copy(update={"tts": TtsSettings(engine=ENGINE, voice=voice)})
            )
            self._engines[voice] = engine
            await engine.start()
        engine = self._engines[voice]
        sound = [piece async for piece in engine.stream(text)]
        if not sound:
            raise StageError("synthesizer", f"{ENGINE} has no sound for {text!r}; write it in words")
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{os.getpid()}-{kept.name}")  # several runs may share the cache
        write_wav(partial, np.concatenate(sound), engine.rate)
        partial.replace(kept)


def _parts(text: str) -> Iterator[tuple[str, float]]:
    """Words that are spoken in one go, and the length of the pause after it, milliseconds."""
    split = PAUSE.split(text)
    for part, pause in zip(split[::2], [*split[1::2], "0"], strict=True):
        yield part.strip(), float(pause)


def burst(length_ms: float, rate: int, rng: np.random.Generator) -> Pcm16:
    """A burst of noise that begins suddenly and dies away, as a cough does."""
    samples = max(1, ms_to_samples(length_ms, rate))
    at = np.arange(samples) / samples
    rise = np.minimum(1, at * length_ms / BURST_RISES_MS)
    sound: Any = one_over_f(samples, rng) * rise * 10 ** (-BURST_FALLS_DB / 20 * at)
    return clipped(sound / np.abs(sound).max() * BURST_PEAK)


def _in_noise(pcm: Pcm16, rate: int, level: float, snr_db: float, rng: np.random.Generator) -> Pcm16:
    """With a room's noise under it, that goes on for as long as the end of the turn may be waited for.

    Otherwise the noise's end would give the turn's away.
    """
    noise = one_over_f(len(pcm) + ms_to_samples(LONGEST_MS, rate), rng) * attenuated(level, snr_db)
    return clipped(np.pad(pcm, (0, len(noise) - len(pcm))) + noise)
