"""Sets the cost model's predictions beside measured decode steps: by batch, context, experts and ranks.

The model's machine (what starting an operator, reading a byte of weights and of cache, a multiplication and an exchange
take here) is fitted to the steps by batch, to one of a long context and one of two ranks; the others are predictions.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from benchmarks.engine_model import Shape, make
from benchmarks.engine_rates import compile_rows
from serving.engine.engine_config import EngineConfig
from serving.engine.gang import Gang
from serving.engine.local import local_gang
from serving.engine.plan import RankPlan, SequenceStep
from serving.model.checkpoint import Checkpoint, open_checkpoint
from serving.planning.cost import Machine, Work, stage_seconds
from serving.planning.shape import ModelShape, shape_of

BATCHES, CONTEXTS, EXPERTS, RANKS = (1, 2, 4, 8, 16, 32), (64, 256, 1024, 2048), (16, 64, 256), (1, 2)
USUAL_BATCH, USUAL_CONTEXT, USUAL_EXPERTS = 8, 64, 64
FLOAT = 4.0  # bytes
ROUNDS, WARM, IN_A_ROW = 8, 3, 8
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class Point:
    """One kind of step."""

    batch: int = USUAL_BATCH
    context: int = USUAL_CONTEXT
    experts: int = USUAL_EXPERTS
    ranks: int = 1


SERIES = {
    "batch": tuple(Point(batch=batch) for batch in BATCHES),
    "context": tuple(Point(context=context) for context in CONTEXTS),
    "experts": tuple(Point(experts=experts) for experts in EXPERTS),
    "ranks": tuple(Point(batch=batch, ranks=2) for batch in (1, 8, 32)),
}
POINTS = tuple(dict.fromkeys(point for series in SERIES.values() for point in series))
FITTED = (*SERIES["batch"], Point(ranks=2), Point(context=1024))


def measure(home: Path) -> dict[str, Any]:
    """`cost`: each point with its `measured_ms` and `predicted_ms`; `cost_error`: median and largest relative error
    of those that were not fitted; `cost_machine`: what was fitted. `home` keeps compiled steps.
    """
    found: dict[Point, float] = {}
    shapes = {}
    with tempfile.TemporaryDirectory(prefix="countersign-cost-") as folder:
        for experts in EXPERTS:
            checkpoint = open_checkpoint(make(Path(folder) / str(experts), shape=Shape(experts=experts)))
            shapes[experts] = shape_of(checkpoint.config)
            for ranks in RANKS:
                points = [point for point in POINTS if (point.experts, point.ranks) == (experts, ranks)]
                if points:
                    found |= _seconds(checkpoint, points, home)
    machine = fit({point: found[point] for point in FITTED}, shapes)
    rows = [
        _row(series, point, found[point], predict(point, shapes, machine))
        for series, points in SERIES.items()
        for point in points
    ]
    errors = [abs(row["predicted_ms"] / row["measured_ms"] - 1) for row in rows if not row["fitted"]]
    return {
        "cost": rows,
        "cost_error": {"median": round(statistics.median(errors), 3), "largest": round(max(errors), 3)},
        "cost_machine": {
            "launch_us": round(1e6 * machine.launch_seconds, 2),
            "gb_s": round(machine.bandwidth / 1e9, 2),
            "cache_gb_s": round(machine.bandwidth * machine.cache_reached / 1e9, 2),
            "gflop_s": round(machine.flops / 1e9, 1),
            "exchange_us": round(1e6 * machine.exchange_seconds, 1),
        },
    }


def step_seconds(rows: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Measured, by batch."""
    return {row["batch"]: row["measured_ms"] / 1e3 for row in rows if row["series"] == "batch"}


def fit(found: dict[Point, float], shapes: dict[int, ModelShape]) -> Machine:
    """The machine whose steps are relatively nearest to those found."""

    def errors(logarithms: np.ndarray) -> list[float]:
        machine = _machine(logarithms)
        return [np.log(predict(point, shapes, machine) / seconds) for point, seconds in found.items()]

    begin = np.log([5e-6, 1e10, 5e10, 5e-5, 0.5])
    found_best = least_squares(errors, begin, loss="soft_l1")
    return _machine(found_best.x)


def predict(point: Point, shapes: dict[int, ModelShape], machine: Machine) -> float:
    """Seconds of one step."""
    work = Work(point.batch, point.context, point.ranks, dense_bytes=FLOAT, expert_bytes=FLOAT, cache_bytes=FLOAT)
    return stage_seconds(shapes[point.experts], work, machine, point.batch)


def _machine(logarithms: np.ndarray) -> Machine:
    launch, bandwidth, flops, exchange, cache = np.exp(logarithms).tolist()
    return Machine(bandwidth, flops, launch, 1e12, exchange, reached=1.0, cache_reached=cache)


def _row(series: str, point: Point, measured: float, predicted: float) -> dict[str, Any]:
    return {
        "series": series,
        "batch": point.batch,
        "context": point.context,
        "experts": point.experts,
        "ranks": point.ranks,
        "fitted": point in FITTED,
        "measured_ms": round(1e3 * measured, 4),
        "predicted_ms": round(1e3 * predicted, 4),
    }


def _seconds(checkpoint: Checkpoint, points: Sequence[Point], home: Path) -> dict[Point, float]:
    """Of checkpoints and ranks that are the same for all points, which take turns."""
    with _gang(checkpoint, points, home) as gang:
        plans = {point: [_plan(point, rank) for rank in range(point.ranks)] for point in points}
        taken: dict[Point, list[float]] = {point: [] for point in points}
        for _ in range(ROUNDS):
            for point in points:  # some in a row: what the caches hold is what such steps leave there
                for number in range(WARM + IN_A_ROW):
                    began = time.perf_counter()
                    gang.step([replace(plan, step=number) for plan in plans[point]])
                    if number >= WARM:
                        taken[point].append(time.perf_counter() - began)
    return {point: float(np.quantile(times, 0.25)) for point, times in taken.items()}  # others use the machine as well


@contextmanager
def _gang(checkpoint: Checkpoint, points: Sequence[Point], home: Path) -> Iterator[Gang]:
    ranks = points[0].ranks
    blocks = max(-(-point.context // _BLOCK) * -(-point.batch // ranks) for point in points)
    config = EngineConfig(ranks=ranks, kv_tokens=blocks * _BLOCK, compiled=str(home), most_running=max(BATCHES))
    rows = sorted({rows for point in points for rows in (-(-point.batch // ranks), point.batch // ranks) if rows})
    compile_rows(checkpoint, config, rows)
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(local_gang(checkpoint, config))


def _plan(point: Point, rank: int) -> RankPlan:
    counts = tuple((point.batch + point.ranks - 1 - place) // point.ranks for place in range(point.ranks))
    width = -(-point.context // _BLOCK)
    sequences = tuple(
        SequenceStep(
            [(7 * row + rank) % 250], point.context - 1, range(row * width, (row + 1) * width), sampled=True, draw=row
        )
        for row in range(counts[rank])
    )
    return RankPlan(0, counts, sequences, top_k=5)
