"""Piper: the default voice. VITS under ONNX Runtime, quick enough for two cores."""

import json
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnx.helper
import onnx.utils
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from piper import PiperConfig, PiperVoice

from voice_agent.audio import Pcm16, to_pcm16
from voice_agent.config import ModelsSettings, TtsSettings
from voice_agent.errors import SettingsError, StageError
from voice_agent.models import catalog, ensure
from voice_agent.stages.onnx_session import open_session
from voice_agent.stages.onnx_stop import OnnxStop
from voice_agent.stages.synthesizer.edges import Audio, Edges, pause_ms
from voice_agent.stages.synthesizer.text import legible, speakable
from voice_agent.stages.synthesizer.voices import check_voice
from voice_agent.stages.worker import Worker
from voice_agent.urgency import Need

DEFAULT_VOICE: Final = "en_US-joe-medium"
CATALOG_PREFIX: Final = "piper-"
CATALOG_RATE: Final = 22_050
"""Of the voices in the catalogue, hertz."""
WARM_UP: Final = "The quick brown fox jumps over the lazy dog, and then it rests for a while."

FIRST_FRAMES: Final = 30
"""Latent frames (11.6 ms each) in a sentence's first piece: 25 ms of work for 350 ms of sound."""
MOST_FRAMES: Final = 120
"""Each piece is twice the one before, up to this; long pieces spend less on the frames around them."""
CLAUSE_MARKS: Final = frozenset(",;:")
MOST_PHONEMES: Final = 250
"""Phonemes in one run of the encoder: 12 s of sound. A sentence of 40 words has 200. Its time and memory grow with
the square: 250 take 0.25 s to the first sound on two cores, 2000 take 4 s and 0.7 GB."""
CONTEXT_FRAMES: Final = 16
"""Frames around a piece on which its samples depend. Medium voices need 10, by experiment; high ones have
wider kernels. With fewer, joins click."""


class PiperSynthesizer:
    """A `Synthesizer` that runs one Piper voice, named as in the catalogue or given as a path to its .onnx.

    A sentence is heard before it is all made: the voice's graph is cut in front of its decoder, which is most
    of the work, and the decoder runs over a few frames at a time. The samples are those of the uncut graph.
    The level is the voice's own (about -22 dBFS, peaks below -2 dBFS): Piper's usual normalisation to each
    sentence's peak would need the whole of it, and makes some sentences twice as loud as others.
    """

    def __init__(self, settings: TtsSettings, models: ModelsSettings) -> None:
        """Raises SettingsError: no such voice."""
        self._settings = settings
        self._models = models
        self._worker = Worker("synthesizer", threads=settings.workers, timeout_s=settings.timeout_s)
        self._voice: _Voice | None = None
        self._name = settings.voice or DEFAULT_VOICE
        self._path = Path(self._name).expanduser() if self._name.endswith(".onnx") else None
        config = _read_config(self._path) if self._path else None
        self.rate: int = config.sample_rate if config else CATALOG_RATE
        self._language = config.espeak_voice if config else self._name.split("-")[0]
        self.voices: tuple[str, ...] = ()
        offered = [name.removeprefix(CATALOG_PREFIX) for name in catalog() if name.startswith(CATALOG_PREFIX)]
        if not self._path:
            check_voice("tts.voice (a Piper voice, or the path of an .onnx)", self._name, offered)

    async def start(self) -> None:
        """Load the voice and speak a sentence; see `Synthesizer`."""
        self._voice = await self._worker.load(self._load)
        self.voices = tuple(self._voice.speakers) or (self._path.stem if self._path else self._name,)
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
        """Free the voice; see `Synthesizer`."""
        await self._worker.close()
        self._voice = None

    def speaks(self, voice: str | None, language: str | None) -> str | None:
        """The language of the voice's model; see `Synthesizer`."""
        return self._language

    def _load(self) -> "_Voice":
        path = self._path
        if path is None:
            folder = ensure(
                CATALOG_PREFIX + self._name, directory=self._models.dir, offline=self._models.offline
            )
            path = folder / f"{self._name}.onnx"
        return _Voice(path)

    def _speak(self, text: str, speaker: str | None, stop: OnnxStop) -> Generator[Pcm16, None, None]:
        if self._voice is None:
            raise StageError("synthesizer", "Piper was not started")
        speaker = speaker or self.voices[0]
        check_voice("voice", speaker, self.voices)
        if not speakable(text):
            return
        for phonemes in self._voice.sentences(legible(text)):
            edges = Edges(self.rate)
            for audio in self._voice.pieces(phonemes, speaker, self._settings.speed, stop):
                if len(sound := edges.feed(audio)):
                    yield to_pcm16(sound)
            if len(end := edges.finish(pause_ms("".join(phonemes)))):
                yield to_pcm16(end)


class _Voice:
    """A voice in memory: its phonemes, its encoder, its decoder."""

    def __init__(self, path: Path) -> None:
        self._config = _read_config(path)
        first, *rest = _cut(path) or [path]  # the whole graph is freed before its parts are loaded
        self._encoder = open_session(first)
        self._decoder = open_session(rest[0]) if rest else None
        self._phonemizer = PiperVoice(session=self._encoder, config=self._config)

    @property
    def speakers(self) -> list[str]:
        """Names, where the voice has several."""
        return list(self._config.speaker_id_map) if self._config.num_speakers > 1 else []

    def sentences(self, text: str) -> list[list[str]]:
        """The phonemes of each sentence, or of parts of it that are at most `MOST_PHONEMES` long.

        Double brackets, which mark phonemes for Piper, are dropped.
        """
        sentences = self._phonemizer.phonemize(text.replace("[[", " ").replace("]]", " "))
        parts = [part for sentence in sentences for part in split_phonemes(sentence, MOST_PHONEMES)]
        return [part for part in parts if speakable("".join(part))]

    def pieces(self, phonemes: list[str], speaker: str, speed: float, stop: OnnxStop) -> Iterator[Audio]:
        """Consecutive pieces of the sound of one sentence; raises once `stop` is set."""
        ids = self._phonemizer.phonemes_to_ids(phonemes)
        config = self._config
        scales = [config.noise_scale, config.length_scale / speed, config.noise_w_scale]
        inputs: dict[str, NDArray[Any]] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if config.num_speakers > 1:
            inputs["sid"] = np.array([config.speaker_id_map.get(speaker, 0)], np.int64)
        latents, *others = self._encoder.run(None, inputs, stop.options)
        if self._decoder is None:
            whole = latents.squeeze()
            for start in range(0, len(whole), self._config.sample_rate):  # a second at a time, as elsewhere
                yield whole[start : start + self._config.sample_rate]
        else:
            yield from self._decode(self._decoder, latents, others, stop)

    def _decode(
        self,
        decoder: InferenceSession,
        latents: NDArray[np.float32],
        others: list[NDArray[Any]],
        stop: OnnxStop,
    ) -> Iterator[Audio]:
        """Sound of `latents`, shape (1, channels, frames), window by window."""
        names = [given.name for given in decoder.get_inputs()]
        frames, hop = latents.shape[2], self._config.hop_length
        start, length = 0, FIRST_FRAMES
        while start < frames:
            end = min(start + length, frames)
            left, right = max(0, start - CONTEXT_FRAMES), min(frames, end + CONTEXT_FRAMES)
            window = [latents[:, :, left:right], *others]
            sound = decoder.run(None, dict(zip(names, window, strict=True)), stop.options)[0].squeeze()
            yield sound[(start - left) * hop : (end - left) * hop]
            start, length = end, min(2 * length, MOST_FRAMES)


def split_phonemes(phonemes: list[str], most: int) -> list[list[str]]:
    """Cut where it is heard least: behind a clause, else between two words; within a word only where there is no space.

    A clause is cut off only where that leaves more than half of what may be in one part.
    """
    parts = []
    while len(phonemes) > most:
        spaces = [at for at in range(1, most) if phonemes[at] == " "]
        clauses = [at for at in spaces if phonemes[at - 1] in CLAUSE_MARKS and at > most // 2]
        cut = (clauses or spaces or [most])[-1]
        parts.append(phonemes[:cut])
        phonemes = phonemes[cut:]
    return [*parts, phonemes]


def _read_config(path: Path) -> PiperConfig:
    config = Path(f"{path}.json")
    for file in (path, config):
        if not file.is_file():
            raise SettingsError(
                f"tts.voice: no file {file}. A Piper voice is an .onnx with its .onnx.json beside it."
            )
    try:
        return PiperConfig.from_dict(json.loads(config.read_text("utf-8")))
    except (ValueError, KeyError) as error:
        raise SettingsError(f"{config}: not the description of a Piper voice: {error!r}") from error


def _cut(path: Path) -> tuple[bytes, bytes] | None:
    """The encoder and the decoder of a voice's graph; None if it has no seam.

    Piper's export keeps the names of its modules: the nodes below `/dec/` are the decoder (HiFi-GAN). What
    they take from the others is the latents and, with several speakers, the speaker's embedding.
    """
    model = onnx.load(str(path))
    graph = model.graph
    made_by = {o: node.name for node in graph.node for o in node.output if node.op_type != "Constant"}
    seam = dict.fromkeys(  # in the order of use, which begins with the latents
        name
        for node in graph.node
        if node.name.startswith("/dec/")
        for name in node.input
        if name in made_by and not made_by[name].startswith("/dec/")
    )
    if not seam:
        return None
    described = {value.name for value in graph.value_info}
    graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in seam
        if name not in described
    )
    cutter = onnx.utils.Extractor(model)
    given = [value.name for value in graph.input]
    encoder = cutter.extract_model(given, list(seam))
    decoder = cutter.extract_model(list(seam), [graph.output[0].name])
    return encoder.SerializeToString(), decoder.SerializeToString()
