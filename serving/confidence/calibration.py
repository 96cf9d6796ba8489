"""What turns signals into a probability: plain numbers fitted for one checkpoint, named by their own digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from serving.confidence import calibration_parts as parts
from serving.confidence import checked
from serving.confidence.calibration_parts import Stage
from serving.confidence.cascade import Cascade
from serving.confidence.checked import InvalidCalibration
from serving.confidence.domains import Recogniser
from serving.confidence.score import Map, Shape

__all__ = ["Calibration", "InvalidCalibration", "Stage", "calibration_from_json", "calibration_to_json"]

FORMATS = (1, 2)  # 2 adds maps, recogniser, stages and cascade


@dataclass(frozen=True)
class Calibration:
    """A fitted score and the map from score to probability, for the one model whose id it names."""

    model: str  # as in Answer.model: "countersign-reference@1f0c…"
    shapes: tuple[Shape, ...]
    intercept: float
    map: Map
    fitted_at: float  # unix seconds
    rows: int
    accuracy: float  # share of right answers among the rows, foreign ones counted as wrong
    metrics: Mapping[str, float] = field(default_factory=dict)  # measured on rows not used for fitting
    signal_ranges: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)  # p05, p50, p95
    maps: Mapping[str, Map] = field(default_factory=dict)  # by domain, "" where none is recognised; others: `map`
    recogniser: Recogniser | None = None  # None: no domain is ever recognised
    stages: tuple[Stage, ...] = ()  # how to judge with 1, 2, … samples to compare with
    cascade: Cascade | None = None  # None: no samples are drawn
    format: int = FORMATS[-1]

    @cached_property
    def id(self) -> str:
        """The word cal_ and 16 hex digits of the SHA-256 of the canonical body."""
        canonical = json.dumps(_body(self), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return "cal_" + hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @cached_property
    def first(self) -> Stage:
        """How to judge without samples."""
        return Stage(self.shapes, self.intercept, self.map, self.maps)

    def stage(self, samples: int) -> Stage | None:
        """How to judge with so many samples to compare with; None where nothing was fitted for that."""
        if samples == 0:
            return self.first
        return self.stages[samples - 1] if samples <= len(self.stages) else None


def calibration_to_json(calibration: Calibration) -> dict[str, Any]:
    """The wire and file form, with its id; `calibration_from_json` reads it back unchanged."""
    return {"id": calibration.id, **_body(calibration)}


def calibration_from_json(body: Any) -> Calibration:
    """Read and check a body of any format. An "id" may be left out; one that does not fit the body is refused.

    Raises InvalidCalibration naming the field, as in "stages[1].shapes[2].points: …".
    """
    fields = checked.mapping(body, "calibration")
    form = fields.get("format")
    if isinstance(form, bool) or form not in FORMATS:
        raise InvalidCalibration(f"format: this version reads formats {FORMATS[0]} and {FORMATS[1]}, not {form!r}")
    calibration = Calibration(
        model=checked.text(fields, "model"),
        shapes=parts.shapes(fields),
        intercept=checked.number(fields, "intercept"),
        map=parts.map_from(fields.get("map"), "map"),
        fitted_at=checked.number(fields, "fitted_at", lowest=0.0),
        rows=checked.count(fields, "rows"),
        accuracy=checked.number(fields, "accuracy", lowest=0.0, highest=1.0),
        metrics=checked.numbers(fields, "metrics"),
        signal_ranges=parts.ranges(checked.mapping(fields.get("signal_ranges", {}), "signal_ranges")),
        format=int(form),
        **(parts.of_format_2(fields) if form == 2 else {}),
    )
    if "id" in fields and fields["id"] != calibration.id:
        raise InvalidCalibration(f"id: the body's digest is {calibration.id}, so {fields['id']!r} is not its name")
    return calibration


def _body(calibration: Calibration) -> dict[str, Any]:
    body = {
        "format": calibration.format,
        "model": calibration.model,
        **parts.stage_body(calibration.first),
        "fitted_at": calibration.fitted_at,
        "rows": calibration.rows,
        "accuracy": calibration.accuracy,
        "metrics": dict(calibration.metrics),
        "signal_ranges": {name: list(span) for name, span in calibration.signal_ranges.items()},
    }
    if calibration.format == 1:
        del body["maps"]
        return body
    return {
        **body,
        "recogniser": parts.recogniser_body(calibration.recogniser),
        "stages": [parts.stage_body(stage) for stage in calibration.stages],
        "cascade": parts.cascade_body(calibration.cascade),
    }
