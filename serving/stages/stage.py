"""Knows which neighbouring layers each stage of the pipeline computes; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

from serving.experts.placement import even_bounds
from serving.model.config import GroupedShape, ModelConfig

_Each = TypeVar("_Each")  # what there is for a layer


@dataclass(frozen=True, slots=True)
class PipelineStage:
    number: int  # from 0
    count: int  # of stages
    layers: range  # as the whole network counts them

    @property
    def is_first(self) -> bool:
        """It embeds tokens."""
        return self.number == 0

    @property
    def is_last(self) -> bool:
        """It has the last norm and the head."""
        return self.number == self.count - 1

    def part_of(self, config: ModelConfig) -> ModelConfig:
        """The network of these layers alone, which counts them from 0: whoever computes it need not know of stages."""
        first, end, shape = self.layers.start, self.layers.stop, config.attention
        if isinstance(shape, GroupedShape):
            shape = replace(shape, sliding=shape.sliding[first:end], rotary=shape.rotary[first:end])
        mixed = tuple(layer - first for layer in config.expert_layers if layer in self.layers)
        return replace(config, layers=len(self.layers), expert_layers=mixed, attention=shape)

    def numbered(self, by_layer: Mapping[int, _Each]) -> dict[int, _Each]:
        """Of these layers alone, counted from 0."""
        return {layer - self.layers.start: each for layer, each in by_layer.items() if layer in self.layers}


def stages_of(config: ModelConfig, count: int) -> tuple[PipelineStage, ...]:
    """Equal runs of layers; the last stages take one more when it does not divide evenly.

    Raises ValueError when a stage would have no layer.
    """
    if not 1 <= count <= config.layers:
        raise ValueError(
            f"{config.layers} layers cannot be split into {count} stages: set COUNTERSIGN_STAGES between 1 and "
            f"{config.layers}."
        )
    runs = pairwise(even_bounds(config.layers, count))
    return tuple(PipelineStage(number, count, range(*run)) for number, run in enumerate(runs))
