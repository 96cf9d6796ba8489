"""Shows a row as a stage of the cascade sees it, and follows it through the stages as serving does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from serving.confidence.calibration import Calibration
from serving.confidence.canonical import agreement_of
from serving.confidence.cascade import wants_another
from serving.confidence.score import fuse, unvouched
from training.calibration_rows import Row


@dataclass(frozen=True)
class Judged:
    """What serving would say of a row's answer."""

    confidence: float | None  # None where nothing vouches for it
    samples: int  # that were compared
    domain: str | None  # as recognised


def sampled_rows(rows: Sequence[Row], count: int) -> list[Row]:
    """The rows with the signals that `count` samples add."""
    return [replace(row, signals=_signals(row, count)) for row in rows]


def judge(calibration: Calibration, row: Row, most: int | None = None) -> Judged:
    """Through the cascade as far as the row's samples, or `most` of them, reach."""
    domain = calibration.recogniser.domain(row.text) if calibration.recogniser else None
    at_hand = len(row.samples) if most is None else min(most, len(row.samples))
    drawn, confidence = 0, _confidence(calibration, row, 0, domain)
    while drawn < at_hand and wants_another(confidence, drawn, calibration.cascade):
        drawn += 1
        confidence = _confidence(calibration, row, drawn, domain)
    return Judged(confidence, drawn, domain)


def _confidence(calibration: Calibration, row: Row, samples: int, domain: str | None) -> float | None:
    stage, signals = calibration.stage(samples), _signals(row, samples)
    if stage is None or unvouched(signals, stage.shapes):
        return None
    return stage.map_for(domain).probability(fuse(signals, stage.shapes, stage.intercept))


def _signals(row: Row, samples: int) -> dict[str, float | None]:
    agreement = agreement_of(row.written, row.samples[:samples])
    return {**row.signals, "agreement": agreement, "samples": float(samples)}
