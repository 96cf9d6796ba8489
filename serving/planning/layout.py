"""Finds how a model is laid over a fleet: stages x expert ranks, what each rank holds and what it can cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from serving.experts.placement import even_bounds, slots_of
from serving.planning.cost import Machine, Work, token_seconds, tokens_per_second
from serving.planning.devices import Fleet
from serving.planning.shape import BF16, ModelShape

RESERVED = 0.08  # of a device's memory, for the runtime, activations and what no plan foresees
EXCHANGE_SECONDS = 12e-6  # a collective over few rows, on one node
NETWORK_SECONDS = 40e-6
USUAL_BATCH = 256  # sequences of one rank at most, unless told


@dataclass(frozen=True, slots=True)
class Layout:
    """One way, with what follows from it; bytes are of the rank that holds most."""

    stages: int
    ranks: int  # expert ranks of a stage
    layers: tuple[int, ...]  # of each stage
    experts: tuple[int, ...]  # of each rank, of one layer
    dense_bytes: float
    expert_bytes: float
    cache_bytes: float  # what is left for the cache; below nought it does not fit
    cache_tokens: int  # of one rank
    batch: int
    tokens_per_second: float
    token_seconds: float

    @property
    def held(self) -> float:
        """Bytes of weights."""
        return self.dense_bytes + self.expert_bytes

    @property
    def fits(self) -> bool:
        return self.cache_bytes > 0 and self.batch > 0


@dataclass(frozen=True, slots=True)
class PlannedLoad:
    """What a plan is for."""

    expert_bytes: float  # of one number
    context: int  # tokens of a sequence
    batch: int | None = None  # sequences; None: as many as the cache of a layout holds, at most USUAL_BATCH a rank
    spare_experts: int = 0  # of a layer, that a rank has room for beyond its even part


def layouts(shape: ModelShape, fleet: Fleet, wanted: PlannedLoad) -> list[Layout]:
    """Those that fit, fastest first; if none does, those that lack least. A batch is cut to what the cache holds."""
    found = [_layout(shape, fleet, *grid, wanted) for grid in _grids(shape, fleet)]
    fitting = [each for each in found if each.fits]
    if fitting:
        return sorted(fitting, key=lambda each: -each.tokens_per_second)
    return sorted(found, key=lambda each: -each.cache_bytes)


def machine_of(fleet: Fleet, ranks: int) -> Machine:
    """As the data sheet has it."""
    device = fleet.device
    exchange = EXCHANGE_SECONDS if ranks <= fleet.of_node else NETWORK_SECONDS
    return Machine(device.bandwidth, device.flops, device.launch_seconds, fleet.link(ranks), exchange)


def evenly(count: int, parts: int) -> tuple[int, ...]:
    """How many of `count` each of `parts` has."""
    return tuple(last - first for first, last in pairwise(even_bounds(count, parts)))


def _grids(shape: ModelShape, fleet: Fleet) -> Iterator[tuple[int, int]]:
    for stages in range(1, min(fleet.count, shape.layers) + 1):
        ranks, left = divmod(fleet.count, stages)
        if not left and ranks <= max(shape.experts, 1):
            yield stages, ranks


def _layout(shape: ModelShape, fleet: Fleet, stages: int, ranks: int, wanted: PlannedLoad) -> Layout:
    layers, experts = evenly(shape.layers, stages), evenly(shape.experts, ranks)
    dense = max(_dense(shape, layers)) * BF16
    mixed = max(_mixed(shape, layers))
    held = slots_of(shape.experts, ranks, wanted.spare_experts) * mixed * shape.one_expert * wanted.expert_bytes
    left = fleet.device.memory * (1.0 - RESERVED) - dense - held
    a_token = shape.cached * max(layers) * BF16
    tokens = max(int(left / a_token), 0)
    # every stage keeps its own layers' cache of all sequences, which its ranks share out
    each = tokens // wanted.context
    batch = min(each, USUAL_BATCH) * ranks if wanted.batch is None else min(wanted.batch, each * ranks)
    work = Work(batch, wanted.context, ranks, stages, BF16, wanted.expert_bytes, BF16)
    machine = machine_of(fleet, ranks)
    speed = tokens_per_second(shape, work, machine) if batch and left > 0 else 0.0
    apart = token_seconds(shape, work, machine) if batch and left > 0 else 0.0
    return Layout(stages, ranks, layers, experts, dense, held, left, tokens, batch, speed, apart)


def _dense(shape: ModelShape, layers: tuple[int, ...]) -> Iterator[float]:
    """Parameters of each stage but routed experts; the first holds the embedding, the last norm and head."""
    first = 0
    for stage, count in enumerate(layers):
        own = sum(shape.dense[first : first + count])
        first += count
        embedding, head = max(shape.ends - shape.head, shape.head), shape.head  # a tied head is held twice over stages
        yield own + (embedding if stage == 0 else 0) + (head if stage == len(layers) - 1 else 0)


def _mixed(shape: ModelShape, layers: tuple[int, ...]) -> Iterator[int]:
    """Expert layers of each stage: all but the first ones of the model are."""
    plain, first = shape.layers - shape.expert_layers, 0
    for count in layers:
        yield max(0, first + count - max(first, plain))
        first += count
