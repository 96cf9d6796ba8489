"""Counts a model's bytes by what they are read for, from its tensors' shapes; reads no tensor."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from serving.model.config import ModelConfig
from serving.model.layout import needed_tensors

_LAYER = re.compile(r"model\.layers\.(\d+)\.")
_ROUTED = re.compile(r"\.experts\.(?:\d+\.|gate_up_proj|down_proj)")
BF16 = 2.0  # bytes a number
INT4 = 4.25 / 8  # bytes a number, its share of the group's scale and offset included (docs/decisions/0023)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What decides the cost of a step; numbers are counts of parameters unless said otherwise."""

    layers: int
    expert_layers: int
    hidden: int
    experts: int  # of one layer
    experts_per_token: int
    dense: tuple[int, ...]  # by layer: all but routed experts
    one_expert: int  # of one layer
    ends: int  # embedding, last norm and head
    head: int  # read whole at every step
    cached: int  # numbers kept for one token in one layer
    context: int  # tokens

    @property
    def total(self) -> int:
        """Of the whole model."""
        return sum(self.dense) + self.ends + self.expert_layers * self.experts * self.one_expert

    @property
    def active(self) -> int:
        """That one token meets, the embedding's table aside."""
        return sum(self.dense) + self.head + self.expert_layers * self.experts_per_token * self.one_expert


def shape_of(config: ModelConfig) -> ModelShape:
    """From what a checkpoint of this config must hold."""
    dense, routed, ends = [0] * config.layers, 0, 0
    for name, shape in needed_tensors(replace(config, packing=None), frozenset()).items():  # numbers, not bytes
        layer, size = _LAYER.match(name), math.prod(shape)
        if layer is None:
            ends += size
        elif _ROUTED.search(name):
            routed += size
        else:
            dense[int(layer[1])] += size
    expert_layers = len(config.expert_layers)
    return ModelShape(
        layers=config.layers,
        expert_layers=expert_layers,
        hidden=config.hidden_size,
        experts=config.experts,
        experts_per_token=config.experts_per_token,
        dense=tuple(dense),
        one_expert=routed // (expert_layers * config.experts) if expert_layers else 0,
        ends=ends,
        head=config.vocab_size * config.hidden_size,
        cached=config.attention.cache_width,
        context=config.context_length,
    )
