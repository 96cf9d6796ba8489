"""Knows which rank holds which experts of each layer, and which of its holders computes a row; plain data.

An expert that several ranks hold has several copies, numbered in order of their ranks. The id of a copy is
`number * experts + expert`: where no expert is held twice, copies and experts have the same ids.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from serving.model.config import ModelConfig

Held = tuple[tuple[int, ...], ...]  # of one layer, by rank: the expert ids it holds, ascending


@dataclass(frozen=True, slots=True)
class Placement:
    """`by_layer[layer][rank]` is the tuple of expert ids that rank holds, ascending; `version` tells two apart.

    Ranks are those of the stage that has the layer: every stage has as many.
    """

    ranks: int
    by_layer: dict[int, Held]
    version: int = 0

    def held_by(self, rank: int, layers: Collection[int] | None = None) -> dict[int, tuple[int, ...]]:
        """Of the `layers` of its stage; None: of all."""
        return {layer: held[rank] for layer, held in self.by_layer.items() if layers is None or layer in layers}


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


def slots_of(experts: int, ranks: int, spare: int) -> int:
    """Most experts of a layer that a rank holds: its even part, and `spare` more; all of them when it is alone."""
    return min(experts, -(-experts // ranks) + (spare if ranks > 1 else 0))


def holders_of(held: Held, experts: int) -> list[list[int]]:
    """By expert: the ranks that hold it, ascending; its copies in order of their numbers."""
    holders: list[list[int]] = [[] for _ in range(experts)]
    for rank, ids in enumerate(held):
        for expert in ids:
            holders[expert].append(rank)
    return holders


def copies_asked(holders: Sequence[Sequence[int]], owner: int, ranks: int) -> list[int]:
    """By expert: the copy that `owner`'s rows go to: its own if it holds one; other ranks spread over the copies."""
    experts, asked = len(holders), []
    for expert, holding in enumerate(holders):
        if len(holding) == 1:
            number = 0
        elif owner in holding:
            number = holding.index(owner)
        else:
            without = [rank for rank in range(ranks) if rank not in holding]
            number = (expert + without.index(owner)) % len(holding)
        asked.append(number * experts + expert)
    return asked


def placement_to_json(placement: Placement) -> dict[str, Any]:
    layers = {str(layer): held for layer, held in placement.by_layer.items()}
    return {"version": placement.version, "ranks": placement.ranks, "layers": layers}


def placement_from_json(data: dict[str, Any]) -> Placement:
    """Raises KeyError, TypeError or ValueError when it is none."""
    layers = {int(layer): tuple(tuple(ids) for ids in held) for layer, held in data["layers"].items()}
    return Placement(int(data["ranks"]), layers, int(data["version"]))
