"""The network as one rank computes it: its own sequences' tokens, its own experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from serving.engine.kv_cache import KvCache
from serving.experts.exchange import Exchange
from serving.experts.placement import Placement
from serving.model.batch import Batch
from serving.model.config import ModelConfig
from serving.model.layer import Layer
from serving.model.mixture import Mixture, Routing
from serving.model.packed_experts import PackedExperts
from serving.model.rotary import Rotary
from serving.model.weights import ExpertWeights, MixtureWeights, Weights


@dataclass(frozen=True, slots=True)
class Computed:
    hidden: Tensor  # [rows, hidden], after the last norm
    gate_scores: Tensor  # [expert layers, rows, experts], sigmoid or softmax


class DecodeStep(Protocol):
    """The layers' compiled form for a step of single tokens: the same results, sooner."""

    def whole(self, layer: int, hidden: Tensor) -> tuple[Tensor, Routing | None] | None:
        """The layer with all its experts, and who got what; None where it is only there in two halves."""
        ...

    def open(self, layer: int, hidden: Tensor) -> tuple[Tensor, Tensor, Routing]:
        """A layer with experts up to them: hidden after attention, what the experts are given, who gets it."""
        ...

    def close(self, layer: int, hidden: Tensor, normed: Tensor, routed: Tensor) -> Tensor: ...


class DecodeSteps(Protocol):
    def of(self, batch: Batch, turns: tuple[Tensor, Tensor]) -> DecodeStep | None:
        """None where this step is no compiled one, or not yet."""
        ...


class Transformer:
    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        cache: KvCache,
        exchange: Exchange,
        compiled: DecodeSteps | None = None,
    ) -> None:
        self._config, self._weights, self._cache = config, weights, cache
        self._rotary, self._compiled = Rotary(config.rope, config.context_length), compiled
        self._layers = [Layer(config, w, layer) for layer, w in enumerate(weights.layers)]
        self._chosen: list[Tensor] = []  # in the last step, a layer with experts
        self._mixtures = [
            Mixture(config, w.mlp, exchange) if isinstance(w.mlp, MixtureWeights) else None for w in weights.layers
        ]

    def forward(self, batch: Batch) -> Computed:
        """Every rank of the gang must run the same step, even with no rows of its own. Raises ExchangeTimeout."""
        hidden = F.embedding(batch.tokens, self._weights.embedding) * self._config.embedding_scale
        turns = self._rotary.at(batch.positions)
        step = self._compiled.of(batch, turns) if self._compiled else None
        routings = []
        for layer in range(self._config.layers):
            hidden, routing = (
                self._layer(layer, hidden, batch, turns) if step is None else self._fast(step, layer, hidden, batch)
            )
            if routing is not None:
                routings.append(routing)
        self._chosen = [routing.experts for routing in routings]
        hidden = F.rms_norm(hidden, (self._config.hidden_size,), self._weights.norm, self._config.norm_eps)
        empty = hidden.new_zeros(0, len(hidden), self._config.experts)
        return Computed(hidden, torch.stack([routing.scores for routing in routings]) if routings else empty)

    def place(self, placement: Placement, rank: int, incoming: Mapping[int, ExpertWeights | PackedExperts]) -> None:
        """From the next step on ranks hold what `placement` says; `incoming`, by layer, what this one lacks.

        All ranks must be told between the same two steps. Raises ValueError when it is not all there.
        """
        for layer, mixture in enumerate(self._mixtures):
            if mixture is not None:
                mixture.place(placement.by_layer[layer], rank, incoming.get(layer))

    def expert_load(self) -> Tensor:
        """[expert layers, experts]: own rows of the last step that chose each expert."""
        experts = self._config.experts
        loads = [torch.bincount(chosen.reshape(-1), minlength=experts) for chosen in self._chosen]
        return torch.stack(loads) if loads else torch.zeros(0, experts, dtype=torch.int64)

    def logits(self, hidden: Tensor) -> Tensor:
        """[rows, hidden] → [rows, vocab]."""
        return F.linear(hidden, self._weights.head)

    def _layer(
        self, layer: int, hidden: Tensor, batch: Batch, turns: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Routing | None]:
        own, mixture = self._layers[layer], self._mixtures[layer]
        if len(hidden):  # a rank without rows still computes its experts for the others
            hidden = own.attend(hidden, batch, turns, self._cache)
        normed = own.normed(hidden)
        if mixture is None:
            return own.finish(hidden, normed, None), None
        routing = own.route(normed)
        return own.finish(hidden, normed, mixture(normed, routing, batch.counts)), routing

    def _fast(self, step: DecodeStep, layer: int, hidden: Tensor, batch: Batch) -> tuple[Tensor, Routing | None]:
        whole, mixture = step.whole(layer, hidden), self._mixtures[layer]
        if whole is not None:
            return whole
        assert mixture is not None
        hidden, normed, routing = step.open(layer, hidden)
        return step.close(layer, hidden, normed, mixture(normed, routing, batch.counts)), routing
