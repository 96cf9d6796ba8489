"""Counts what an engine does: tokens, steps, waiting times, cache, reuse, and how evenly experts are loaded."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from serving.engine.batch_limit import Limits
from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.expert_load import ExpertLoad, stage_layers
from serving.engine.gang import RankReport
from serving.engine.generation import Generated
from serving.engine.migration import Migration
from serving.engine.plan import RankAnswer, RankPlan
from serving.engine.scheduler import Scheduler
from serving.experts.placement import Placement

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram: `counts[i]` durations were at most `SECONDS[i]` and above the bound before; the last, above all."""

    counts: tuple[int, ...]
    total_seconds: float


@dataclass(frozen=True, slots=True)
class RankStats:
    """One rank's part; all counts are since the engine began. A sequence is held by one rank of each stage."""

    rank: int  # its number in the gang
    pid: int
    alive: bool  # it is not the one that was lost, and its engine runs
    running: int  # sequences it holds
    batch_rows: int  # tokens of its last step
    free_blocks: int  # those kept for prompts to come among them
    kept_blocks: int  # of these, blocks whose content may be used again
    compute_seconds: float  # exchanges included
    exchange_seconds: float
    expert_rows: int  # rows that it computed experts of, over all layers of its stage
    stage: int = 0


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A moment's figures; counts are since the engine began, `last_step_at` is on time.monotonic()'s clock."""

    alive: bool
    waiting: int
    running: int
    running_limit: int  # sequences that a rank may run now
    chunk_limit: int  # prompt tokens that a rank may read in a step in which all that run generate
    steps: int
    finished: int  # generations that came to their end
    generated_tokens: int
    prompt_tokens: int  # of the finished
    reused_tokens: int  # of these, found in the cache
    reused_prompts: int  # the finished whose prompt was found in part
    kv_blocks: int  # of each rank
    ranks: tuple[RankStats, ...]
    expert_load: tuple[tuple[int, ...], ...]  # by expert layer, rows that chose each expert
    imbalance: float | None  # largest / mean of a stage's ranks' expert_rows, of the worst; None before the first row
    imbalance_lately: float | None  # of the last few hundred steps, layer by layer; None before the first look
    placement: int  # version of the placement of experts in force; grows with every migration, over epochs too
    migrating: bool  # ranks are loading for another one
    migrations: int  # since the engine began
    failed_migrations: int  # given up because a rank could not load
    first_token: Durations  # from the submission to the first token
    token: Durations  # of each finished generation, the mean time of a token after the first
    last_step_at: float | None

    @property
    def free_blocks(self) -> tuple[int, ...]:
        return tuple(rank.free_blocks for rank in self.ranks)


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def read(self) -> Durations:
        return Durations(tuple(self.counts), self.total)


class Counters:
    """Written by the engine's thread alone; others may read."""

    def __init__(self, reports: Sequence[RankReport], placement: Placement) -> None:
        ranks = len(reports)
        self.steps = self.finished = self.generated = self.prompt = self.reused = self.reused_prompts = 0
        self.last_step_at: float | None = None
        self.compute, self.exchange = [0.0] * ranks, [0.0] * ranks
        self.batch_rows: tuple[int, ...] = (0,) * ranks
        self.first_token, self.token = _Histogram(), _Histogram()
        self.pids, self.stages = tuple(r.pid for r in reports), tuple(r.stage for r in reports)
        self.load = ExpertLoad(placement, stage_layers(reports))

    def count_step(self, plans: Sequence[RankPlan], answers: Sequence[RankAnswer]) -> None:
        """One plan for each rank of a stage, one answer of each rank of the gang."""
        self.steps += 1
        self.last_step_at = time.monotonic()
        self.batch_rows = plans[0].counts * (len(answers) // len(plans))
        for rank, answer in enumerate(answers):
            self.compute[rank] += answer.compute_seconds
            self.exchange[rank] += answer.exchange_seconds
        self.load.add(answers, plans[0].placement)

    def count_finished(self, generated: Generated) -> None:
        usage, timings = generated.usage, generated.timings_ms
        self.finished += 1
        self.prompt += usage.prompt_tokens
        self.reused += generated.reused_tokens
        self.reused_prompts += generated.reused_tokens > 0
        self.first_token.add((timings["queue"] + timings["prefill"]) / 1e3)
        if usage.completion_tokens > 1:
            self.token.add(timings["decode"] / 1e3 / (usage.completion_tokens - 1))


def read_stats(
    counters: Counters,
    scheduler: Scheduler,
    limit: Limits,
    config: EngineConfig,
    migration: Migration,
    submitted: int,
    alive: bool,
    lost: RankLost | None,
) -> EngineStats:
    """`submitted`: generations that the scheduler has not heard of; `lost`: why the engine ended by itself."""
    rows, running = counters.load.rank_rows, scheduler.running_by_rank
    free, kept = scheduler.free_blocks, scheduler.kept_blocks
    columns = len(running)
    share = -(-max(running) // (len(counters.stages) // columns))  # of a step, where several are in flight
    ranks = tuple(
        RankStats(
            rank=rank,
            pid=pid,
            alive=alive or (lost is not None and lost.rank not in (None, rank)),
            running=running[rank % columns],
            batch_rows=counters.batch_rows[rank],
            free_blocks=free[rank % columns],
            kept_blocks=kept[rank % columns],
            compute_seconds=counters.compute[rank],
            exchange_seconds=counters.exchange[rank],
            expert_rows=rows[rank],
            stage=counters.stages[rank],
        )
        for rank, pid in enumerate(counters.pids)
    )
    return EngineStats(
        alive=alive,
        waiting=scheduler.waiting + submitted,
        running=sum(running),
        running_limit=scheduler.running_limit,
        chunk_limit=limit.chunk(share),
        steps=counters.steps,
        finished=counters.finished,
        generated_tokens=counters.generated,
        prompt_tokens=counters.prompt,
        reused_tokens=counters.reused,
        reused_prompts=counters.reused_prompts,
        kv_blocks=config.kv_blocks,
        ranks=ranks,
        expert_load=counters.load.by_expert,
        imbalance=_imbalance(rows, counters.stages),
        imbalance_lately=migration.imbalance,
        placement=migration.in_force,
        migrating=migration.coming,
        migrations=migration.done,
        failed_migrations=migration.failed,
        first_token=counters.first_token.read(),
        token=counters.token.read(),
        last_step_at=counters.last_step_at,
    )


def _imbalance(rows: Sequence[int], stages: Sequence[int]) -> float | None:
    """The most loaded rank's rows over the mean of its stage; 1 is even. Stages differ by their layers, not by load."""
    by_stage = [[own for own, of in zip(rows, stages, strict=True) if of == stage] for stage in sorted(set(stages))]
    return max((max(own) / float(np.mean(own)) for own in by_stage if sum(own)), default=None)
