"""Bonferroni-Holm over a grid of thresholds: our own exact one, and MAPIE's in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import binom

from benchmarks.mmlu_pro import Flags, Floats

GRID: Floats = np.linspace(0.0, 0.99, 100)  # MAPIE's own default
MAPIE = "mapie==1.6.0"
_CONTROLLER = Path(__file__).with_name("holm_by_mapie.py")
_PATIENCE = 600.0  # seconds


class NoPeer(Exception):
    """MAPIE could not be installed or did not answer; the message says what happened."""


def exact_threshold(confidence: Floats, wrong: Flags, alpha: float, delta: float) -> float | None:
    """The loosest threshold that Holm's procedure certifies with exact binomial p-values, or None.

    Of `GRID`, those thresholds count that some row reaches.
    """
    grid = GRID[confidence.max() >= GRID]
    released = confidence[None, :] >= grid[:, None]
    p_values = binom.cdf((released & wrong).sum(axis=1), released.sum(axis=1), alpha)
    order = np.argsort(p_values, kind="stable")
    kept = p_values[order] <= delta / np.arange(len(grid), 0, -1)
    rejected = order[: len(grid) if kept.all() else int(np.argmin(kept))]
    return float(grid[rejected.min()]) if len(rejected) else None


def mapie_thresholds(confidence: Floats, wrong: Flags, alpha: float, delta: float) -> list[float | None]:
    """The same by MAPIE's BinaryClassificationController, of each of [sets, rows].

    Raises NoPeer where its environment cannot be had.
    """
    python = _environment()
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "sets.npz"
        np.savez(arrays, confidence=confidence, right=~wrong, alpha=alpha, delta=delta, grid=GRID)
        answer = _run([str(python), "-P", str(_CONTROLLER), str(arrays)])  # -P: or our queue.py is its queue
    thresholds: list[float | None] = json.loads(answer)
    return thresholds


def _environment() -> Path:
    """The interpreter of a virtual environment that holds MAPIE, made once and kept."""
    folder = Path(os.environ.get("COUNTERSIGN_PEERS") or ".countersign/peers") / "mapie"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", MAPIE])
        done.write_text(MAPIE + "\n", encoding="utf-8")
    return python


def _run(command: list[str]) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        ended = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_PATIENCE, env={**environment, "OMP_NUM_THREADS": "1"}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoPeer(f"MAPIE: {error}") from error
    if ended.returncode:
        raise NoPeer(f"MAPIE: {(ended.stderr or ended.stdout).strip()[-300:]}")
    return ended.stdout
