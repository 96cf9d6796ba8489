"""The mixture layer: a gate chooses experts, ranks exchange rows, the shared expert stays at the owner."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from serving.experts.exchange import Exchange
from serving.experts.placement import Held, copies_asked, holders_of
from serving.experts.product import ExpertProduct
from serving.kernels.products import linear
from serving.model.config import ModelConfig, RoutingRule
from serving.model.packed_experts import PackedExperts
from serving.model.weights import ExpertWeights, FeedForwardWeights, MixtureWeights


@dataclass(frozen=True, slots=True)
class Routing:
    entropies: Tensor  # [tokens] nats, of the gate's scores as shares of their sum
    experts: Tensor  # [tokens, k] ids
    weights: Tensor  # [tokens, k]


def feed_forward(hidden: Tensor, weights: FeedForwardWeights) -> Tensor:
    gate, up = linear(hidden, weights.gate_up).chunk(2, dim=-1)
    return linear(F.silu(gate) * up, weights.down)


class Mixture:
    """The routed experts of a layer, wherever their ranks are."""

    def __init__(self, config: ModelConfig, weights: MixtureWeights, exchange: Exchange) -> None:
        self._exchange, self._experts = exchange, config.experts
        self._product = ExpertProduct(weights.experts, config.experts)
        self._holders = torch.zeros(config.experts, dtype=torch.int64)  # the rank of each copy
        self._copies: Tensor | None = None  # [experts] the copy that own rows go to; None: every expert has one

    def place(self, held: Held, rank: int, incoming: ExpertWeights | PackedExperts | None = None) -> None:
        """From the next call on ranks hold what `held` says; `incoming` has the experts that this one lacks.

        All ranks must be told between the same two steps. Raises ValueError when `incoming` does not have them.
        """
        holders, experts = holders_of(held, self._experts), self._experts
        among = experts * max(len(holding) for holding in holders)
        copies = [holders[expert].index(rank) * experts + expert for expert in held[rank]]
        self._product.hold(held[rank], copies, among, incoming)
        self._holders = torch.full((among,), -1)  # nobody asks for a copy that is not there
        for expert, holding in enumerate(holders):
            for number, holder in enumerate(holding):
                self._holders[number * experts + expert] = holder
        self._copies = torch.tensor(copies_asked(holders, rank, len(held))) if among > experts else None

    def __call__(self, hidden: Tensor, routing: Routing, counts: tuple[int, ...]) -> Tensor:
        """[own, hidden] → what their experts make of them together, [own, hidden]."""
        copies = routing.experts if self._copies is None else self._copies[routing.experts]
        rows, copies, weights = self._exchange.dispatch(hidden, copies, routing.weights, counts, self._holders)
        return self._exchange.combine(self._product(rows, copies, weights), counts)


def route(hidden: Tensor, gate: MixtureWeights, rule: RoutingRule, top_k: int) -> Routing:
    """[tokens, hidden] → which experts each token goes to."""
    logits = linear(hidden, gate.gate)
    scores = torch.sigmoid(logits) if rule.scores == "sigmoid" else torch.softmax(logits, 1)
    ranked = scores if gate.bias is None else scores + gate.bias
    if rule.groups > 1:
        ranked = _within_best_groups(ranked, rule)
    chosen = torch.topk(ranked, top_k, dim=1).indices
    weights = scores.gather(1, chosen)
    if rule.normalised:
        weights = weights / (weights.sum(1, keepdim=True) + 1e-20)
    return Routing(_entropies(scores), chosen, weights * rule.scale)


def _entropies(scores: Tensor) -> Tensor:
    shares = (scores / scores.sum(1, keepdim=True)).clamp(min=1e-30)
    return -(shares * shares.log()).sum(1)


def _within_best_groups(ranked: Tensor, rule: RoutingRule) -> Tensor:
    """[tokens, experts] with -inf outside of each token's best groups; a group is as good as its best two."""
    grouped = ranked.view(len(ranked), rule.groups, ranked.shape[1] // rule.groups)
    best_two = grouped.topk(2, dim=2).values.sum(2)
    groups = best_two.topk(rule.groups_per_token, dim=1).indices
    outside = torch.ones_like(best_two, dtype=torch.bool).scatter_(1, groups, False)
    return grouped.masked_fill(outside.unsqueeze(2), float("-inf")).view_as(ranked)
