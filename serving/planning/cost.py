"""Predicts how long a decode step takes: bytes read, arithmetic done, rows exchanged; pure arithmetic.

T = launches + max(bytes read / bandwidth, arithmetic / speed) + two exchanges an expert layer. Of the routed experts a
step reads those that its rows hit: U(B) = E (1 - (1 - k/E)^B) of E, for B rows of k experts each, if all are hit alike.
A prediction is of a machine that does nothing else; docs/engine-figures.md shows it beside what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from serving.planning.shape import ModelShape

KERNELS = 12  # launched in one layer of a decode step, once compiled


@dataclass(frozen=True, slots=True)
class Machine:
    """What one rank has; measured, or from a data sheet and therefore at best."""

    bandwidth: float  # bytes a second
    flops: float  # a second
    launch_seconds: float  # a kernel
    link: float  # bytes a second between ranks
    exchange_seconds: float  # of one exchange, however little is sent
    reached: float = 0.7  # of bandwidth and flops, as good kernels do
    cache_reached: float = 1.0  # of that bandwidth, where attention reads the cache


@dataclass(frozen=True, slots=True)
class Work:
    """One step: `batch` sequences of `context` tokens on a grid of `stages` x `ranks`."""

    batch: int
    context: float
    ranks: int = 1
    stages: int = 1
    dense_bytes: float = 2.0  # a parameter
    expert_bytes: float = 2.0
    cache_bytes: float = 2.0


def experts_hit(experts: int, per_token: int, rows: float) -> float:
    """Of one layer, expected."""
    return experts * (1.0 - (1.0 - per_token / experts) ** rows) if experts else 0.0


def stage_seconds(shape: ModelShape, work: Work, machine: Machine, rows: float) -> float:
    """One stage's time for `rows` sequences, spread over its expert ranks; the slowest stage's where they differ."""
    share = 1.0 / work.stages
    dense, mixed = sum(shape.dense) * share, shape.expert_layers * share
    head = shape.head  # the last stage's; it is the slowest where stages are even
    own = rows / work.ranks
    hit = experts_hit(shape.experts, shape.experts_per_token, rows) / work.ranks
    read = (dense + head) * work.dense_bytes + mixed * hit * shape.one_expert * work.expert_bytes
    read += own * work.context * shape.cached * shape.layers * share * work.cache_bytes / machine.cache_reached
    routed = rows * shape.experts_per_token / work.ranks * mixed * shape.one_expert
    done = 2.0 * (own * (dense + head) + routed) + 4.0 * own * work.context * shape.cached * shape.layers * share
    launched = KERNELS * shape.layers * share * machine.launch_seconds
    moved = max(read / machine.bandwidth, done / machine.flops) / machine.reached
    return launched + moved + _exchanged(shape, work, machine, rows) * mixed


def tokens_per_second(shape: ModelShape, work: Work, machine: Machine) -> float:
    """Of all sequences together, as many micro-batches in flight as there are stages."""
    rows = work.batch / work.stages
    return work.batch / (work.stages * stage_seconds(shape, work, machine, rows))


def token_seconds(shape: ModelShape, work: Work, machine: Machine) -> float:
    """Between two tokens of one sequence."""
    return work.stages * stage_seconds(shape, work, machine, work.batch / work.stages)


def _exchanged(shape: ModelShape, work: Work, machine: Machine, rows: float) -> float:
    """Seconds of both exchanges of one expert layer: rows to all ranks, contributions back."""
    if work.ranks == 1:
        return 0.0
    sent = rows * shape.hidden * work.dense_bytes * (work.ranks - 1) / work.ranks
    return 2.0 * (machine.exchange_seconds + sent / machine.link)
