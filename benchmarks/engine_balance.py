"""What moving experts gains under a skewed load: two engines of the same checkpoint, one of which may move them.

The checkpoint is random and wide enough for its experts to take most of a step; its gate prefers neighbouring experts,
all of the first rank. Both engines get the same questions in turn, so that what disturbs one disturbs the other.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.engine_int4 import write_wide
from benchmarks.machine import machine
from serving.engine.engine import Engine
from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import local_engine

SKEW = 0.15  # between the first and the last expert's bias; the gate's scores lie 0.1 around a half
_TOKENS = 48


def measure(
    checkpoint: Path, ranks: int = 2, spare_experts: int = 0, at_once: int = 16, rounds: int = 12
) -> dict[str, Any]:
    """`imbalance_before`, `imbalance_after`: largest over mean rows of a rank; `step_ratio`: a fixed engine's step
    time over that of the moving one, medians over rounds; `busiest_ratio`: the same of the busiest rank's processor
    time, which is the step's where every rank has a core of its own.
    """
    config = {"ranks": ranks, "spare_experts": spare_experts, "step_tokens": 256, "most_running": 64}
    with contextlib.ExitStack() as stack:
        fixed = stack.enter_context(local_engine(checkpoint, migrate=False, **config))
        moving = stack.enter_context(local_engine(checkpoint, migrate=True, **config))
        before = _round(fixed, at_once)
        warm_up = 0
        while not moving.stats().migrations:
            _round(moving, at_once)
            warm_up += 1
            if warm_up > 100:
                raise RuntimeError("the load did not make experts move")
        found = [(_round(fixed, at_once), _round(moving, at_once)) for _ in range(rounds)]
        stats = moving.stats()
    return {
        "ranks": ranks,
        "spare_experts": spare_experts,
        "imbalance_before": round(before["imbalance"], 3),
        "imbalance_after": round(statistics.median(after["imbalance"] for _, after in found), 3),
        "step_ratio": round(_ratio(found, "step_seconds"), 3),
        "busiest_ratio": round(_ratio(found, "busiest_seconds"), 3),
        "fixed_step_ms": round(1e3 * statistics.median(one["step_seconds"] for one, _ in found), 3),
        "migrations": stats.migrations,
        "rounds_until_moved": warm_up,
    }


def _ratio(found: Sequence[tuple[dict[str, float], dict[str, float]]], name: str) -> float:
    return statistics.median(one[name] for one, _ in found) / statistics.median(other[name] for _, other in found)


def _round(engine: Engine, at_once: int) -> dict[str, float]:
    """So many answers at once; figures of a step's mean."""
    clocks = [(~report.pid << 3) | 2 for report in engine.reports]  # as clock_getcpuclockid makes them
    used = [time.clock_gettime(clock) for clock in clocks]
    before, started = engine.stats(), time.perf_counter()
    for future in [engine.submit(_question(number)) for number in range(at_once)]:
        future.result()
    seconds, after = time.perf_counter() - started, engine.stats()
    steps, ranks = after.steps - before.steps, list(zip(before.ranks, after.ranks, strict=True))
    rows = [now.expert_rows - then.expert_rows for then, now in ranks]
    return {
        "step_seconds": seconds / steps,
        "busiest_seconds": max(time.clock_gettime(clock) - then for clock, then in zip(clocks, used, strict=True))
        / steps,
        "imbalance": max(rows) / statistics.mean(rows),
    }


def _question(number: int) -> GenerationRequest:
    text = f"What is {number + 11} * {number + 23} + {number + 5} * {number + 8} - {number}?"
    return GenerationRequest(uuid.uuid4().hex, (Message("user", text),), max_tokens=_TOKENS, temperature=0.0)


def write_skewed(target: Path, skew: float = SKEW) -> Path:
    """The wide random model of benchmarks/engine_int4.py, with a bias that falls from expert to expert."""
    write_wide(target)
    weights = load_file(target / "model.safetensors")
    for name in [name for name in weights if name.endswith("expert_bias")]:
        weights[name] += torch.linspace(skew, 0.0, len(weights[name]))
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./run bench engine_balance", description=__doc__)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args(arguments)
    if options.ranks < 2 or options.rounds < 1:
        parser.error("--ranks must be at least 2 and --rounds 1")
    with tempfile.TemporaryDirectory(prefix="countersign-balance-") as folder:
        checkpoint = write_skewed(Path(folder) / "skewed")
        found = [measure(checkpoint, options.ranks, spare, rounds=options.rounds) for spare in (0, 1)]
    print(json.dumps({"balance": found, "machine": machine()}, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
