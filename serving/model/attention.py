"""Grouped attention: normed queries and keys, positions where the family has them, perhaps a gate on the output."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from serving.kernels.attention import UNBOUNDED, attends
from serving.kernels.attention import attend_once as attend_once_in_place
from serving.kernels.products import linear
from serving.model.batch import Batch, Span
from serving.model.config import GroupedShape, ModelConfig
from serving.model.rotary import rotate
from serving.model.weights import GroupedWeights


class Cache(Protocol):
    """Where what later tokens need of earlier ones waits for them; a row for each token of each layer."""

    def write(self, layer: int, slots: Tensor, rows: Tensor) -> None: ...

    def read(self, layer: int, tables: Tensor) -> Tensor: ...

    def rows(self, layer: int) -> Tensor:
        """All of a layer, [slots, width]."""
        ...


class Attention(Protocol):
    def __call__(self, hidden: Tensor, batch: Batch, turns: tuple[Tensor, Tensor], cache: Cache) -> Tensor:
        """[tokens, hidden] → [tokens, hidden]; writes this step's tokens to the cache first."""
        ...


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """[sequences * queries, heads, dims] → [sequences * queries, heads * dims of the values].

    Keys and values [sequences, key heads, tokens, dims]; mask [sequences, 1, queries, tokens], 0 or -inf.
    """
    rows, heads, dims = queries.shape
    sequences, key_heads = keys.shape[:2]
    count, group = rows // sequences, heads // key_heads
    if count > 1:
        asked = queries.view(sequences, count, heads, dims).transpose(1, 2)
        found = F.scaled_dot_product_attention(asked, keys, values, mask, scale=scale, enable_gqa=group > 1)
        return found.transpose(1, 2).reshape(rows, -1)
    # The query heads that share a key head become further queries of it, which for single queries is quicker.
    asked = queries.view(sequences, key_heads, group, dims)
    return F.scaled_dot_product_attention(asked, keys, values, mask, scale=scale).reshape(rows, -1)


def attend_once(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Like `attend`, of one query a sequence, as sums: a compiler fuses them with the reading of the cache.

    Keys and values [sequences, tokens, key heads, dims].
    """
    sequences, _, key_heads, dims = keys.shape
    asked = queries.view(sequences, 1, key_heads, -1, dims)
    scores = (asked * keys.unsqueeze(3)).sum(-1) * scale + mask.view(sequences, -1, 1, 1)
    shares = torch.softmax(scores, 1)  # [sequences, tokens, key heads, queries of each]
    return (shares.unsqueeze(-1) * values.unsqueeze(3)).sum(1).reshape(sequences, -1)


class GroupedAttention:
    def __init__(self, config: ModelConfig, shape: GroupedShape, weights: GroupedWeights, layer: int) -> None:
        self._weights, self._layer, self._eps = weights, layer, config.norm_eps
        self._heads, self._kv_heads, self._head_dim = shape.heads, shape.kv_heads, shape.head_dim
        self._scale = shape.head_dim**-0.5
        self._sliding, self._rotary = shape.sliding[layer], shape.rotary[layer]
        normed, query = (shape.heads + shape.kv_heads) * shape.head_dim, shape.heads * shape.head_dim
        self._gated = shape.output_gate
        self._split = [normed, shape.kv_heads * shape.head_dim, query if shape.output_gate else 0]

    def __call__(self, hidden: Tensor, batch: Batch, turns: tuple[Tensor, Tensor], cache: Cache) -> Tensor:
        tokens = hidden.shape[0]
        qk, values, gate = torch.split(linear(hidden, self._weights.inward), self._split, dim=1)
        qk = F.rms_norm(qk.reshape(tokens, -1, self._head_dim), (self._head_dim,), None, self._eps)
        qk = qk * self._weights.qk_norm
        if self._rotary:
            qk = rotate(qk, *turns)
        queries, keys = qk[:, : self._heads], qk[:, self._heads :]
        cache.write(self._layer, batch.slots, torch.cat((keys.flatten(1), values), 1))
        parts = [self._attend(queries[span.first : span.last], span, cache) for span in batch.spans]
        seen = parts[0] if len(parts) == 1 else torch.cat(parts)
        return linear(seen * torch.sigmoid(gate) if self._gated else seen, self._weights.output)

    def _attend(self, queries: Tensor, span: Span, cache: Cache) -> Tensor:
        """[span's tokens, heads, head_dim] → [span's tokens, heads * head_dim]."""
        if span.queries == 1 and attends(self._head_dim):
            return self._attend_in_place(queries, span, cache)
        kept = cache.read(self._layer, span.tables)
        kept = kept.view(*kept.shape[:2], 2 * self._kv_heads, self._head_dim)
        mask = span.within_window if self._sliding else span.causal
        if span.queries == 1 and torch.compiler.is_exporting():
            return attend_once(queries, kept[:, :, : self._kv_heads], kept[:, :, self._kv_heads :], mask, self._scale)
        kept = kept.transpose(1, 2)
        return attend(queries, kept[:, : self._kv_heads], kept[:, self._kv_heads :], mask, self._scale)

    def _attend_in_place(self, queries: Tensor, span: Span, cache: Cache) -> Tensor:
        """Like `_attend`, of one query a sequence."""
        return attend_once_in_place(
            queries.contiguous(),
            cache.rows(self._layer),
            span.tables,
            span.positions.squeeze(1),
            block_size=span.block_size,
            key_heads=self._kv_heads,
            window=span.window if self._sliding else UNBOUNDED,
            scale=self._scale,
        )
