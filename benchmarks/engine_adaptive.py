"""Adaptive batches against batches that run to completion: questions per second with p99 under 200 ms for 32 tokens.

Scheduler, limits and generations are the engine's own, under the same Poisson arrivals; only the limits differ. First
the rank's steps are measured, in processor time and with the wake-ups between driver and rank, since others may use the
machine; then a stand-in takes as long for each. With `--clock wall` the rank itself takes every step, and the time is
that on the wall: for a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.engine_replay import CONFIG, P99_SECONDS, TOKENS, Bench, RunToCompletion, leave, request
from benchmarks.engine_step_times import StandIn, measure_steps, processor_clock
from benchmarks.machine import machine
from serving.engine.batch_limit import FixedLimits
from serving.engine.local import local_gang
from serving.model.checkpoint import open_checkpoint
from serving.settings import REFERENCE_CHECKPOINT
from training.questions import sample

FIXED_SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24)
_LEAP, _HALVINGS = 1.25, 4  # rates are found to within 1.25 ** (1 / 16), 1.4 %
_BACK = 0.98
_LEAST = 0.05  # questions per second: they hardly ever meet

Holds = Callable[[float], bool]


class TooSlow(Exception):
    """This machine cannot answer in time even with nothing else to do."""


def measure(clock: str = "steps", questions: int = 500, seed: int = 1, repeats: int = 60) -> dict[str, Any]:
    """`adaptive_qps_ratio` (adaptive over the best fixed size) and `adaptive_p99_ms`, with what they are made of."""
    draw = random.Random(seed)
    gaps = [draw.expovariate(1.0) for _ in range(questions)]
    with _bench(clock, seed, repeats) as (bench, steps):
        compared = compare(bench, gaps)
    return {**compared, "answer_tokens": TOKENS, "questions": questions, "clock": clock, "seed": seed, **steps}


def compare(bench: Bench, gaps: Sequence[float]) -> dict[str, Any]:
    """`gaps` between arrivals, of mean 1; both ways get the very same, at whatever rate."""
    size, fixed_qps = _best_fixed(bench, gaps)
    _say(f"run to completion, batches of at most {size}: {fixed_qps:.1f} questions/s")
    qps = _highest_rate(lambda rate: bench.holds(None, gaps, rate), fixed_qps)
    _say(f"adaptive: {qps:.1f} questions/s")
    unlimited = FixedLimits(CONFIG.most_running, CONFIG.step_tokens)
    unlimited_qps = _highest_rate(lambda rate: bench.holds(unlimited, gaps, rate), qps)
    fixed_qps, fixed_p99 = _confirmed(lambda rate: bench.p99(RunToCompletion(size), gaps, rate), fixed_qps)
    qps, p99 = _confirmed(lambda rate: bench.p99(None, gaps, rate), qps)
    return {
        "adaptive_qps_ratio": round(qps / fixed_qps, 2),
        "adaptive_p99_ms": round(1e3 * p99, 1),
        "adaptive_qps": round(qps, 1),
        "fixed_qps": round(fixed_qps, 1),
        "fixed_p99_ms": round(1e3 * fixed_p99, 1),
        "fixed_size": size,
        "unlimited_qps": round(unlimited_qps, 1),  # as the adaptive one, but whoever comes runs at once
    }


def _best_fixed(bench: Bench, gaps: Sequence[float]) -> tuple[int, float]:
    """The size that bears the most; a size is tried further only if it bears more than those before."""
    best, highest = 0, 0.0
    for size in FIXED_SIZES:

        def holds(rate: float, size: int = size) -> bool:
            return bench.holds(RunToCompletion(size), gaps, rate)

        if not highest:
            best, highest = size, _highest_rate(holds, 5.0)
        elif holds(1.01 * highest):
            best, highest = size, _highest_rate(holds, 1.01 * highest)
    return best, highest


def _highest_rate(holds: Holds, start: float) -> float:
    """Questions per second. Raises TooSlow."""
    low = start
    while not holds(low):
        low /= _LEAP
        if low < _LEAST:
            raise TooSlow(f"a lone answer of {TOKENS} tokens takes longer than {P99_SECONDS:g} s here")
    high = low * _LEAP
    while holds(high):
        low, high = high, high * _LEAP
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _confirmed(p99_at: Callable[[float], float], rate: float) -> tuple[float, float]:
    """`rate`, or a little less: where the median p99 of three more runs is within the limit; and that p99."""
    while True:
        p99 = statistics.median(p99_at(rate) for _ in range(3))
        if p99 < P99_SECONDS:
            return rate, p99
        rate *= _BACK


@contextmanager
def _bench(clock: str, seed: int, repeats: int) -> Iterator[tuple[Bench, dict[str, Any]]]:
    """With what was measured of steps."""
    checkpoint = open_checkpoint(REFERENCE_CHECKPOINT)
    with local_gang(checkpoint, CONFIG) as gang:
        rank = Bench(gang, checkpoint, time.perf_counter)
        texts = _long_questions(rank, seed)
        if clock == "wall":
            yield Bench(gang, checkpoint, time.perf_counter, texts), {}
            return
        times = measure_steps(gang, processor_clock(gang.reports[0].pid), repeats)
        report = gang.reports[0]
    by_rows = zip(times.rows, times.by_rows, strict=True)
    shown = {
        "step_ms_by_rows": {str(rows): round(1e3 * seconds, 3) for rows, seconds in by_rows},
        "prompt_ms": round(1e3 * times.prompt, 3),
        "prompt_token_ms": round(1e3 * times.token, 4),
    }
    stand_in = StandIn(times, report, token_id=ord("x"))  # a byte's token, which ends no answer
    yield Bench(stand_in, checkpoint, lambda: stand_in.now + time.thread_time(), texts), shown


def _long_questions(bench: Bench, seed: int, wanted: int = 40) -> tuple[str, ...]:
    """Questions whose answers do not end before TOKENS."""
    draw, steps, admission = random.Random(seed), bench.steps(None), bench.admission()
    flights = [admission.prepare(request(number, sample(draw).text)) for number in range(4 * wanted)]
    for flight in flights:
        steps.add(flight)
    found: list[str] = []
    while len(found) < wanted and (ended := steps.run()) is not None:
        found += [flight.request.messages[0].content for flight, got in ended if got.finish_reason == "length"]
    leave(steps, flights)
    return tuple(sorted(found))


def _say(text: str) -> None:
    print(f"engine_adaptive: {text}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, whatever the figures; 1 on a machine that is too slow for the limit on p99."""
    parser = argparse.ArgumentParser(prog="./run bench engine_adaptive", description=__doc__)
    parser.add_argument("--clock", choices=("steps", "wall"), default="steps", help="wall: with the rank itself")
    parser.add_argument("--questions", type=int, default=500, help="arrivals of the trace")
    parser.add_argument("--seed", type=int, default=1, help="of the trace and of the questions")
    parser.add_argument("--repeats", type=int, default=60, help="of each measured step")
    parser.add_argument("--json", action="store_true", help="the last line on standard output is one JSON object")
    options = parser.parse_args(arguments)
    try:
        found = {**measure(options.clock, options.questions, options.seed, options.repeats), "machine": machine()}
    except TooSlow as slow:
        _say(f"{slow}.")
        return 1
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
