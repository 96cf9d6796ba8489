"""The `afmoe` network as one rank computes it: its own sequences' tokens, its own experts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from serving.experts.exchange import Exchange
from serving.model.attention import Cache, GatedAttention, Rotary
from serving.model.batch import Batch
from serving.model.config import ModelConfig
from serving.model.mixture import Mixture, feed_forward
from serving.model.weights import FeedForwardWeights, LayerWeights, Weights


@dataclass(frozen=True, slots=True)
class Computed:
    hidden: Tensor  # [rows, hidden], after the last norm
    gate_scores: Tensor  # [expert layers, rows, experts], sigmoid


class Transformer:
    def __init__(self, config: ModelConfig, weights: Weights, cache: Cache, exchange: Exchange) -> None:
        self._config, self._weights, self._cache = config, weights, cache
        self._rotary = Rotary(config)
        self._layers = [_Layer(config, w, layer, exchange) for layer, w in enumerate(weights.layers)]

    def forward(self, batch: Batch) -> Computed:
        """Every rank of the gang must run the same step, even with no rows of its own. Raises ExchangeTimeout."""
        hidden = F.embedding(batch.tokens, self._weights.embedding) * self._config.embedding_scale
        turns = self._rotary.at(batch.positions)
        gates = []
        for layer in self._layers:
            hidden, scores = layer(hidden, batch, turns, self._cache)
            if scores is not None:
                gates.append(scores)
        hidden = F.rms_norm(hidden, (self._config.hidden_size,), self._weights.norm, self._config.norm_eps)
        empty = hidden.new_zeros(0, len(hidden), self._config.experts)
        return Computed(hidden, torch.stack(gates) if gates else empty)

    def expert_load(self) -> Tensor:
        """[expert layers, experts]: own rows of the last step that chose each expert."""
        loads = [layer.mixture.load for layer in self._layers if layer.mixture is not None]
        return torch.stack(loads) if loads else torch.zeros(0, self._config.experts, dtype=torch.int64)

    def logits(self, hidden: Tensor) -> Tensor:
        """[rows, hidden] → [rows, vocab]."""
        return F.linear(hidden, self._weights.head)


class _Layer:
    def __init__(self, config: ModelConfig, weights: LayerWeights, layer: int, exchange: Exchange) -> None:
        self._weights, self._shape, self._eps = weights, (config.hidden_size,), config.norm_eps
        self._attention = GatedAttention(config, weights.attention, layer)
        mlp = weights.mlp
        self.mixture = None if isinstance(mlp, FeedForwardWeights) else Mixture(config, mlp, exchange)

    def __call__(
        self, hidden: Tensor, batch: Batch, turns: tuple[Tensor, Tensor], cache: Cache
    ) -> tuple[Tensor, Tensor | None]:
        w = self._weights
        if len(hidden):  # a rank without rows still computes its experts for the others
            attended = self._attention(self._norm(hidden, w.before_attention), batch, turns, cache)
            hidden = hidden + self._norm(attended, w.after_attention)
        normed, scores = self._norm(hidden, w.before_mlp), None
        if isinstance(w.mlp, FeedForwardWeights):
            changed = feed_forward(normed, w.mlp)
        elif self.mixture is not None:
            changed, scores = self.mixture(normed, batch.counts)
        return hidden + self._norm(changed, w.after_mlp), scores

    def _norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(hidden, self._shape, weight, self._eps)
