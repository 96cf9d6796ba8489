"""What an exchange of expert rows costs either way: every row to every rank, or to the ranks of its experts alone.

Ranks are processes with one thread each; both ways take turns with the same rows, and the medians are compared. The
sizes at which serving/experts/exchange_way.py changes from the one to the other were set by these figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import machine
from serving.experts.exchange import Exchange
from serving.experts.exchange_way import GLOO_LEAST_SAVED, SHM_LEAST_SAVED, ChooseWay, saved_bytes, ways_from
from serving.experts.gloo_exchange import GlooExchange
from serving.experts.placement import even_bounds
from serving.experts.shm_exchange import ShmExchange
from serving.experts.shm_layout import ShmLayout, create_shared_file

BACKENDS = {"shm": SHM_LEAST_SAVED, "gloo": GLOO_LEAST_SAVED}
WAYS: dict[str, ChooseWay] = {"gathered": lambda *_: False, "dispatched": lambda *_: True}
EXPERTS, TOP_K = 64, 2
MARGIN = 0.1  # two ways this close are as good
_LIMIT = 60.0  # seconds, for an exchange


def measure(
    ranks: Sequence[int],
    rows: Sequence[int],
    hidden: Sequence[int],
    repeats: int,
    backends: Sequence[str] = tuple(BACKENDS),
) -> dict[str, Any]:
    """`rows` of each rank. `ratio`: time of the gathered way over that of the dispatched one."""
    sizes = [(each, width) for width in hidden for each in rows]
    found = []
    for backend, count in itertools.product(backends, ranks):
        for (each, width), times in zip(sizes, _times(backend, count, sizes, repeats), strict=True):
            counts = (each,) * count
            found.append(
                {
                    "backend": backend,
                    "ranks": count,
                    "rows": each,
                    "hidden": width,
                    **{f"{way}_us": round(seconds * 1e6, 1) for way, seconds in times.items()},
                    "ratio": round(times["gathered"] / times["dispatched"], 3),
                    "saved_kib": round(saved_bytes(counts, TOP_K, width) / 1024, 1),
                    "chosen": "dispatched" if ways_from(BACKENDS[backend])(counts, TOP_K, width) else "gathered",
                }
            )
    return {"exchanges": found, "right_choices": right_choices(found), "machine": machine()}


def right_choices(found: Sequence[dict[str, Any]]) -> float:
    """Share of the sizes whose chosen way is the faster one, or slower by no more than MARGIN."""
    right = [one for one in found if _gain_of_choice(one) > 1 - MARGIN]
    return round(len(right) / len(found), 3)


def _gain_of_choice(one: dict[str, Any]) -> float:
    """How many times faster the chosen way is than the other."""
    ratio = float(one["ratio"])
    return ratio if one["chosen"] == "dispatched" else 1.0 / ratio


def _times(backend: str, ranks: int, sizes: Sequence[tuple[int, int]], repeats: int) -> list[dict[str, float]]:
    """Seconds by way, for each size: the median over repeats of the slowest rank's."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="countersign-exchange-") as folder:
        if backend == "shm":
            for way, (each, width) in itertools.product(WAYS, sizes):
                create_shared_file(_file(Path(folder), way, each, width), ShmLayout(ranks, ranks * each, width, TOP_K))
        with context.Pool(ranks) as pool:  # as many ranks as processes: they wait for each other
            tasks = [(backend, folder, rank, ranks, sizes, repeats) for rank in range(ranks)]
            by_rank = pool.starmap(_of_rank, tasks, chunksize=1)
    return [
        {way: statistics.median(map(max, zip(*(times[place][way] for times in by_rank), strict=True))) for way in WAYS}
        for place in range(len(sizes))
    ]


def _of_rank(
    backend: str, folder: str, rank: int, ranks: int, sizes: Sequence[tuple[int, int]], repeats: int
) -> list[dict[str, list[float]]]:
    torch.set_num_threads(1)
    with torch.inference_mode():
        return [_of_size(backend, Path(folder), rank, ranks, size, repeats) for size in sizes]


def _of_size(
    backend: str, folder: Path, rank: int, ranks: int, size: tuple[int, int], repeats: int
) -> dict[str, list[float]]:
    each, hidden = size
    draw = torch.Generator().manual_seed(rank)
    rows, weights = torch.randn(each, hidden, generator=draw), torch.rand(each, TOP_K, generator=draw)
    copies = torch.stack([torch.randperm(EXPERTS, generator=draw)[:TOP_K] for _ in range(each)])
    holders = torch.bucketize(torch.arange(EXPERTS), torch.tensor(even_bounds(EXPERTS, ranks)[1:]), right=True)
    given, counts = (rows, copies, weights), (each,) * ranks
    opened = {way: _open(backend, _file(folder, way, each, hidden), rank, counts, hidden, way) for way in WAYS}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way, exchange in opened.items():
            times[way].append(_once(exchange, given, counts, holders))
    for exchange in opened.values():
        exchange.close()
    return {way: taken[repeats // 5 :] for way, taken in times.items()}  # without the first fifth: it warms up


def _once(exchange: Exchange, given: tuple[Tensor, Tensor, Tensor], counts: tuple[int, ...], holders: Tensor) -> float:
    """Seconds. In the experts' place stands what they too write for each row that came: a row."""
    started = time.perf_counter()
    received, _, _ = exchange.dispatch(*given, counts, holders)
    exchange.combine(torch.zeros_like(received), counts)
    return time.perf_counter() - started


def _open(backend: str, path: Path, rank: int, counts: tuple[int, ...], hidden: int, way: str) -> Exchange:
    if backend == "gloo":
        return GlooExchange(path, rank, len(counts), _LIMIT, WAYS[way])
    return ShmExchange(path, ShmLayout(len(counts), sum(counts), hidden, TOP_K), rank, _LIMIT, choose=WAYS[way])


def _file(folder: Path, way: str, each: int, hidden: int) -> Path:
    return folder / f"{way}-{each}-{hidden}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./run bench engine_exchange", description=__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64, 256, 512], help="of each rank")
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args(arguments)
    if min(*options.ranks, *options.rows, *options.hidden, options.repeats) < 1:
        parser.error("--ranks, --rows, --hidden and --repeats must be at least 1")
    figures = measure(options.ranks, options.rows, options.hidden, options.repeats)
    print(json.dumps(figures, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
