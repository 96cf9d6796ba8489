"""Runs a known text through a network of one rank, in chunks of any sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from serving.engine.kv_cache import KvCache
from serving.experts.exchange import AloneExchange
from serving.experts.placement import contiguous_placement
from serving.model.batch import Chunks, build_batch
from serving.model.checkpoint import open_checkpoint
from serving.model.transformer import Transformer
from serving.model.weights import load_weights
from tests.serving.tiny_checkpoint import some_prompt

BLOCK, BLOCKS = 4, 40
TEXT = some_prompt(60, seed=3)


def open_model(directory: Path) -> tuple[Transformer, int]:
    checkpoint = open_checkpoint(directory)
    config = checkpoint.config
    weights = load_weights(checkpoint, contiguous_placement(config, 1).held_by(0))
    cache = KvCache(config.layers, BLOCKS, BLOCK, config.attention.cache_width)
    return Transformer(config, weights, cache, AloneExchange()), config.window


def chunks_of(*chunks: tuple[int, int, Sequence[int]]) -> Chunks:
    """Of each sequence where its tokens begin, how many they are, and its blocks."""
    starts, counts, blocks = zip(*chunks, strict=True)
    width = max(map(len, blocks))
    return Chunks(np.array(starts), np.array(counts), np.array([[*own, *[0] * (width - len(own))] for own in blocks]))


def logits_in_chunks(directory: Path, chunks: list[int]) -> torch.Tensor:
    """Runs TEXT in chunks of the given sizes, through blocks in no order."""
    model, window = open_model(directory)
    blocks, parts, start = tuple(range(BLOCKS - 1, -1, -2)), [], 0
    with torch.inference_mode():
        for count in chunks:
            tokens = torch.tensor(TEXT[start : start + count])
            batch = build_batch(tokens, chunks_of((start, count, blocks)), BLOCK, window, (count,))
            parts.append(model.logits(model.forward(batch).hidden))
            start += count
    return torch.cat(parts)
