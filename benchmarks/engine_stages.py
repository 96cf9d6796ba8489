"""How many tokens a second a pipeline of stages generates beside one rank with the same weights, in turn."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.engine_step_times import processor_clock
from benchmarks.machine import machine
from serving.engine.engine import Engine
from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import local_engine
from serving.settings import REFERENCE_CHECKPOINT

TOGETHER = (1, 8, 16)  # sequences
_TOKENS = 48  # generated of each, at most


def measure(checkpoint: Path, grids: Sequence[tuple[int, int]], rounds: int) -> dict[str, Any]:
    """By grid and sequences: `tok_s`, and `busiest_us`, of its busiest process's time for each token; medians.

    With nothing else on the machine, and as many cores as ranks, no grid is faster than its busiest rank allows.
    """
    with ExitStack() as stack:
        engines = {
            f"{stages}x{ranks}": stack.enter_context(
                local_engine(checkpoint, stages=stages, ranks=ranks, most_running=max(TOGETHER), token_seconds=10.0)
            )
            for stages, ranks in grids
        }
        found: dict[str, dict[int, list[tuple[float, float]]]] = {
            name: {count: [] for count in TOGETHER} for name in engines
        }
        for number in range(rounds + 1):
            for count in TOGETHER:
                for name, engine in engines.items():  # in turn, so that all meet the same machine
                    taken = _together(engine, count, number)
                    if number:  # the first round warms up
                        found[name][count].append(taken)
    return {
        name: {
            str(count): {
                "tok_s": round(statistics.median(speed for speed, _ in taken), 1),
                "busiest_us": round(1e6 * statistics.median(busy for _, busy in taken), 1),
            }
            for count, taken in by_count.items()
        }
        for name, by_count in found.items()
    }


def _together(engine: Engine, count: int, number: int) -> tuple[float, float]:
    """Tokens a second, and the busiest rank's seconds for each token."""
    clocks = [processor_clock(report.pid) for report in engine.reports]
    own = time.thread_time()
    began, before = time.perf_counter(), [clock() for clock in clocks]
    asked = [
        GenerationRequest(
            f"{number}-{place}",
            (Message("user", f"What is {17 * place + number} + {place}?"),),
            max_tokens=_TOKENS,
            temperature=0.0,
        )
        for place in range(count)
    ]
    answers = [future.result() for future in [engine.submit(request) for request in asked]]
    tokens = sum(answer.usage.completion_tokens for answer in answers)
    seconds, own = time.perf_counter() - began, time.thread_time() - own
    busy = [clock() - since - own for clock, since in zip(clocks, before, strict=True)]  # each counts this thread too
    return tokens / seconds, max(busy) / tokens


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./run bench engine_stages", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=REFERENCE_CHECKPOINT)
    parser.add_argument("--grids", nargs="+", default=["1x1", "2x1"], help="stages x ranks of each")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="the last line on standard output is one JSON object")
    options = parser.parse_args(arguments)
    grids = []
    for grid in options.grids:
        sizes = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", grid)
        if sizes is None:
            parser.error(f"--grids: {grid!r} is not stages x ranks, as in 2x1")
        grids.append((int(sizes[1]), int(sizes[2])))
    found = {**measure(options.checkpoint, grids, options.rounds), "machine": machine()}
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
