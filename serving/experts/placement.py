"""Knows which rank holds which experts of each layer; plain data."""

from __future__ import annotations

from dataclasses import dataclass

from serving.model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Placement:
    """`by_layer[layer][rank]` is the tuple of expert ids that rank holds, ascending."""

    ranks: int
    by_layer: dict[int, tuple[tuple[int, ...], ...]]

    def held_by(self, rank: int) -> dict[int, tuple[int, ...]]:
        return {layer: held[rank] for layer, held in self.by_layer.items()}


def even_bounds(count: int, parts: int) -> list[int]:
    """Where each of `parts` equal runs of `count` begins, and the end; the last ones take what does not divide."""
    return [count * part // parts for part in range(parts + 1)]


def contiguous_placement(config: ModelConfig, ranks: int) -> Placement:
    """Equal runs of neighbouring experts; the last ranks take one more when it does not divide evenly.

    Raises ValueError when a rank would hold no expert.
    """
    if not 1 <= ranks <= config.experts:
        raise ValueError(f"ranks must be between 1 and {config.experts} (the number of experts), not {ranks}")
    bounds = even_bounds(config.experts, ranks)
    held = tuple(tuple(range(bounds[rank], bounds[rank + 1])) for rank in range(ranks))
    return Placement(ranks, dict.fromkeys(config.expert_layers, held))
