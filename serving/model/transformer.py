"""The network as one rank computes it: its own sequences' tokens, its stage's layers, its own experts of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from serving.engine.kv_cache import KvCache
from serving.experts.exchange import Exchange
from serving.experts.placement import Placement
from serving.model.batch import Batch
from serving.model.config import ModelConfig
from serving.model.layer import Layer
from serving.model.likelihoods import Likelihoods, logits, measure
from serving.model.mixture import Mixture, Routing
from serving.model.packed_experts import PackedExperts
from serving.model.rotary import Rotary
from serving.model.weights import ExpertWeights, MixtureWeights, Weights


@dataclass(frozen=True, slots=True)
class Computed:
    hidden: Tensor  # [rows, hidden], after the last layer that is here
    gate_entropy: Tensor  # [rows] nats, summed over the expert layers that are here
    step: DecodeStep | None = None  # what computed it, where its layers are compiled
    likelihoods: Likelihoods | None = None  # of every row, where the step is compiled whole


class DecodeStep(Protocol):
    """The layers' compiled form for a step of single tokens: the same results, sooner."""

    def whole(self, layer: int, hidden: Tensor) -> tuple[Tensor, Routing | None] | None:
        """The layer with all its experts, and who got what; None where it is only there in two halves."""
        ...

    def open(self, layer: int, hidden: Tensor) -> tuple[Tensor, Tensor, Routing]:
        """A layer with experts up to them: hidden after attention, what the experts are given, who gets it."""
        ...

    def close(self, layer: int, hidden: Tensor, normed: Tensor, routed: Tensor) -> Tensor: ...

    def measure(self, hidden: Tensor) -> Likelihoods:
        """Of every row, with the MOST_TOP likeliest tokens."""
        ...


MOST_TOP = 20  # likeliest tokens that a compiled step tells, or all where the vocabulary is smaller


@dataclass(frozen=True, slots=True)
class WholeStep:
    hidden: Tensor  # [rows, hidden], after the last layer
    gate_entropy: Tensor  # [rows] nats, summed over expert layers
    experts: Tensor  # [expert layers, rows, k] chosen
    likelihoods: Likelihoods  # of every row


class DecodeSteps(Protocol):
    def of(self, batch: Batch, turns: tuple[Tensor, Tensor]) -> DecodeStep | None:
        """None where this step is no compiled one, or not yet."""
        ...

    def whole(self, batch: Batch) -> WholeStep | None:
        """The step's results, where this rank has the whole network and a step is compiled whole; or None."""
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
        """A stage's `config` is that of its own layers alone, and `weights` and `cache` are theirs."""
        self._config, self._weights, self._cache = config, weights, cache
        self._rotary, self._compiled = Rotary(config.rope, config.context_length), compiled
        self._layers = [Layer(config, w, layer) for layer, w in enumerate(weights.layers)]
        self._chosen: Tensor | None = None  # [expert layers, rows, k] in the last step
        self._layer_begins = np.arange(len(config.expert_layers))[:, None] * config.experts
        self._mixtures = [
            Mixture(config, w.mlp, exchange) if isinstance(w.mlp, MixtureWeights) else None for w in weights.layers
        ]

    def forward(self, batch: Batch, received: Tensor | None = None) -> Computed:
        """`received` [rows, hidden] is what the stage before made of the batch's rows; the first stage embeds tokens.

        Every rank of a stage must run the same step, even with no rows of its own. Raises ExchangeTimeout.
        """
        found = self._compiled.whole(batch) if self._compiled else None
        if found is not None:
            self._chosen = found.experts
            return Computed(found.hidden, found.gate_entropy, likelihoods=found.likelihoods)
        hidden = self._embedded(batch.tokens) if received is None else received
        if not len(hidden):
            return self._beside(hidden, batch.counts)
        turns = self._rotary.at(batch.positions)
        step = self._compiled.of(batch, turns) if self._compiled else None
        routings = []
        for layer in range(self._config.layers):
            hidden, routing = (
                self._layer(layer, hidden, batch, turns) if step is None else self._fast(step, layer, hidden, batch)
            )
            if routing is not None:
                routings.append(routing)
        self._chosen = torch.stack([routing.experts for routing in routings]) if routings else None
        return Computed(hidden, _summed(routings, hidden), step)

    def place(self, placement: Placement, rank: int, incoming: Mapping[int, ExpertWeights | PackedExperts]) -> None:
        """From the next step on ranks hold what `placement` says; `incoming`, by layer, what this one lacks.

        Both count layers as `config` does; ranks are those of a stage, and all must be told between the same two steps.
        Raises ValueError when it is not all there.
        """
        for layer, mixture in enumerate(self._mixtures):
            if mixture is not None:
                mixture.place(placement.by_layer[layer], rank, incoming.get(layer))

    def expert_load(self) -> npt.NDArray[np.int64]:
        """[expert layers, experts]: own rows of the last step that chose each expert."""
        experts, layers = self._config.experts, len(self._layer_begins)
        if self._chosen is None or not layers:
            return np.zeros((layers, experts), np.int64)
        places = self._chosen.numpy().reshape(layers, -1) + self._layer_begins
        return np.bincount(places.ravel(), minlength=layers * experts).reshape(layers, experts)

    def logits(self, hidden: Tensor) -> Tensor:
        """[rows, hidden] after the last layer → [rows, vocab]; of the last stage."""
        assert self._weights.norm is not None
        assert self._weights.head is not None
        return logits(hidden, self._weights.norm, self._weights.head, self._config.norm_eps)

    def measure(self, computed: Computed, rows: Tensor | None, top_k: int) -> Likelihoods:
        """Of some of its rows, or None: of all; with at least `top_k` of the likeliest tokens; of the last stage."""
        found = computed.likelihoods
        if found is None and computed.step is not None and top_k <= MOST_TOP:
            found = computed.step.measure(computed.hidden)
        if found is not None and top_k <= MOST_TOP:
            return found if rows is None else found.of(rows)
        hidden = computed.hidden if rows is None else computed.hidden[rows]
        return measure(self.logits(hidden), min(top_k, self._config.vocab_size))

    def _embedded(self, tokens: Tensor) -> Tensor:
        assert self._weights.embedding is not None
        return F.embedding(tokens, self._weights.embedding) * self._config.embedding_scale

    def _beside(self, hidden: Tensor, counts: tuple[int, ...]) -> Computed:
        """A rank without rows still computes its experts for the others."""
        nothing = torch.zeros(0, self._config.experts_per_token)
        routing = Routing(nothing.sum(1), nothing.long(), nothing)
        for mixture in self._mixtures:
            if mixture is not None:
                mixture(hidden, routing, counts)
        self._chosen = None
        return Computed(hidden, routing.entropies)

    def _layer(
        self, layer: int, hidden: Tensor, batch: Batch, turns: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Routing | None]:
        own, mixture = self._layers[layer], self._mixtures[layer]
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


def _summed(routings: list[Routing], hidden: Tensor) -> Tensor:
    if not routings:
        return hidden.new_zeros(len(hidden))
    total = routings[0].entropies
    for routing in routings[1:]:
        total = total + routing.entropies
    return total
