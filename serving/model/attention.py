"""Gated attention: normed queries and keys, rotary positions on sliding layers, a sigmoid gate on the output."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from serving.model.batch import Batch, Span
from serving.model.config import ModelConfig
from serving.model.weights import AttentionWeights


class Cache(Protocol):
    """Where keys and values wait for later tokens."""

    def write(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None: ...

    def read(self, layer: int, tables: Tensor) -> tuple[Tensor, Tensor]: ...


class Rotary:
    """Cosines and sines of every position, [context, 1, head_dim]; the sine carries rotate_half's sign."""

    def __init__(self, config: ModelConfig) -> None:
        powers = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        # In transformers' order of rounding: at position 1,000 another order turns by 1e-4 rad more or less.
        frequencies = 1.0 / config.rope_theta**powers
        angles = torch.arange(config.context_length).unsqueeze(1).float() * frequencies
        self._cos = torch.cat((angles.cos(), angles.cos()), -1).unsqueeze(1)
        self._sin = torch.cat((-angles.sin(), angles.sin()), -1).unsqueeze(1)

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self._cos[positions], self._sin[positions]


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[tokens, heads, head_dim] turned by its position."""
    half = heads.shape[-1] // 2
    swapped = torch.cat((heads[..., half:], heads[..., :half]), -1)
    return torch.addcmul(heads * cos, swapped, sin)


class GatedAttention:
    def __init__(self, config: ModelConfig, weights: AttentionWeights, layer: int) -> None:
        self._weights, self._layer, self._eps = weights, layer, config.norm_eps
        self._heads, self._kv_heads, self._head_dim = config.heads, config.kv_heads, config.head_dim
        self._sliding = config.sliding[layer]
        normed, query = (config.heads + config.kv_heads) * config.head_dim, config.heads * config.head_dim
        self._split = [normed, config.kv_heads * config.head_dim, query]

    def __call__(self, hidden: Tensor, batch: Batch, turns: tuple[Tensor, Tensor], cache: Cache) -> Tensor:
        """[tokens, hidden] → [tokens, hidden]; writes this step's keys and values to the cache first."""
        tokens = hidden.shape[0]
        qk, values, gate = torch.split(F.linear(hidden, self._weights.qkvg), self._split, dim=1)
        qk = F.rms_norm(qk.reshape(tokens, -1, self._head_dim), (self._head_dim,), None, self._eps)
        qk = qk * self._weights.qk_norm
        if self._sliding:
            qk = rotate(qk, *turns)
        queries, keys = qk[:, : self._heads], qk[:, self._heads :]
        cache.write(self._layer, batch.slots, keys, values.view(tokens, self._kv_heads, self._head_dim))
        parts = [self._attend(queries[span.first : span.last], span, cache) for span in batch.spans]
        seen = parts[0] if len(parts) == 1 else torch.cat(parts)
        return F.linear(seen * torch.sigmoid(gate), self._weights.output)

    def _attend(self, queries: Tensor, span: Span, cache: Cache) -> Tensor:
        """[span's tokens, heads, head_dim] → [span's tokens, heads * head_dim]."""
        keys, values = cache.read(self._layer, span.tables)
        mask = span.within_window if self._sliding else span.causal
        sequences, group = span.tables.shape[0], self._heads // self._kv_heads
        # The query heads that share a key head become further queries of it: no key is copied.
        asked = queries.view(sequences, span.queries, self._kv_heads, group, self._head_dim)
        asked = asked.permute(0, 2, 3, 1, 4).reshape(sequences, self._kv_heads, group * span.queries, self._head_dim)
        if span.queries > 1:
            mask = mask.repeat(1, 1, group, 1)
        found = F.scaled_dot_product_attention(asked, keys, values, attn_mask=mask)
        found = found.view(sequences, self._kv_heads, group, span.queries, self._head_dim).permute(0, 3, 1, 2, 4)
        return found.reshape(sequences * span.queries, -1)
