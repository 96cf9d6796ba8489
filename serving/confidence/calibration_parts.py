"""Reads and writes the parts of a calibration: shapes, maps, the recogniser of domains, stages and cascade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.confidence import checked
from serving.confidence.cascade import MOST_SAMPLES, Cascade
from serving.confidence.catalogue import NAMES
from serving.confidence.checked import InvalidCalibration
from serving.confidence.domains import Recogniser
from serving.confidence.score import IsotonicMap, Map, PlattMap, Points, Shape

_MOST_SHAPE_POINTS, _MOST_MAP_POINTS = 64, 1024
_MOST_DOMAINS, _MOST_WORDS = 32, 2_000


@dataclass(frozen=True)
class Stage:
    """How to judge an answer with so many samples to compare it with."""

    shapes: tuple[Shape, ...]
    intercept: float
    map: Map
    maps: Mapping[str, Map] = field(default_factory=dict)  # by domain, "" where none is recognised; others: `map`

    def map_for(self, domain: str | None) -> Map:
        return self.maps.get(domain or "", self.map)


def of_format_2(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What format 2 knows beyond format 1."""
    for name in ("recogniser", "cascade"):
        if name not in fields:
            raise InvalidCalibration(f"{name}: must be an object or null, not missing")
    told = checked.listing(fields.get("stages"), "stages", shortest=0, longest=MOST_SAMPLES)
    stages = tuple(_stage(entry, f"stages[{index}]") for index, entry in enumerate(told))
    cascade = None if fields["cascade"] is None else _cascade(fields["cascade"])
    if (cascade.most if cascade else 0) != len(stages):
        raise InvalidCalibration(f"cascade.most: must be the number of stages, {len(stages)}")
    return {
        "maps": maps(fields.get("maps"), "maps"),
        "recogniser": None if fields["recogniser"] is None else _recogniser(fields["recogniser"]),
        "stages": stages,
        "cascade": cascade,
    }


def shapes(fields: Mapping[str, Any], place: str = "") -> tuple[Shape, ...]:
    place = checked.at(place, "shapes")
    entries = checked.listing(fields.get("shapes"), place, shortest=1, longest=len(NAMES))
    found = tuple(_shape(entry, f"{place}[{index}]") for index, entry in enumerate(entries))
    names = [shape.signal for shape in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidCalibration(f"{place}: {', '.join(twice)} stands there twice")
    return found


def map_from(value: Any, place: str) -> Map:
    fields = checked.mapping(value, place)
    kind = fields.get("kind")
    if kind == "platt":
        return PlattMap(
            slope=checked.number(fields, "slope", place, lowest=0.0),
            offset=checked.number(fields, "offset", place),
            low=(low := checked.number(fields, "low", place, lowest=0.0, highest=1.0)),
            high=checked.number(fields, "high", place, lowest=low, highest=1.0),
        )
    if kind != "isotonic":
        raise InvalidCalibration(f"{place}.kind: must be platt or isotonic, not {kind!r}")
    return IsotonicMap(
        _rising(checked.points(fields.get("points"), f"{place}.points", longest=_MOST_MAP_POINTS), place)
    )


def maps(value: Any, place: str) -> dict[str, Map]:
    """A map for each of some domains."""
    fields = checked.mapping(value, place)
    if len(fields) > _MOST_DOMAINS:
        raise InvalidCalibration(f"{place}: must hold at most {_MOST_DOMAINS} domains, not {len(fields)}")
    return {checked.short(name, place): map_from(fields[name], f"{place}.{name}") for name in fields}


def ranges(fields: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
    return {str(name): _range(fields[name], f"signal_ranges.{name}") for name in fields}


def stage_body(stage: Stage) -> dict[str, Any]:
    return {
        "shapes": [
            {"signal": shape.signal, "points": [list(point) for point in shape.points], "missing": shape.missing}
            for shape in stage.shapes
        ],
        "intercept": stage.intercept,
        "map": _map_body(stage.map),
        "maps": {name: _map_body(found) for name, found in stage.maps.items()},
    }


def recogniser_body(recogniser: Recogniser | None) -> dict[str, Any] | None:
    if recogniser is None:
        return None
    return {
        "domains": list(recogniser.domains),
        "weights": {word: list(weights) for word, weights in recogniser.weights.items()},
        "offsets": list(recogniser.offsets),
        "lead": recogniser.lead,
        "strange": recogniser.strange,
    }


def cascade_body(cascade: Cascade | None) -> dict[str, Any] | None:
    if cascade is None:
        return None
    return {
        "low": cascade.low,
        "high": cascade.high,
        "most": cascade.most,
        "temperature": cascade.temperature,
    }


def _shape(entry: Any, place: str) -> Shape:
    fields = checked.mapping(entry, place)
    signal = checked.text(fields, "signal", place)
    if signal not in NAMES:
        raise InvalidCalibration(f"{place}.signal: there is no signal named {signal!r}")
    missing = None if fields.get("missing") is None else checked.number(fields, "missing", place)
    return Shape(signal, checked.points(fields.get("points"), f"{place}.points", longest=_MOST_SHAPE_POINTS), missing)


def _rising(points: Points, place: str) -> Points:
    heights = [y for _, y in points]
    if heights != sorted(heights):
        raise InvalidCalibration(f"{place}.points: the probability falls as the score grows")
    if heights[0] < 0.0 or heights[-1] > 1.0:
        raise InvalidCalibration(f"{place}.points: a probability lies outside 0 to 1")
    return points


def _range(value: Any, place: str) -> tuple[float, float, float]:
    low, middle, high = checked.listing(value, place, shortest=3, longest=3)
    named = {"p05": low, "p50": middle, "p95": high}
    p05, p50, p95 = (checked.number(named, name, place) for name in named)
    return p05, p50, p95


def _stage(entry: Any, place: str) -> Stage:
    fields = checked.mapping(entry, place)
    return Stage(
        shapes=shapes(fields, place),
        intercept=checked.number(fields, "intercept", place),
        map=map_from(fields.get("map"), f"{place}.map"),
        maps=maps(fields.get("maps"), f"{place}.maps"),
    )


def _cascade(value: Any) -> Cascade:
    fields = checked.mapping(value, "cascade")
    return Cascade(
        low=(low := checked.number(fields, "low", "cascade", lowest=0.0, highest=1.0)),
        high=checked.number(fields, "high", "cascade", lowest=low, highest=1.0),
        most=checked.count(fields, "most", "cascade", highest=MOST_SAMPLES),
        temperature=checked.number(fields, "temperature", "cascade", lowest=0.0, highest=2.0),
    )


def _recogniser(value: Any) -> Recogniser:
    fields = checked.mapping(value, "recogniser")
    told = checked.listing(fields.get("domains"), "recogniser.domains", shortest=1, longest=_MOST_DOMAINS)
    domains = tuple(checked.short(name, "recogniser.domains") for name in told)
    if not all(name.isprintable() for name in domains):  # certificates name them
        raise InvalidCalibration("recogniser.domains: a domain is named by a printable text")
    if len(set(domains)) < len(domains):
        raise InvalidCalibration("recogniser.domains: a domain stands there twice")
    weights = checked.mapping(fields.get("weights"), "recogniser.weights")
    if len(weights) > _MOST_WORDS:
        raise InvalidCalibration(f"recogniser.weights: must hold at most {_MOST_WORDS} words, not {len(weights)}")
    return Recogniser(
        domains=domains,
        weights={
            checked.short(word, "recogniser.weights"): checked.row(
                weights[word], f"recogniser.weights.{word}", len(domains)
            )
            for word in weights
        },
        offsets=checked.row(fields.get("offsets"), "recogniser.offsets", len(domains)),
        lead=checked.number(fields, "lead", "recogniser", lowest=0.0),
        strange=checked.number(fields, "strange", "recogniser", lowest=0.0, highest=1.0),
    )


def _map_body(fitted: Map) -> dict[str, Any]:
    if isinstance(fitted, IsotonicMap):
        return {"kind": "isotonic", "points": [list(point) for point in fitted.points]}
    return {
        "kind": "platt",
        "slope": fitted.slope,
        "offset": fitted.offset,
        "low": fitted.low,
        "high": fitted.high,
    }
