"""The network gives transformers' logits for every feature of the format that it serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from serving.engine.kv_cache import KvCache
from serving.experts.exchange import AloneExchange
from serving.experts.placement import contiguous_placement
from serving.model.batch import Chunk, build_batch
from serving.model.checkpoint import open_checkpoint
from serving.model.transformer import Transformer
from serving.model.weights import load_weights
from tests.serving.tiny_checkpoint import reference_logits, some_prompt, write_tiny_checkpoint

BLOCK, BLOCKS = 4, 40
TEXT = some_prompt(60, seed=3)


def open_model(directory: Path) -> tuple[Transformer, int]:
    checkpoint = open_checkpoint(directory)
    config = checkpoint.config
    weights = load_weights(checkpoint, contiguous_placement(config, 1).held_by(0))
    cache = KvCache(config.layers, BLOCKS, BLOCK, config.attention.cache_width)
    return Transformer(config, weights, cache, AloneExchange()), config.window


def logits_in_chunks(directory: Path, chunks: list[int]) -> torch.Tensor:
    """Runs TEXT in chunks of the given sizes, through blocks in no order."""
    model, window = open_model(directory)
    blocks, parts, start = tuple(range(BLOCKS - 1, -1, -2)), [], 0
    with torch.inference_mode():
        for count in chunks:
            tokens = torch.tensor(TEXT[start : start + count])
            batch = build_batch(tokens, (Chunk(start, count, blocks),), BLOCK, window, (count,))
            parts.append(model.logits(model.forward(batch).hidden))
            start += count
    return torch.cat(parts)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mup_enabled": False},
        {"tie_word_embeddings": True},
        {"num_shared_experts": 2},
        {"num_experts_per_tok": 3, "route_scale": 0.7},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1},
        {"num_dense_layers": 0},
        {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"], "sliding_window": 256},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}, "rms_norm_eps": 1e-3},
    ],
    ids=str,
)
def test_logits_are_those_of_transformers(tmp_path: Path, changes: dict[str, Any]) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", **changes)
    expected = reference_logits(directory, TEXT)
    for chunks in ([60], [23, 1, 30, 6], [40] + [1] * 20):
        assert (logits_in_chunks(directory, chunks) - expected).abs().max() < 1e-4


def test_bf16_weights_are_computed_in_fp32(tmp_path: Path) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", dtype=torch.bfloat16)
    assert (logits_in_chunks(directory, [60]) - reference_logits(directory, TEXT)).abs().max() < 1e-4


def test_a_sequence_does_not_see_its_neighbours_or_what_blocks_held_before(tiny_checkpoint: Path) -> None:
    model, window = open_model(tiny_checkpoint)
    tokens = torch.tensor(TEXT[:12])
    with torch.inference_mode():
        dirty = build_batch(torch.tensor(TEXT[20:52]), (Chunk(0, 32, tuple(range(8))),), BLOCK, window, (32,))
        model.forward(dirty)
        both = torch.cat((tokens, torch.tensor(TEXT[30:37])))
        chunks = (Chunk(0, 12, (2, 0, 1)), Chunk(0, 7, (5, 3)))
        beside = model.logits(model.forward(build_batch(both, chunks, BLOCK, window, (19,))).hidden)
    expected = reference_logits(tiny_checkpoint, TEXT[:12])
    assert (beside[:12] - expected).abs().max() < 1e-4
    assert (beside[12:] - reference_logits(tiny_checkpoint, TEXT[30:37])).abs().max() < 1e-4
