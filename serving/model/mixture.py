"""The mixture layer: a gate chooses experts, ranks exchange rows, the shared expert stays at the owner."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from serving.experts.exchange import Exchange
from serving.experts.product import ExpertProduct
from serving.model.config import ModelConfig
from serving.model.weights import FeedForwardWeights, MixtureWeights


@dataclass(frozen=True, slots=True)
class Routing:
    scores: Tensor  # [tokens, experts], sigmoid or softmax
    experts: Tensor  # [tokens, k] ids
    weights: Tensor  # [tokens, k]


def feed_forward(hidden: Tensor, weights: FeedForwardWeights) -> Tensor:
    gate, up = F.linear(hidden, weights.gate_up).chunk(2, dim=-1)
    return F.linear(F.silu(gate) * up, weights.down)


class Mixture:
    def __init__(self, config: ModelConfig, weights: MixtureWeights, exchange: Exchange) -> None:
        self._weights, self._exchange = weights, exchange
        self._top_k, self._rule = config.experts_per_token, config.routing
        self._product = ExpertProduct(weights.experts, config.experts)

    def __call__(self, hidden: Tensor, counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """[own, hidden] → the mixture's output [own, hidden] and the gate's scores [own, experts]."""
        routing = self._route(hidden)
        rows, experts, weights = self._exchange.gather(hidden, routing.experts, routing.weights, counts)
        routed = self._exchange.combine(self._product(rows, experts, weights), counts)
        if self._weights.shared is not None:
            routed = routed + feed_forward(hidden, self._weights.shared)
        return routed, routing.scores

    def _route(self, hidden: Tensor) -> Routing:
        logits = F.linear(hidden, self._weights.gate)
        scores = torch.sigmoid(logits) if self._rule.scores == "sigmoid" else torch.softmax(logits, 1)
        ranked = scores if self._weights.bias is None else scores + self._weights.bias
        if self._rule.groups > 1:
            ranked = self._within_best_groups(ranked)
        chosen = torch.topk(ranked, self._top_k, dim=1).indices
        weights = scores.gather(1, chosen)
        if self._rule.normalised:
            weights = weights / (weights.sum(1, keepdim=True) + 1e-20)
        return Routing(scores, chosen, weights * self._rule.scale)

    def _within_best_groups(self, ranked: Tensor) -> Tensor:
        """[tokens, experts] with -inf outside of each token's best groups; a group is as good as its best two."""
        grouped = ranked.view(len(ranked), self._rule.groups, ranked.shape[1] // self._rule.groups)
        best_two = grouped.topk(2, dim=2).values.sum(2)
        groups = best_two.topk(self._rule.groups_per_token, dim=1).indices
        outside = torch.ones_like(best_two, dtype=torch.bool).scatter_(1, groups, False)
        return grouped.masked_fill(outside.unsqueeze(2), float("-inf")).view_as(ranked)
