"""Whisper on a window as long as the utterance, where Whisper itself pads every utterance to 30 s.

Cutting the window short makes Whisper repeat itself and drop words: its decoder was trained on 1500 encoded
positions, and looks for the silence after the words to know that they are over. So the encoder, which takes
most of the time, gets the utterance and a second of silence; the positions up to 1500 are filled with those
of an empty window, which are encoded once. See `docs/latency.md` for what that does to time and words.
"""

from typing import Final

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens
from numpy.typing import NDArray

from voice_agent.audio import RATE, Pcm16, to_float
from voice_agent.stages.transcriber.evidence import Piece

WINDOW_S: Final = 30
"""Seconds of audio that Whisper decodes at a time."""
HOP: Final = 160
"""Samples that a frame of the spectrogram moves on; the encoder makes one position of two frames."""
FRAMES: Final = WINDOW_S * RATE // HOP
SILENCE_FRAMES: Final = 100
"""Silence after the utterance that is encoded with it. On 108 clips tiny.en (beam 5) makes 11.5 % word errors with
half a second, 11.0 % with one or two, and 11.3 % with all of the window."""
MAX_TOKENS: Final = 220
"""Of a window's text: what Whisper's 448 leave beside a full prompt (223) and the special tokens (5)."""


def most_tokens(seconds: float) -> int:
    """How long the text of so much speech may be. The fastest English measured has 10 tokens a second: what goes far
    beyond is a loop."""
    return min(MAX_TOKENS, round(20 + 15 * min(seconds, WINDOW_S)))


class Window:
    """Transcribes what fits in one of Whisper's windows. Safe in several threads."""

    def __init__(self, model: WhisperModel) -> None:
        """Encodes an empty window, once: as long as a transcription took without all this."""
        self._model = model
        self._tokenizers: dict[str, tuple[Tokenizer, list[int]]] = {}
        self._silence = self._encode(np.zeros((model.model.n_mels, FRAMES), np.float32))

    def encode(self, pcm: Pcm16, *, whole: bool = False) -> ctranslate2.StorageView:
        """The encoded utterance, shape (1, 1500, model size).

        Args:
            pcm: the utterance, at RATE; at most `WINDOW_S`.
            whole: encode the whole window, as Whisper does.
        """
        features = self._model.feature_extractor(to_float(pcm))[:, : len(pcm) // HOP][:, :FRAMES]
        length = FRAMES if whole else min(FRAMES, features.shape[1] + SILENCE_FRAMES)
        length += length % 2
        # Zero is what faster-whisper pads with as well: a hiss at 40 dB under full scale, rather than no sound.
        encoded = self._encode(np.pad(features, ((0, 0), (0, length - features.shape[1]))))
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
        most: int,
    ) -> Piece:
        """The likeliest text of an encoded utterance, at most `most` tokens of it."""
        tokenizer, suppressed = self._tokenizer(language)
        primed = tokenizer.encode(f" {prompt.strip()}") if prompt else []
        start = self._model.get_prompt(tokenizer, primed, without_timestamps=True)
        result = self._model.model.generate(
            encoded,
            [start],
            beam_size=beam_size,
            max_length=len(start) + most,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=suppressed,
        )[0]
        tokens = result.sequences_ids[0]
        text = tokenizer.decode(tokens).strip()
        return Piece(
            text,
            len(tokens),
            # CTranslate2's score is the mean over the text; Whisper counts the end of text as well.
            avg_logprob=result.scores[0] * len(tokens) / (len(tokens) + 1),
            no_speech_prob=result.no_speech_prob,
            compression_ratio=get_compression_ratio(text),
        )

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
