"""A whole decode step as one function of tensors: for models of few layers, where starting each layer would show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding as embedded

from serving.compiled.pieces import WIDTH, Sizes, layer_pass
from serving.compiled.tensors import tensors_of, with_tensors
from serving.engine.kv_cache import LayerCache
from serving.kernels.library import loaded
from serving.model.batch import Batch, Span
from serving.model.config import ModelConfig
from serving.model.likelihoods import logits, measure
from serving.model.rotary import Rotary
from serving.model.transformer import MOST_TOP
from serving.model.weights import LayerWeights, Weights

MOST_LAYERS = 12  # compiling takes as long as there are layers
_GIVEN = 9  # before the layers' own: tokens, positions, slots, tables, cosines, sines, embedding, norm, head
_TABLES = 3  # their place


def is_whole(config: ModelConfig, ranks: int, stages: int) -> bool:
    """Whether one rank computes the whole network, and that is compiled whole."""
    return ranks == stages == 1 and config.layers <= MOST_LAYERS and (config.packing is None or loaded())


class StepPiece(torch.nn.Module):
    """Forward takes the step's inputs, both ends of the network, each layer's cache, each layer's weights."""

    def __init__(self, config: ModelConfig, layers: Sequence[LayerWeights], block_size: int) -> None:
        """`layers` are looked at for their shapes alone."""
        super().__init__()
        self._config, self._block_size = config, block_size
        self._layers: Any = [with_tensors(layer, _empty(layer)) for layer in layers]

    def inputs(self, rows: int, slots: int, rotary: Rotary) -> tuple[Tensor, ...]:
        """Of the right shapes, for tracing."""
        config = self._config
        numbers = torch.zeros(rows, dtype=torch.int64), torch.full((rows,), self._block_size), torch.arange(rows)
        tables = torch.zeros(rows, 2, dtype=torch.int64)
        ends = torch.empty(config.vocab_size, config.hidden_size), torch.empty(config.hidden_size)
        head = torch.empty(config.vocab_size, config.hidden_size)
        caches = [torch.empty(slots, config.attention.cache_width) for _ in range(config.layers)]
        return (*numbers, tables, *rotary.tables, *ends, head, *caches, *tensors_of_all(self._layers))

    def sizes(self, inputs: int) -> Sizes:
        """Only the width of the block tables changes from step to step."""
        found: list[dict[int, torch.export.Dim] | None] = [None] * inputs
        found[_TABLES] = {1: WIDTH}
        return (tuple(found),)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        config, layers = self._config, self._config.layers
        tokens, positions, slots, tables, cos, sin, embedding, norm, head = given[:_GIVEN]
        caches, weights = given[_GIVEN : _GIVEN + layers], iter(given[_GIVEN + layers :])
        span = Span(0, len(positions), positions.unsqueeze(1), tables, self._block_size, config.window)
        batch, turns = Batch(tokens, positions, slots, (span,), ()), (cos[positions], sin[positions])
        hidden, entropy, chosen = embedded(tokens, embedding) * config.embedding_scale, torch.zeros(len(tokens)), []
        for number, cache in enumerate(caches):
            own = with_tensors(self._layers[number], weights)
            hidden, routing = layer_pass(config, own, number, hidden, batch, turns, LayerCache(cache, self._block_size))
            if routing is not None:
                entropy = entropy + routing.entropies
                chosen.append(routing.experts)
        experts = torch.stack(chosen) if chosen else torch.zeros(0, len(tokens), 1, dtype=torch.int64)
        top_k = min(MOST_TOP, config.vocab_size)
        return (hidden, entropy, experts, *measure(logits(hidden, norm, head, config.norm_eps), top_k).tensors)


def step_inputs(
    numbers: tuple[Tensor, Tensor, Tensor, Tensor], rotary: Rotary, weights: Weights, caches: Sequence[Tensor]
) -> list[Tensor]:
    """`numbers`: tokens, positions, slots, tables."""
    assert weights.embedding is not None
    assert weights.norm is not None
    assert weights.head is not None
    ends = (weights.embedding, weights.norm, weights.head)
    return [*numbers, *rotary.tables, *ends, *caches, *tensors_of_all(weights.layers)]


def tensors_of_all(layers: Sequence[LayerWeights]) -> list[Tensor]:
    return [tensor for layer in layers for tensor in tensors_of(layer)]


def _empty(layer: LayerWeights) -> Iterator[Tensor]:
    """Memory that nobody touches."""
    return (torch.empty_like(tensor) for tensor in tensors_of(layer))
