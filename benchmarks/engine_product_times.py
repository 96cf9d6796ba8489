"""Times the experts' products in this process, with the instructions that it may use; prints one JSON object.

`int4` is the product that the engine uses: by the kernels in C++, which are built for the same instructions, or without
g++ by torch's own, which is timed as `int4_torch` in any case.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from serving.experts.int4 import Int4Matrices
from serving.experts.matrices import FloatMatrices, Matrices
from serving.experts.plain_int4 import PlainInt4
from serving.experts.product import ExpertProduct, Kernel
from serving.experts.quantise import quantise
from serving.kernels.library import build_and_load, loaded
from serving.model.packed_experts import PackedExperts
from serving.model.packing import best_grouping
from serving.model.weights import ExpertWeights

SQUARE = 2048
WIDE, NARROW, COLD = 2048, 768, 24  # an expert of Qwen3-30B-A3B, and how many of these no cache holds
ROWS = (1, 4, 8, 32)
REFERENCE = (64, 128, 64)  # experts, hidden, size
_REPEATS = 15

Work = Callable[[], object]


def measure() -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="countersign-kernels-") as folder, torch.inference_mode():
        kernels = build_and_load(Path(folder))
        return {
            "kernels": kernels,
            "capability": torch.backends.cpu.get_cpu_capability(),
            "square_hot": _products(torch.randn(1, SQUARE, SQUARE)),
            "expert_hot": _products(torch.randn(1, 2 * NARROW, WIDE)),
            "experts_cold": _products(torch.randn(COLD, 2 * NARROW, WIDE)),
            "kernels_us": _kernels(*REFERENCE),
        }


def _products(weights: Tensor) -> dict[str, Any]:
    """Milliseconds a matrix by rows; the matrices [matrices, out, in] are gone through one after the other."""
    width = weights.shape[2]
    held: dict[str, Matrices] = {
        "fp32": FloatMatrices(weights),
        "bf16": FloatMatrices(weights.bfloat16()),
    }
    packed = [quantise(matrix, best_grouping(width)) for matrix in weights]
    held["int4_torch"] = Int4Matrices(packed)
    held["int4"] = PlainInt4.of(packed) if loaded() else held["int4_torch"]
    found = {}
    for rows in ROWS:
        taken = torch.randn(rows, width)
        works = {name: _through_all(matrices, name, taken, len(weights)) for name, matrices in held.items()}
        times = {name: seconds * 1e3 / len(weights) for name, seconds in _interleaved(works).items()}
        ratios = {f"int4_over_{name}": round(times[name] / times["int4"], 2) for name in ("bf16", "fp32")}
        found[str(rows)] = {name: round(value, 4) for name, value in times.items()} | ratios
    return found


def _through_all(matrices: Matrices, kind: str, rows: Tensor, count: int) -> Work:
    """fp32 rows in and out, whatever the product computes in."""

    def work() -> None:
        for place in range(count):
            taken = rows.bfloat16() if kind == "bf16" else rows
            matrices.by_runs(taken, [(place, len(rows))]).float()

    return work


def _kernels(experts: int, hidden: int, size: int, top_k: int = 2) -> dict[str, Any]:
    """Microseconds of a whole layer's experts by rows and kernel, uncompiled."""
    gate_up, down = torch.randn(experts, 2 * size, hidden), torch.randn(experts, hidden, size)
    ids = tuple(range(experts))
    packed = (
        (PlainInt4.of if loaded() else Int4Matrices)([quantise(matrix, best_grouping(width)) for matrix in matrices])
        for matrices, width in ((gate_up, hidden), (down, size))
    )
    products = {
        "": ExpertProduct(ExpertWeights(ids, gate_up, down), experts),
        "int4_": ExpertProduct(PackedExperts(ids, *packed), experts),
    }
    found = {}
    for rows in (1, 2, 4, 8, 16, 24, 32, 64, 256):
        chosen = torch.stack([torch.randperm(experts)[:top_k] for _ in range(rows)])
        asked = (torch.randn(rows, hidden), chosen, torch.rand(rows, top_k))
        kernels = [kernel for kernel in Kernel if rows <= 16 or kernel is not Kernel.GATHERED]
        works = {
            name + kernel.value: partial(product, *asked, kernel)
            for name, product in products.items()
            for kernel in kernels
        }
        found[str(rows)] = {name: round(seconds * 1e6) for name, seconds in _interleaved(works).items()}
    return found


def _interleaved(works: Mapping[str, Work]) -> dict[str, float]:
    """Least seconds of each; they take turns, so that what disturbs one for a while disturbs all."""
    least = dict.fromkeys(works, float("inf"))
    for _ in range(_REPEATS):
        for name, work in works.items():
            work()  # fills the cache with what it is about to use
            started = time.perf_counter()
            work()
            least[name] = min(least[name], time.perf_counter() - started)
    return least


if __name__ == "__main__":
    print(json.dumps(measure()))
