"""Writes a checkpoint of a family that our engine does not know; its weights are there to be counted, not run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from training.tokens import EOS, VOCAB_SIZE, build_tokenizer

CONFIG = {
    "model_type": "llama",
    "vocab_size": VOCAB_SIZE,
    "max_position_embeddings": 128,
    "num_attention_heads": 4,
    "eos_token_id": EOS,
}


def write_llama(directory: Path, **changes: object) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG | changes))
    save_file({"some.weight": np.zeros((3, 5), np.float32)}, directory / "model.safetensors")
    build_tokenizer().save(str(directory / "tokenizer.json"))
    return directory
