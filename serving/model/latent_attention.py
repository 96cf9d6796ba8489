"""Latent attention (DeepSeek-V2, section 2.1): of a token only a short vector and one turned key are kept.

For few queries, what makes keys and values of the short vector is multiplied into queries and results instead:
nothing is expanded for earlier tokens, all heads share one key head. Long chunks expand them, which then costs less.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from serving.kernels.products import linear
from serving.model.attention import Cache, attend
from serving.model.batch import Batch, Span
from serving.model.config import LatentShape
from serving.model.rotary import rotate
from serving.model.weights import LatentWeights

_EPS = 1e-6  # of the norms within attention; transformers does not take rms_norm_eps for them


class LatentAttention:
    def __init__(self, shape: LatentShape, weights: LatentWeights, layer: int) -> None:
        self._shape, self._weights, self._layer = shape, weights, layer
        self._split = [len(weights.inward) - shape.cache_width, shape.kv_rank, shape.rotary_dims]
        self._long = _queries_worth_expanding(shape)

    def __call__(self, hidden: Tensor, batch: Batch, turns: tuple[Tensor, Tensor], cache: Cache) -> Tensor:
        shape = self._shape
        queries, latent, key = torch.split(linear(hidden, self._weights.inward), self._split, dim=1)
        latent = F.rms_norm(latent, (shape.kv_rank,), self._weights.latent_norm, _EPS)
        key = rotate(key.unsqueeze(1), *turns).squeeze(1)
        cache.write(self._layer, batch.slots, torch.cat((latent, key), 1))
        plain, turned = torch.split(self._queries(queries), [shape.plain_dims, shape.rotary_dims], dim=2)
        turned = rotate(turned, *turns)
        parts = [self._attend(plain[s.first : s.last], turned[s.first : s.last], s, cache) for s in batch.spans]
        seen = parts[0] if len(parts) == 1 else torch.cat(parts)
        return linear(seen, self._weights.output)

    def _queries(self, queries: Tensor) -> Tensor:
        """[tokens, query rank, or all heads' queries] → [tokens, heads, plain_dims + rotary_dims]."""
        if self._weights.query_up is not None:
            queries = F.rms_norm(queries, queries.shape[1:], self._weights.query_norm, _EPS)
            queries = linear(queries, self._weights.query_up)
        return queries.view(len(queries), self._shape.heads, -1)

    def _attend(self, plain: Tensor, turned: Tensor, span: Span, cache: Cache) -> Tensor:
        """[span's tokens, heads, dims] each → [span's tokens, heads * value_dims]."""
        kept = cache.read(self._layer, span.tables).unsqueeze(1)
        latent, key = torch.split(kept, [self._shape.kv_rank, self._shape.rotary_dims], dim=3)
        if span.queries >= self._long:
            keys = torch.matmul(latent, self._weights.key_up.transpose(1, 2))
            keys = torch.cat((keys, key.expand(*keys.shape[:3], -1)), 3)
            values = torch.matmul(latent, self._weights.value_up)
            return attend(torch.cat((plain, turned), 2), keys, values, span.causal, self._shape.scale)
        asked = torch.bmm(plain.transpose(0, 1), self._weights.key_up).transpose(0, 1)
        found = attend(torch.cat((asked, turned), 2), kept, latent, span.causal, self._shape.scale)
        found = found.view(len(plain), self._shape.heads, self._shape.kv_rank)
        return torch.bmm(found.transpose(0, 1), self._weights.value_up).transpose(0, 1).flatten(1)


def _queries_worth_expanding(shape: LatentShape) -> float:
    """From how many queries on expanding an earlier token's keys and values costs fewer multiplications."""
    expanding = shape.kv_rank * (shape.plain_dims + shape.value_dims)
    short = 2 * shape.kv_rank + shape.rotary_dims  # for each query
    expanded = shape.plain_dims + shape.rotary_dims + shape.value_dims
    return expanding / (short - expanded) if short > expanded else math.inf
