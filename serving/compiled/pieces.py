"""What is compiled of a decode step: layers as functions of tensors alone, weights and cache among them.

Layers of one kind share their compiled form, whatever their weights. A rank that holds all experts runs a layer whole;
several ranks exchange rows in its middle, so theirs are halves. The functions run the very code of the eager path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import silu

from serving.compiled.tensors import tensors_of, with_tensors
from serving.engine.kv_cache import LayerCache
from serving.experts.matrices import gathered
from serving.experts.plain_int4 import PlainInt4
from serving.kernels.library import loaded
from serving.kernels.products import routed_experts, routed_experts_int4
from serving.model.batch import Batch, Span
from serving.model.config import GroupedShape, ModelConfig
from serving.model.layer import Layer
from serving.model.likelihoods import logits, measure
from serving.model.mixture import Routing
from serving.model.packed_experts import PackedExperts
from serving.model.transformer import MOST_TOP
from serving.model.weights import ExpertWeights, LayerWeights, MixtureWeights

Part = Literal["whole", "open", "close"]
Sizes = tuple[Any, ...]  # for torch.export: by input, None or {dimension: Dim}
WIDTH = torch.export.Dim("width", min=2, max=1 << 20)  # of block tables: the only size that changes from step to step


@dataclass(frozen=True, slots=True)
class LayerKind:
    """What layers must have in common to share a compiled form."""

    sliding: bool
    rotary: bool
    experts: bool

    @property
    def name(self) -> str:
        words = ("sliding" if self.sliding else "full", "turned" if self.rotary else "plain")
        return "-".join((*words, "experts" if self.experts else "dense"))


def kind_of(config: ModelConfig, layer: int) -> LayerKind:
    shape, experts = config.attention, layer in config.expert_layers
    if isinstance(shape, GroupedShape):
        return LayerKind(shape.sliding[layer], shape.rotary[layer], experts)
    return LayerKind(False, True, experts)


def parts_of(kind: LayerKind, ranks: int) -> tuple[Part, ...]:
    return ("open", "close") if kind.experts and ranks > 1 else ("whole",)


class StepInputs:
    """What every layer of one step is given, in the order that `Piece` takes it."""

    __slots__ = ("tensors",)

    def __init__(self, turns: tuple[Tensor, Tensor], positions: Tensor, slots: Tensor, tables: Tensor) -> None:
        self.tensors = [*turns, positions, slots, tables]


class Piece(torch.nn.Module):
    """One part of a layer. Forward takes hidden (close: hidden, normed, routed), the step's inputs, cache, weights."""

    def __init__(self, config: ModelConfig, weights: LayerWeights, layer: int, part: Part, block_size: int) -> None:
        super().__init__()
        self._config, self._layer, self._part, self._block_size = config, layer, part, block_size
        self._template = without_routed(weights) if part != "whole" else weights

    def inputs(self, rows: int, cache: Tensor, turns: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """Of the right shapes, for tracing."""
        hidden = torch.zeros(rows, self._config.hidden_size)
        weights = tensors_of(self._template)
        if self._part == "close":
            return (hidden, hidden.clone(), hidden.clone(), *weights)
        positions, tables = torch.full((rows,), self._block_size), torch.zeros(rows, 2, dtype=torch.int64)
        step = StepInputs(turns, positions, torch.arange(rows), tables)
        return (hidden, *step.tensors, cache, *weights)

    def sizes(self, inputs: int) -> Sizes:
        """Only the width of the block tables changes from step to step."""
        found: list[dict[int, torch.export.Dim] | None] = [None] * inputs
        if self._part != "close":
            found[5] = {1: WIDTH}
        return (tuple(found),)  # forward takes them as one list

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        if self._part == "close":
            hidden, normed, routed = given[:3]
            return (self._rebuilt(given[3:])[0].finish(hidden, normed, routed),)
        hidden, cos, sin, positions, slots, tables, rows = given[:7]
        layer, weights = self._rebuilt(given[7:])
        span = Span(0, len(positions), positions.unsqueeze(1), tables, self._block_size, self._config.window)
        batch, cache = Batch(positions, positions, slots, (span,), ()), LayerCache(rows, self._block_size)
        if self._part == "open":
            hidden = layer.attend(hidden, batch, (cos, sin), cache)
            normed = layer.normed(hidden)
            routing = layer.route(normed)
            return (hidden, normed, routing.entropies, routing.experts, routing.weights)
        hidden, found = layer_pass(self._config, weights, self._layer, hidden, batch, (cos, sin), cache)
        return (hidden, found.entropies, found.experts, found.weights) if found else (hidden,)

    def _rebuilt(self, tensors: Sequence[Tensor]) -> tuple[Layer, LayerWeights]:
        weights = with_tensors(self._template, iter(tensors))
        return Layer(self._config, weights, self._layer), weights


def layer_pass(
    config: ModelConfig,
    weights: LayerWeights,
    number: int,
    hidden: Tensor,
    batch: Batch,
    turns: tuple[Tensor, Tensor],
    cache: LayerCache,
) -> tuple[Tensor, Routing | None]:
    """A layer of a rank that holds all its experts."""
    layer = Layer(config, weights, number)
    hidden = layer.attend(hidden, batch, turns, cache)
    normed = layer.normed(hidden)
    if not isinstance(weights.mlp, MixtureWeights):
        return layer.finish(hidden, normed, None), None
    routing = layer.route(normed)
    return layer.finish(hidden, normed, _product(normed, routing, weights.mlp.experts)), routing


def _product(rows: Tensor, routing: Routing, experts: ExpertWeights | PackedExperts) -> Tensor:
    """[rows, hidden] of a rank that holds all experts, each in its own place."""
    if isinstance(experts, ExpertWeights):
        if loaded():
            return routed_experts(rows, routing.experts, routing.weights, experts.gate_up, experts.down)
        return gathered_product(rows, routing, experts)
    gate_up, down = experts.gate_up, experts.down
    if not (isinstance(gate_up, PlainInt4) and isinstance(down, PlainInt4)):
        raise TypeError("experts in torch's order are not compiled: ask can_be_compiled first")
    return routed_experts_int4(rows, routing.experts, routing.weights, gate_up.tensors, down.tensors)


class HeadPiece(torch.nn.Module):
    """What follows the last layer. Forward takes hidden, norm, head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self._config, self._top_k = config, min(MOST_TOP, config.vocab_size)

    def inputs(self, rows: int) -> tuple[Tensor, ...]:
        """Of the right shapes, for tracing."""
        config = self._config
        ends = (torch.ones(config.hidden_size), torch.zeros(config.vocab_size, config.hidden_size))
        return (torch.zeros(rows, config.hidden_size), *ends)

    def forward(self, hidden: Tensor, norm: Tensor, head: Tensor) -> tuple[Tensor, ...]:
        return measure(logits(hidden, norm, head, self._config.norm_eps), self._top_k).tensors


def gathered_product(rows: Tensor, routing: Routing, experts: ExpertWeights) -> Tensor:
    """[rows, hidden] of a rank that holds all experts, each in its own place."""
    count, top_k = routing.experts.shape
    chosen = routing.experts.reshape(-1)
    gate, up = gathered(experts.gate_up, rows.repeat_interleave(top_k, 0), chosen).chunk(2, -1)
    products = gathered(experts.down, silu(gate) * up, chosen) * routing.weights.reshape(-1, 1)
    return products.view(count, top_k, -1).sum(1)


def can_be_compiled(experts: ExpertWeights | PackedExperts) -> bool:
    """Whether these are plain tensors with every expert in its own place."""
    plain = isinstance(experts, ExpertWeights) or isinstance(experts.gate_up, PlainInt4)
    return plain and experts.ids == tuple(range(len(experts.ids)))


def without_routed(weights: LayerWeights) -> LayerWeights:
    """With no experts but the shared one, as halves of layers see them."""
    if not isinstance(weights.mlp, MixtureWeights):
        return weights
    none = ExpertWeights((), *(torch.empty(0) for _ in range(2)))
    return replace(weights, mlp=replace(weights.mlp, experts=none))
