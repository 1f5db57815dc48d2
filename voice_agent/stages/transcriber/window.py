"""Whisper on a window as long as the utterance, where Whisper itself pads every utterance to 30 s.

Cutting the window short makes Whisper repeat itself and invent words: its decoder has always seen 1500 encoded
positions, and knows by the silence after the words that they are over. So the encoder, which takes most of the
time, gets the utterance and some silence; the positions up to 1500 are filled with silence that was encoded once.
See `docs/latency.md` for what that does to time and words.
"""

from typing import Final

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens
from numpy.typing import NDArray

from voice_agent.audio import RATE, Pcm16, to_float, to_pcm16
from voice_agent.stages.transcriber.evidence import Piece

WINDOW_S: Final = 30
"""Seconds of audio that Whisper decodes at a time."""
HOP: Final = 160
"""Samples that a frame of the spectrogram moves on; the encoder makes one position of two frames."""
FRAMES: Final = WINDOW_S * RATE // HOP
SILENCE_FRAMES: Final = 250
"""Silence after the utterance that is encoded with it: 2.5 s. With 1.5 to 4 s base makes 9.3 to 11.4 % word errors and
tiny.en 11.2 to 11.8 %, in no order (see `docs/latency.md`). It is no shorter than `voice`, so that nothing of that is
heard after the utterance."""
MAX_TOKENS: Final = 220
"""Of a window's text: what Whisper's 448 leave beside a full prompt (223) and the special tokens (5)."""


def text_limit(seconds: float) -> int:
    """How long the text of so much speech may be. The fastest English measured has 10 tokens a second: what goes far
    beyond is a loop."""
    return min(MAX_TOKENS, round(20 + 15 * min(seconds, WINDOW_S)))


class Window:
    """Transcribes what fits in one of Whisper's windows. Safe in several threads."""

    def __init__(self, model: WhisperModel) -> None:
        """Encodes a whole window, once."""
        self._model = model
        self._tokenizers: dict[str, tuple[Tokenizer, list[int]]] = {}
        # Silence is encoded otherwise after a voice than where nobody spoke: in an empty window's silence,
        # base hears that there is no speech, and makes four times as many word errors.
        self._silence = self._encode(self._spectrogram(voice(), FRAMES))

    def encode(self, pcm: Pcm16, *, whole: bool = False) -> ctranslate2.StorageView:
        """The encoded utterance, shape (1, 1500, model size).

        Args:
            pcm: the utterance, at RATE; at most `WINDOW_S`.
            whole: encode the whole window, as Whisper does.
        """
        length = FRAMES if whole else min(FRAMES, len(pcm) // HOP + SILENCE_FRAMES)
        encoded = self._encode(self._spectrogram(pcm, length))
        filled = np.concatenate([encoded, self._silence[:, encoded.shape[1] :]], axis=1)
        return ctranslate2.StorageView.from_array(filled)

    def language(self, encoded: ctranslate2.StorageView) -> str:
        """The language that is most likely spoken, as a two-letter code."""
        if not self._model.model.is_multilingual:
            return "en"
        token, _ = self._model.model.detect_language(encoded)[0][0]
        return str(token[2:-2])  # <|en|>

    def decode(
        self,
        encoded: ctranslate2.StorageView,
        *,
        language: str,
        prompt: str | None,
        beam_size: int,
        most_tokens: int,
    ) -> Piece:
        """The likeliest text of an encoded utterance, at most `most_tokens` of it."""
        tokenizer, suppressed = self._tokenizer(language)
        primed = tokenizer.encode(f" {prompt.strip()}") if prompt else []
        start = self._model.get_prompt(tokenizer, primed, without_timestamps=True)
        result = self._model.model.generate(
            encoded,
            [start],
            beam_size=beam_size,
            max_length=len(start) + most_tokens,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=suppressed,
        )[0]
        tokens = result.sequences_ids[0]
        text = tokenizer.decode(tokens).strip()
        return Piece(
            text,
            len(tokens),
            len(tokens) >= most_tokens,
            # CTranslate2's score is the mean over the text; Whisper counts the end of text as well.
            avg_logprob=result.scores[0] * len(tokens) / (len(tokens) + 1),
            no_speech_prob=result.no_speech_prob,
            compression_ratio=get_compression_ratio(text),
        )

    def _spectrogram(self, pcm: Pcm16, length: int) -> NDArray[np.float32]:
        """`length` frames of it, an even number; zero where `pcm` has ended, which is what faster-whisper pads with."""
        frames: NDArray[np.float32] = self._model.feature_extractor(to_float(pcm))[:, : len(pcm) // HOP]
        return np.pad(frames, ((0, 0), (0, length + length % 2 - frames.shape[1])))

    def _encode(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        storage = ctranslate2.StorageView.from_array(np.ascontiguousarray(features[None]))
        encoded = self._model.model.encode(storage, to_cpu=True)
        return np.array(encoded.to(ctranslate2.DataType.float32))

    def _tokenizer(self, language: str) -> tuple[Tokenizer, list[int]]:
        """With it the tokens that are never written: the special ones, and those for sounds such as music."""
        if language not in self._tokenizers:
            tokenizer = Tokenizer(
                self._model.hf_tokenizer,
                self._model.model.is_multilingual,
                task="transcribe",
                language=language,
            )
            self._tokenizers[language] = tokenizer, list(get_suppressed_tokens(tokenizer, [-1]))
        return self._tokenizers[language]


def voice() -> Pcm16:
    """Two seconds that Whisper takes for somebody speaking: a pitch that moves, under two formants that move, in
    syllables."""
    t = np.arange(2 * RATE) / RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    first, second = 500 + 250 * np.sin(2 * np.pi * 2.1 * t), 1500 + 500 * np.sin(2 * np.pi * 1.7 * t + 1)
    harmonics = [
        np.sin(n * phase)
        * (
            1 / (1 + ((n * pitch - first) / 100) ** 2)
            + 0.5 / (1 + ((n * pitch - second) / 150) ** 2)
            + 0.2 / (1 + ((n * pitch - 2500) / 200) ** 2)
        )
        for n in range(1, 30)
    ]
    syllables = np.clip(1.3 * np.sin(2 * np.pi * 2 * t) ** 2 - 0.1, 0, 1)
    sound = np.sum(harmonics, axis=0) * syllables
    return to_pcm16(0.2 * sound / np.abs(sound).max())
