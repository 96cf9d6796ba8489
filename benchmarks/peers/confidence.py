"""Measures lm-polygraph's and uqlm's methods on outputs, and confidences of others by the same formulas.

Runs in the peers' own environment, as one of
  python -m benchmarks.peers.confidence methods OUTPUTS.json FOUND.json [DISTRIBUTIONS.npy]
  python -m benchmarks.peers.confidence given CONFIDENCES.json FOUND.json
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from lm_polygraph.ue_metrics.pred_rej_area import PredictionRejectionArea
from lm_polygraph.ue_metrics.ue_metric import get_random_scores, normalize_metric
from sklearn.metrics import roc_auc_score

from benchmarks.peers.outputs import Floats, Found, Row, read


def main(arguments: Sequence[str]) -> int:
    """Writes {"methods": [{method, package, samples, auroc, prr | why}, …], "versions": …}, or figures by column."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    what, given, written, *distributions = arguments
    found = (_given if what == "given" else _methods)(Path(given), [Path(path) for path in distributions])
    Path(written).write_text(json.dumps(found, allow_nan=False), encoding="utf-8")
    return 0


def _given(path: Path, _: Sequence[Path]) -> dict[str, Any]:
    """{"right": [...], "confidence": {column: [...]}} measured."""
    told = json.loads(path.read_text(encoding="utf-8"))
    measure = Measure(np.array(told["right"], dtype=np.float64))
    return {column: measure(np.array(values)) for column, values in told["confidence"].items()}


def _methods(path: Path, distributions: Sequence[Path]) -> dict[str, Any]:
    from benchmarks.peers import polygraph, uqlm_scorers  # seconds to load, and only this needs them

    rows = read(path)
    measure = Measure(np.array([row.right for row in rows], dtype=np.float64))
    runs = {"lm-polygraph": polygraph.run(rows, _distributions(rows, distributions)), "uqlm": uqlm_scorers.run(rows)}
    return {
        "methods": [found for package, run in runs.items() for found in _measured(package, run, measure)],
        "versions": {name: version(name) for name in ("lm-polygraph", "uqlm")},
    }


def _measured(package: str, run: Iterator[Found], measure: Measure) -> Iterator[dict[str, Any]]:
    for method, samples, confidence in run:
        figures = {"why": confidence} if isinstance(confidence, str) else measure(confidence)
        print(f"{time.process_time():6.0f} s  {package} {method}: {figures}", file=sys.stderr, flush=True)
        yield {"method": method, "package": package, "samples": samples, **figures}


class Measure:
    """AUROC by scikit-learn and PRR by lm-polygraph's own formula."""

    def __init__(self, right: Floats) -> None:
        self._right, self._area = right, PredictionRejectionArea()
        self._oracle = self._area(-right, right)
        self._chance = get_random_scores(self._area, right)

    def __call__(self, confidence: Floats) -> dict[str, Any]:
        """Rows without a finite confidence count as the least sure."""
        known = np.isfinite(confidence)
        if not known.any():
            return {"why": "gave no finite number"}
        filled = np.where(known, confidence, confidence[known].min() - 1.0)
        prr = normalize_metric(self._area(-filled, self._right), self._oracle, self._chance)
        figures = {"auroc": round(float(roc_auc_score(self._right, filled)), 4), "prr": round(float(prr), 4)}
        return figures | ({} if known.all() else {"without_number": int((~known).sum())})


def _distributions(rows: Sequence[Row], paths: Sequence[Path]) -> list[Floats] | None:
    """For each row the log-probabilities of all tokens [tokens, vocabulary]."""
    if not paths:
        return None
    ends = np.cumsum([len(row.greedy.tokens) for row in rows])
    return np.split(np.load(paths[0]), ends[:-1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
