"""What turns signals into a probability: plain numbers fitted for one checkpoint, named by their own digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from serving.confidence import checked
from serving.confidence.catalogue import NAMES
from serving.confidence.checked import InvalidCalibration
from serving.confidence.score import IsotonicMap, PlattMap, Points, Shape

__all__ = ["Calibration", "InvalidCalibration", "calibration_from_json", "calibration_to_json"]

FORMAT = 1
_MOST_MAP_POINTS = 1024


@dataclass(frozen=True)
class Calibration:
    """A fitted score and the map from score to probability, for the one model whose id it names."""

    model: str  # as in Answer.model: "countersign-reference@1f0c…"
    shapes: tuple[Shape, ...]
    intercept: float
    map: PlattMap | IsotonicMap
    fitted_at: float  # unix seconds
    rows: int
    accuracy: float  # share of right answers among the rows, foreign ones counted as wrong
    metrics: Mapping[str, float] = field(default_factory=dict)  # measured on rows not used for fitting
    signal_ranges: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)  # p05, p50, p95

    @cached_property
    def id(self) -> str:
        """The word cal_ and 16 hex digits of the SHA-256 of the canonical body."""
        canonical = json.dumps(_body(self), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return "cal_" + hashlib.sha256(canonical.encode()).hexdigest()[:16]


def calibration_to_json(calibration: Calibration) -> dict[str, Any]:
    """The wire and file form, with its id; `calibration_from_json` reads it back unchanged."""
    return {"id": calibration.id, **_body(calibration)}


def calibration_from_json(body: Any) -> Calibration:
    """Read and check a body. An "id" may be left out; one that does not fit the body is refused.

    Raises InvalidCalibration naming the field, as in "shapes[2].points: …".
    """
    fields = checked.mapping(body, "calibration")
    if fields.get("format") != FORMAT:
        raise InvalidCalibration(f"format: this version reads format {FORMAT}, not {fields.get('format')!r}")
    calibration = Calibration(
        model=checked.text(fields, "model"),
        shapes=_shapes(fields),
        intercept=checked.number(fields, "intercept"),
        map=_map(checked.mapping(fields.get("map"), "map")),
        fitted_at=checked.number(fields, "fitted_at", lowest=0.0),
        rows=checked.count(fields, "rows"),
        accuracy=checked.number(fields, "accuracy", lowest=0.0, highest=1.0),
        metrics=checked.numbers(fields, "metrics"),
        signal_ranges=_ranges(checked.mapping(fields.get("signal_ranges", {}), "signal_ranges")),
    )
    if "id" in fields and fields["id"] != calibration.id:
        raise InvalidCalibration(f"id: the body's digest is {calibration.id}, so {fields['id']!r} is not its name")
    return calibration


def _shapes(fields: Mapping[str, Any]) -> tuple[Shape, ...]:
    entries = checked.listing(fields.get("shapes"), "shapes", shortest=1, longest=len(NAMES))
    shapes = tuple(_shape(entry, f"shapes[{index}]") for index, entry in enumerate(entries))
    names = [shape.signal for shape in shapes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidCalibration(f"shapes: {', '.join(twice)} stands there twice")
    return shapes


def _shape(entry: Any, place: str) -> Shape:
    fields = checked.mapping(entry, place)
    signal = checked.text(fields, "signal", place)
    if signal not in NAMES:
        raise InvalidCalibration(f"{place}.signal: there is no signal named {signal!r}")
    missing = None if fields.get("missing") is None else checked.number(fields, "missing", place)
    return Shape(signal, checked.points(fields.get("points"), f"{place}.points", longest=64), missing)


def _map(fields: Mapping[str, Any]) -> PlattMap | IsotonicMap:
    kind = fields.get("kind")
    if kind == "platt":
        return PlattMap(
            slope=checked.number(fields, "slope", "map", lowest=0.0),
            offset=checked.number(fields, "offset", "map"),
            low=(low := checked.number(fields, "low", "map", lowest=0.0, highest=1.0)),
            high=checked.number(fields, "high", "map", lowest=low, highest=1.0),
        )
    if kind != "isotonic":
        raise InvalidCalibration(f"map.kind: must be platt or isotonic, not {kind!r}")
    return IsotonicMap(_rising(checked.points(fields.get("points"), "map.points", longest=_MOST_MAP_POINTS)))


def _rising(points: Points) -> Points:
    heights = [y for _, y in points]
    if heights != sorted(heights):
        raise InvalidCalibration("map.points: the probability falls as the score grows")
    if heights[0] < 0.0 or heights[-1] > 1.0:
        raise InvalidCalibration("map.points: a probability lies outside 0 to 1")
    return points


def _ranges(fields: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
    return {str(name): _range(fields[name], f"signal_ranges.{name}") for name in fields}


def _range(value: Any, place: str) -> tuple[float, float, float]:
    low, middle, high = checked.listing(value, place, shortest=3, longest=3)
    named = {"p05": low, "p50": middle, "p95": high}
    p05, p50, p95 = (checked.number(named, name, place) for name in named)
    return p05, p50, p95


def _body(calibration: Calibration) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "model": calibration.model,
        "shapes": [
            {"signal": shape.signal, "points": [list(point) for point in shape.points], "missing": shape.missing}
            for shape in calibration.shapes
        ],
        "intercept": calibration.intercept,
        "map": _map_body(calibration.map),
        "fitted_at": calibration.fitted_at,
        "rows": calibration.rows,
        "accuracy": calibration.accuracy,
        "metrics": dict(calibration.metrics),
        "signal_ranges": {name: list(span) for name, span in calibration.signal_ranges.items()},
    }


def _map_body(fitted: PlattMap | IsotonicMap) -> dict[str, Any]:
    if isinstance(fitted, IsotonicMap):
        return {"kind": "isotonic", "points": [list(point) for point in fitted.points]}
    ends = {"low": fitted.low, "high": fitted.high}
    return {"kind": "platt", "slope": fitted.slope, "offset": fitted.offset, **ends}
