"""One layer without its routed experts: what a rank computes of its own rows alone."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from serving.model.attention import Attention, Cache, GroupedAttention
from serving.model.batch import Batch
from serving.model.config import GroupedShape, LatentShape, ModelConfig
from serving.model.latent_attention import LatentAttention
from serving.model.mixture import Routing, feed_forward, route
from serving.model.weights import FeedForwardWeights, GroupedWeights, LatentWeights, LayerWeights


class Layer:
    def __init__(self, config: ModelConfig, weights: LayerWeights, layer: int) -> None:
        self._weights, self._shape, self._eps = weights, (config.hidden_size,), config.norm_eps
        self._attention = _attention(config, weights.attention, layer)
        self._top_k, self._rule = config.experts_per_token, config.routing

    def attend(self, hidden: Tensor, batch: Batch, turns: tuple[Tensor, Tensor], cache: Cache) -> Tensor:
        """[rows, hidden] → [rows, hidden]; writes this step's tokens to the cache first."""
        w = self._weights
        attended = self._attention(self._norm(hidden, w.before_attention), batch, turns, cache)
        return hidden + (attended if w.after_attention is None else self._norm(attended, w.after_attention))

    def normed(self, hidden: Tensor) -> Tensor:
        """What the gate, the experts and the feed-forward network are given."""
        return self._norm(hidden, self._weights.before_mlp)

    def route(self, normed: Tensor) -> Routing:
        """Of a layer that has experts."""
        assert not isinstance(self._weights.mlp, FeedForwardWeights)
        return route(normed, self._weights.mlp, self._rule, self._top_k)

    def finish(self, hidden: Tensor, normed: Tensor, routed: Tensor | None) -> Tensor:
        """[rows, hidden] with what the routed experts made of `normed`; None in a layer without experts."""
        w = self._weights
        if isinstance(w.mlp, FeedForwardWeights):
            changed = feed_forward(normed, w.mlp)
        else:
            assert routed is not None
            changed = routed if w.mlp.shared is None else routed + feed_forward(normed, w.mlp.shared)
        return hidden + (changed if w.after_mlp is None else self._norm(changed, w.after_mlp))

    def _norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(hidden, self._shape, weight, self._eps)


def _attention(config: ModelConfig, weights: GroupedWeights | LatentWeights, layer: int) -> Attention:
    match config.attention, weights:
        case GroupedShape() as shape, GroupedWeights() as grouped:
            return GroupedAttention(config, shape, grouped, layer)
        case LatentShape() as shape, LatentWeights() as latent:
            return LatentAttention(shape, latent, layer)
    raise TypeError("the weights are those of another kind of attention than the config's")
