"""XTTS through Coqui's own code, on a tiny checkpoint with random weights: real streaming, no real voice."""

import asyncio
import importlib.util
import json
import threading
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voice_agent.audio import Pcm16, write_wav
from voice_agent.config import ModelsSettings, TtsSettings
from voice_agent.errors import SettingsError, StageError, WeightsError
from voice_agent.stages.synthesizer.xtts import RATE, XttsSynthesizer

HAS_XTTS = importlib.util.find_spec("TTS") is not None
needs_xtts = [pytest.mark.xtts, pytest.mark.skipif(not HAS_XTTS, reason="needs the xtts extra (make xtts)")]
LETTERS = "abcdefghijklmnopqrstuvwxyz.,!?' "
LONGEST_S = 9.3
"""What 198 audio tokens sound like: where the tiny model stops if it does not stop by itself."""


def make_checkpoint(folder: Path) -> None:
    """A whole XTTS v2 checkpoint of some 20 M random parameters, which always picks the likeliest token."""
    from voice_agent.stages.synthesizer import xtts_model  # first: it makes torchaudio importable

    import torch
    from TTS.tts.configs.xtts_config import XttsArgs

    torch.manual_seed(7)
    specials = ["[STOP]", "[UNK]", "[SPACE]", "[START]", "[en]"]
    vocabulary = {token: id for id, token in enumerate([*specials, *LETTERS])}
    tokens = {"content": "", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [tokens | {"id": id, "content": token, "special": True} for id, token in enumerate(specials)]
    model = {"type": "BPE", "unk_token": "[UNK]", "vocab": vocabulary, "merges": []}
    (folder / "vocab.json").write_text(
        json.dumps({"version": "1.0", "added_tokens": added, "pre_tokenizer": {"type": "Whitespace"}, "model": model})
    )
    args = XttsArgs(
        gpt_layers=2,
        gpt_n_model_channels=64,
        gpt_n_heads=4,
        gpt_max_audio_tokens=200,
        gpt_num_audio_tokens=66,
        gpt_start_audio_token=64,
        gpt_stop_audio_token=65,
        gpt_use_perceiver_resampler=True,
        gpt_number_text_tokens=len(vocabulary),
        gpt_start_text_token=vocabulary["[START]"],
        gpt_stop_text_token=vocabulary["[STOP]"],
        decoder_input_dim=64,
    )
    config = xtts_model.XttsConfig(model_args=args, top_k=1, languages=["en"])
    config.save_json(str(folder / "config.json"))
    torch.save({"model": xtts_model.Xtts(config).state_dict()}, folder / "model.pth")
    speakers = {
        name: {"gpt_cond_latent": torch.randn(1, 32, 64), "speaker_embedding": torch.randn(1, 512, 1)}
        for name in ("Ann", "Bob")
    }
    torch.save(speakers, folder / "speakers_xtts.pth")


if __name__ == "__main__":
    pass
