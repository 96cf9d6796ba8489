"""The engine's figures in one run: tokens a second, batches, packed experts, attention, overhead, repair, cost.

Each part says itself what it measures and how (`benchmarks/engine_*.py`). With `--peers` our engine also stands beside
transformers, vLLM and llama.cpp on the same weights. `missed` names the marks of engine_marks.py that are not reached.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    engine_adaptive,
    engine_attention,
    engine_compared,
    engine_cost,
    engine_docs,
    engine_marks,
    engine_memory,
    engine_overhead,
    engine_peers,
    engine_products,
    engine_rates,
    engine_repair,
    engine_signals,
)
from benchmarks.engine_model import make
from benchmarks.machine import machine
from launch.errors import CannotStart
from serving.engine.errors import RankLost
from serving.model.checkpoint import open_checkpoint
from serving.settings import REFERENCE_CHECKPOINT

FAILURES = (
    engine_peers.PeersFailed,
    engine_repair.NotRepaired,
    engine_adaptive.TooSlow,
    CannotStart,
    RankLost,
    subprocess.SubprocessError,
    OSError,
)
Part = Callable[[], dict[str, Any]]


class _Run:
    """One run's parts, in the order in which they are measured; a later one may need what an earlier one found."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._checkpoint, self._options = make(folder / "model"), options
        self._asked = engine_peers.questions(self._checkpoint, rounds=options.rounds)
        self._home = options.home / "bench-compiled"  # kept: compiling takes minutes
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.found: dict[str, Any] = {}
        self.parts: dict[str, Part] = {
            "rates": self._rates,
            "cost": lambda: engine_cost.measure(self._home),
            "signals": self._signals,
            "adaptive": engine_adaptive.measure,
            "int4": engine_products.figures,
            "attention": engine_attention.measure,
            "memory": lambda: engine_memory.measure(REFERENCE_CHECKPOINT),
            "overhead": engine_overhead.measure,
            "repair": engine_repair.measure,
        }
        if options.peers:
            self.parts["peers"] = self._peers

    def measure(self, names: Sequence[str]) -> dict[str, Any]:
        """`load` has the averages before each part, `failed` a sentence for each that could not be measured."""
        load, failed = {}, {}
        for name in names:
            load[name] = [round(value, 2) for value in os.getloadavg()]
            print(f"engine: {name} (load {load[name][0]})", file=sys.stderr, flush=True)
            try:
                self.found |= self.parts[name]()
            except FAILURES as error:  # the other parts took half an hour
                failed[name] = f"{type(error).__name__}: {error}"[:800]
                print(f"engine: {name} failed: {failed[name]}", file=sys.stderr, flush=True)
            gc.collect()
        missed = engine_marks.missed(self.found)
        return {**self.found, "failed": failed, "missed": missed, "load": load, "machine": machine()}

    def _rates(self) -> dict[str, Any]:
        engine_rates.compile_steps(self._asked, self._home)
        return engine_rates.measure(self._asked, self._home)

    def _signals(self) -> dict[str, Any]:
        if "cost" not in self.found:
            self.found |= engine_cost.measure(self._home)
        steps = engine_cost.step_seconds(self.found["cost"])
        return engine_signals.measure(open_checkpoint(self._checkpoint), {rows: steps[rows] for rows in (1, 8, 32)})

    def _peers(self) -> dict[str, Any]:
        engine_rates.compile_steps(self._asked, self._home)
        settings = engine_rates.settings(self._asked, self._home, ranks=1)
        return engine_compared.measure_beside(self._options.home, self._asked, settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, 1 when a part failed, 2 when the peers' environments are missing."""
    options = _options(arguments)
    try:
        if options.prepare:
            engine_peers.prepare(options.home)
        if options.peers:
            engine_peers.require(options.home)
        with tempfile.TemporaryDirectory(prefix="countersign-engine-") as folder:
            run = _Run(Path(folder), options)
            found = run.measure(options.only or list(run.parts))
        if options.write_docs:
            engine_docs.write(found, options.write_docs)
    except engine_peers.PeersNotReady as error:
        print(f"engine: {error}", file=sys.stderr)
        return 2
    except (subprocess.SubprocessError, OSError) as error:
        print(f"engine: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=None if options.json else 2))
    return 1 if found["failed"] else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench engine", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="beside transformers, vLLM and llama.cpp as well")
    parser.add_argument("--prepare", action="store_true", help="first make the peers' environments: 25 minutes, 3 GB")
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts alone, in this order")
    parser.add_argument("--rounds", type=int, default=engine_peers.ROUNDS, help="pairs of answers timed a batch")
    parser.add_argument("--write-docs", type=Path, metavar="DOCS", help="write tables and plots into this folder")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args(arguments)
    names = ("rates", "cost", "signals", "adaptive", "int4", "attention", "memory", "overhead", "repair", "peers")
    for name in options.only or ():
        if name not in names or (name == "peers" and not options.peers):
            parser.error(f"--only: {name!r} is none of {', '.join(names)} (peers needs --peers)")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    options.home = Path(os.environ.get("COUNTERSIGN_HOME") or ".countersign").absolute()
    return options


if __name__ == "__main__":
    sys.exit(main())
