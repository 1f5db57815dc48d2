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
TEXTS = [
    "hello there.",
    "how are you today?",
    "the train leaves at noon from platform nine.",
    "no.",
    "please, take a seat and wait for the doctor.",
    "what a strange and lovely morning this is!",
]


def make_checkpoint(folder: Path) -> None:
    """A whole XTTS v2 checkpoint of some 20 M random parameters, which always picks the likeliest token."""
    import torch

    from voice_agent.stages.synthesizer.xtts_model import Xtts, XttsArgs, XttsConfig

    torch.manual_seed(7)
    specials = ["[STOP]", "[UNK]", "[SPACE]", "[START]", "[en]"]
    vocabulary = {token: index for index, token in enumerate([*specials, *LETTERS])}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": index, "content": token, **plain} for index, token in enumerate(specials)],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "BPE", "unk_token": "[UNK]", "vocab": vocabulary, "merges": []},
    }
    (folder / "vocab.json").write_text(json.dumps(tokenizer))
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
    config = XttsConfig(model_args=args, top_k=1, languages=["en"])
    config.save_json(str(folder / "config.json"))
    model = Xtts(config)
    for weight in model.gpt.gpt.h.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)  # enough attention for other words to sound otherwise
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    speakers = {
        name: {"gpt_cond_latent": torch.randn(1, 32, 64), "speaker_embedding": torch.randn(1, 512, 1)}
        for name in ("Ann", "Bob")
    }
    torch.save(speakers, folder / "speakers_xtts.pth")
