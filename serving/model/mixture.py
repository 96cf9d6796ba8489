"""The mixture layer: a sigmoid gate chooses experts, ranks exchange rows, the shared expert stays at the owner."""

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
    scores: Tensor  # [tokens, experts], sigmoid
    experts: Tensor  # [tokens, k] ids
    weights: Tensor  # [tokens, k], sum to route_scale


def feed_forward(hidden: Tensor, weights: FeedForwardWeights) -> Tensor:
    gate, up = F.linear(hidden, weights.gate_up).chunk(2, dim=-1)
    return F.linear(F.silu(gate) * up, weights.down)


class Mixture:
    def __init__(self, config: ModelConfig, weights: MixtureWeights, exchange: Exchange) -> None:
        self._weights, self._exchange = weights, exchange
        self._top_k, self._scale = config.experts_per_token, config.route_scale
        self._product = ExpertProduct(weights.experts, config.experts)
        self.load = torch.zeros(config.experts, dtype=torch.int64)  # own rows that each expert was last chosen for

    def __call__(self, hidden: Tensor, counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """[own, hidden] → the mixture's output [own, hidden] and the gate's scores [own, experts]."""
        routing = self._route(hidden)
        self.load = torch.bincount(routing.experts.reshape(-1), minlength=len(self.load))
        rows, experts, weights = self._exchange.gather(hidden, routing.experts, routing.weights, counts)
        routed = self._exchange.combine(self._product(rows, experts, weights), counts)
        if self._weights.shared is not None:
            routed = routed + feed_forward(hidden, self._weights.shared)
        return routed, routing.scores

    def _route(self, hidden: Tensor) -> Routing:
        scores = torch.sigmoid(F.linear(hidden, self._weights.gate))
        chosen = torch.topk(scores + self._weights.bias, self._top_k, dim=1).indices
        weights = scores.gather(1, chosen)
        weights = weights / (weights.sum(1, keepdim=True) + 1e-20) * self._scale
        return Routing(scores, chosen, weights)
