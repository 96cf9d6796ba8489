"""Tokens a second of our engine by batch and by ranks, compiled: engines of one and of two ranks take turns."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.engine_own_rates import asking
from benchmarks.peers.engine.timed import Asked, rate, timed
from serving.compiled.store import buckets_up_to
from serving.compiled.whole_step import is_whole
from serving.engine.engine import Engine
from serving.engine.engine_config import EngineConfig
from serving.engine.local import local_engine
from serving.model.checkpoint import Checkpoint, open_checkpoint

SECONDS = 900.0  # the longest that compiling may take
RANKS = (1, 2)


def settings(asked: Asked, home: Path, ranks: int) -> dict[str, Any]:
    """Fields of EngineConfig: all sequences run at once, by compiled steps below `home`."""
    most = max(asked.batches)
    step_tokens = most * len(asked.prompts[0])
    at_once = {"least_running": most, "most_running": most, "step_tokens": step_tokens, "token_seconds": 1.0}
    return {"ranks": ranks, "compiled": str(home), **at_once}


def compile_steps(asked: Asked, home: Path) -> None:
    """What engines with these settings run, before anything is timed. Raises CalledProcessError, TimeoutExpired."""
    for ranks in RANKS:
        config = EngineConfig(**settings(asked, home, ranks))
        rows = sorted({rows for batch in asked.batches for rows in _rows(batch, ranks)})
        compile_rows(open_checkpoint(asked.checkpoint), config, rows)


def compile_rows(checkpoint: Checkpoint, config: EngineConfig, rows: Sequence[int]) -> None:
    """Steps of so many rows of one rank. Raises CalledProcessError, TimeoutExpired."""
    slots, sizes = (config.kv_blocks + 1) * config.block_size, sorted({buckets_up_to(each)[-1] for each in rows})
    words = ["--ranks", str(config.ranks), "--slots", str(slots), "--block-size", str(config.block_size)]
    whole = is_whole(checkpoint.config, config.ranks, config.stages)
    words += ["--rows", *map(str, sizes), *(["--whole"] if whole else [])]
    command = [sys.executable, "-m", "serving.compiled.build", str(checkpoint.directory), config.compiled, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as compiling:  # noqa: S603
        try:  # it ends by itself when its standard input does
            status = compiling.wait(SECONDS)
        finally:
            compiling.kill()
    if status:
        raise subprocess.CalledProcessError(status, command)


def measure(asked: Asked, home: Path) -> dict[str, Any]:
    """`tok_s` [ranks][batch], `ranks2_over_ranks1` and `imbalance`, largest over mean rows of a rank's experts."""
    with _engines(asked, home) as engines:
        tok_s: dict[int, dict[int, float | None]] = {ranks: {} for ranks in engines}
        ratios = {}
        for batch in asked.batches:
            seconds = _in_turn(engines, asked, batch)
            for ranks, rounds in seconds.items():
                tok_s[ranks][batch] = rate(rounds, batch * asked.tokens)
            ratios[batch] = _ratio(seconds)
        stats = engines[max(RANKS)].stats()
    return {
        "tok_s": tok_s,
        "ranks2_over_ranks1": ratios[max(asked.batches)],
        "ranks2_over_ranks1_by_batch": ratios,
        "imbalance": None if stats.imbalance is None else round(stats.imbalance, 3),
    }


def _rows(batch: int, ranks: int) -> Sequence[int]:
    """Of the steps of so many sequences: they are shared out over the ranks, and one rank may have one more."""
    share = -(-batch // ranks)
    return [share, share + 2 if ranks > 1 else share]


@contextmanager
def _engines(asked: Asked, home: Path) -> Iterator[dict[int, Engine]]:
    with contextlib.ExitStack() as stack:
        yield {
            ranks: stack.enter_context(local_engine(asked.checkpoint, **settings(asked, home, ranks)))
            for ranks in RANKS
        }


def _in_turn(engines: dict[int, Engine], asked: Asked, batch: int) -> dict[int, list[tuple[float, float]]]:
    """Seconds of the shorter and of the longer answers, by ranks and round."""
    prompts, short, long = asked.prompts[:batch], asked.tokens, 2 * asked.tokens
    generating = {ranks: asking(engine) for ranks, engine in engines.items()}
    found: dict[int, list[tuple[float, float]]] = {ranks: [] for ranks in engines}
    for number in range(-1, asked.rounds):
        for ranks, generate in generating.items():
            pair = timed(generate, prompts, short)[1], timed(generate, prompts, long)[1]
            if number >= 0:
                found[ranks].append(pair)
    return found


def _ratio(seconds: dict[int, list[tuple[float, float]]]) -> float | None:
    one, two = (statistics.median(long - short for short, long in seconds[ranks]) for ranks in RANKS)
    return round(one / two, 2) if one > 0 and two > 0 else None
