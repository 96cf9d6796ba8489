"""Latent attention (DeepSeek-V2, section 2.1): of a token only a short vector and one turned key are kept.

What makes keys and values of the short vector is multiplied into queries and results instead, so that nothing is
ever expanded for earlier tokens: all heads share one key head of that short vector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

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

    def __call__(self, hidden: Tensor, batch: Batch, turns: tuple[Tensor, Tensor], cache: Cache) -> Tensor:
        queries, latent, key = torch.split(F.linear(hidden, self._weights.inward), self._split, dim=1)
        latent = F.rms_norm(latent, (self._shape.kv_rank,), self._weights.latent_norm, _EPS)
        key = rotate(key.unsqueeze(1), *turns).squeeze(1)
        cache.write(self._layer, batch.slots, torch.cat((latent, key), 1))
        asked = self._queries(queries, turns)
        parts = [self._attend(asked[span.first : span.last], span, cache) for span in batch.spans]
        seen = parts[0] if len(parts) == 1 else torch.cat(parts)
        return F.linear(seen, self._weights.output)

    def _queries(self, queries: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """[tokens, query rank, or all heads' queries] → [tokens, heads, kv_rank + rotary_dims]."""
        shape, weights = self._shape, self._weights
        if weights.query_up is not None:
            queries = F.linear(F.rms_norm(queries, queries.shape[1:], weights.query_norm, _EPS), weights.query_up)
        queries = queries.view(len(queries), shape.heads, -1)
        plain, turned = torch.split(queries, [shape.plain_dims, shape.rotary_dims], dim=2)
        asked = torch.bmm(plain.transpose(0, 1), weights.key_up).transpose(0, 1)
        return torch.cat((asked, rotate(turned, *turns)), 2)

    def _attend(self, queries: Tensor, span: Span, cache: Cache) -> Tensor:
        """[span's tokens, heads, kv_rank + rotary_dims] → [span's tokens, heads * value_dims]."""
        kept = cache.read(self._layer, span.tables).unsqueeze(1)
        asked = queries.view(len(kept), span.queries, self._shape.heads, -1)
        # The turned key is taken for a value too and then left out: equal widths run in one fused kernel.
        found = attend(asked, kept, kept, span.causal, self._shape.scale)[..., : self._shape.kv_rank]
        values = torch.bmm(found.transpose(0, 1), self._weights.value_up)
        return values.transpose(0, 1).flatten(1)
