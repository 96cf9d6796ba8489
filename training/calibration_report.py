"""Measures a calibration on rows that did not make it."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import measures
from serving.confidence.calibration import Calibration
from training.calibration_rows import Row
from training.calibration_stages import judge

THRESHOLD = 0.85


def confidence(calibration: Calibration, row: Row) -> float | None:
    """What serving would say of this answer, the cascade included; None where nothing vouches for it."""
    return judge(calibration, row).confidence


def report(calibration: Calibration, rows: Sequence[Row]) -> dict[str, float]:
    """Figures over own questions, and what of the foreign ones would be released.

    Own answers without a confidence count as held and are left out of the measures of ranking and calibration.
    """
    values = [confidence(calibration, row) for row in rows]
    own = [(v, row.right) for v, row in zip(values, rows, strict=True) if not row.foreign and v is not None]
    strange = [v for v, row in zip(values, rows, strict=True) if row.foreign]
    sure, right = [v for v, _ in own], [r for _, r in own]
    figures = {
        "own": float(len(own)),
        "accuracy": sum(right) / len(right),
        "auroc": measures.auroc(sure, right),
        "ece": measures.ece(sure, right),
        "debiased_ece": measures.debiased_ece(sure, right),
        "brier": measures.brier(sure, right),
        "prr": measures.prr(sure, right),
        **measures.released(sure, right, THRESHOLD),
        "foreign": float(len(strange)),
        "foreign_released": sum(v is not None and v >= THRESHOLD for v in strange) / max(1, len(strange)),
        "unknown": float(sum(v is None for v in values)),
    }
    return {name: round(value, 5) for name, value in figures.items() if value == value}  # NaN says nothing


def by_group(calibration: Calibration, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Accuracy, mean confidence and coverage of own rows by domain and difficulty."""
    groups: dict[str, list[tuple[float, bool]]] = {}
    for row in rows:
        value = confidence(calibration, row)
        if not row.foreign and value is not None:
            for name in (row.domain, f"difficulty {row.difficulty}"):
                groups.setdefault(name, []).append((value, row.right))
    return {
        name: {
            "answers": len(pairs),
            "accuracy": round(sum(right for _, right in pairs) / len(pairs), 4),
            "confidence": round(sum(value for value, _ in pairs) / len(pairs), 4),
            "coverage": round(sum(value >= THRESHOLD for value, _ in pairs) / len(pairs), 4),
        }
        for name, pairs in sorted(groups.items())
    }
