"""Bytes and speed of packed experts beside bf16 and fp32 ones, and which kernel suits how many rows.

The product of packed experts is the one that the engine uses, by the kernels in C++ where there is g++. The marks were
set for processors with AVX2 and no bf16 units: products are timed in a process that is held to AVX2, the kernels with
it, and in one that uses all that this processor has; one thread each. `python -m benchmarks.engine_products --json`
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.engine_int4 import end_to_end
from benchmarks.machine import machine
from serving.experts.pack import pack

REFERENCE = Path("serving/checkpoints/reference")
_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
_CHILD_SECONDS = 300.0


def figures(checkpoint: Path = REFERENCE) -> dict[str, Any]:
    """`…product_ratio`: how many times faster than bf16 the packed product is, of 4 and 8 rows the worse one;
    `…_native`: with all instructions; `…bytes_ratio`: packed over bf16; `…end_to_end`: tokens a second over floats.
    """
    with tempfile.TemporaryDirectory(prefix="countersign-int4-") as folder:
        size = pack(checkpoint, Path(folder) / "int4")
        served = end_to_end(checkpoint, Path(folder) / "int4", Path(folder))
    avx2, native = _timed(_AVX2), _timed({})
    return {
        "int4_bytes_ratio": round(size.ratio, 4),
        **ratios(avx2),
        **{f"{name}_native": value for name, value in ratios(native).items()},
        "int4_end_to_end": served["reference"]["ratio"],
        "int4_end_to_end_wide": served["wide"]["ratio"],
        "served": served,
        "avx2": avx2,
        "native": native,
        "machine": machine(),
    }


def ratios(times: dict[str, Any]) -> dict[str, float]:
    by_rows = {rows: found["int4_over_bf16"] for rows, found in times["square_hot"].items()}
    return {"int4_product_ratio": min(by_rows["4"], by_rows["8"]), "int4_product_ratio_1row": by_rows["1"]}


def _timed(limits: dict[str, str]) -> dict[str, Any]:
    """In a process of its own: what a processor may use is read once, when torch is loaded."""
    command = [sys.executable, "-m", "benchmarks.engine_product_times"]
    environment = os.environ | limits
    done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=_CHILD_SECONDS)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=REFERENCE)
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args(arguments)
    print(json.dumps(figures(options.checkpoint), indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
