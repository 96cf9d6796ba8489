"""A calibration survives JSON unchanged, is named by its content, and a broken one is refused by field."""

import copy
import json
import math
from dataclasses import replace
from typing import Any

import pytest

from serving.confidence.calibration import InvalidCalibration, calibration_from_json, calibration_to_json
from tests.serving.confidence.made import calibration, cascading


def body(**changes: Any) -> dict[str, Any]:
    """The made-up calibration with everything there is and without its id, changed."""
    made = json.loads(json.dumps(calibration_to_json(cascading())))
    del made["id"]
    return {**made, **changes}


def test_json_round_trip_keeps_every_number_and_the_id() -> None:
    for made in (calibration(), cascading(), replace(calibration(), format=1)):
        again = calibration_from_json(json.loads(json.dumps(calibration_to_json(made))))
        assert again == made
        assert again.id == made.id


def test_a_calibration_of_format_1_keeps_the_name_it_was_given_then() -> None:
    old = replace(calibration(), format=1)
    assert old.id == "cal_2662fa54763fae6d"
    assert set(calibration_to_json(old)).isdisjoint({"maps", "recogniser", "stages", "cascade"})
    assert calibration_from_json(calibration_to_json(old)).cascade is None


def test_whole_numbers_written_without_a_point_keep_the_id() -> None:
    loose = body(intercept=0, fitted_at=1_760_000_000)
    assert calibration_from_json(loose).id == cascading().id


def test_another_number_is_another_calibration() -> None:
    assert calibration_from_json(body(intercept=0.1)).id != cascading().id
    assert calibration_from_json(body(cascade={**CASCADE, "low": 0.2})).id != cascading().id


def test_a_changed_body_under_the_old_id_is_refused() -> None:
    changed = {**calibration_to_json(calibration()), "intercept": 5.0}
    with pytest.raises(InvalidCalibration, match=r"^id: "):
        calibration_from_json(changed)


RECOGNISER = {
    "domains": ["sums", ""],
    "weights": {"what": [1.0, 0.0]},
    "offsets": [0.0, 0.0],
    "lead": 1,
    "strange": 0.1,
}
CASCADE = {"low": 0.1, "high": 0.93, "most": 2, "temperature": 1.0}
STAGE = body()["stages"][0]
SHAPE = {"signal": "logprob_mean", "points": [[-1.0, 0.0], [0.0, 1.0]], "missing": None}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"format": 3}, "format"),
        ({"format": True}, "format"),
        ({"maps": []}, "maps"),
        ({"maps": {"sums": None}}, "maps.sums"),
        ({"maps": {"sums": {"kind": "isotonic", "points": [[0.0, 0.9], [1.0, 0.2]]}}}, "maps.sums.points"),
        ({"maps": {"x" * 101: {"kind": "platt"}}}, "maps"),
        ({"maps": {str(n): {"kind": "platt"} for n in range(33)}}, "maps"),
        ({"recogniser": {**RECOGNISER, "domains": []}}, "recogniser.domains"),
        ({"recogniser": {**RECOGNISER, "domains": ["sums", "sums"]}}, "recogniser.domains"),
        ({"recogniser": {**RECOGNISER, "weights": {"what": [1.0]}}}, "recogniser.weights.what"),
        ({"recogniser": {**RECOGNISER, "weights": {"what": [1.0, math.nan]}}}, "recogniser.weights.what[1]"),
        ({"recogniser": {**RECOGNISER, "weights": {str(n): [0.0, 0.0] for n in range(2_001)}}}, "recogniser.weights"),
        ({"recogniser": {**RECOGNISER, "offsets": [0.0]}}, "recogniser.offsets"),
        ({"recogniser": {**RECOGNISER, "strange": 2.0}}, "recogniser.strange"),
        ({"recogniser": {**RECOGNISER, "lead": -1.0}}, "recogniser.lead"),
        ({"stages": [STAGE] * 5}, "stages"),
        ({"stages": [STAGE]}, "cascade.most"),
        ({"stages": [STAGE, {**STAGE, "shapes": []}]}, "stages[1].shapes"),
        ({"stages": [STAGE, {**STAGE, "map": {"kind": "oracle"}}]}, "stages[1].map.kind"),
        ({"stages": [STAGE, {**STAGE, "intercept": math.inf}]}, "stages[1].intercept"),
        ({"cascade": None}, "cascade.most"),
        ({"cascade": {**CASCADE, "low": 0.95}}, "cascade.high"),
        ({"cascade": {**CASCADE, "most": 5}}, "cascade.most"),
        ({"cascade": {**CASCADE, "temperature": math.nan}}, "cascade.temperature"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"intercept": math.nan}, "intercept"),
        ({"intercept": "0"}, "intercept"),
        ({"intercept": True}, "intercept"),
        ({"intercept": 10**400}, "intercept"),
        ({"rows": 0}, "rows"),
        ({"rows": 2.5}, "rows"),
        ({"accuracy": 1.2}, "accuracy"),
        ({"metrics": {"auroc": math.inf}}, "metrics.auroc"),
        ({"metrics": []}, "metrics"),
        ({"signal_ranges": {"logprob_mean": [0.0, 1.0]}}, "signal_ranges.logprob_mean"),
        ({"signal_ranges": {"logprob_mean": [0.0, "1", 2.0]}}, "signal_ranges.logprob_mean.p50"),
        ({"shapes": []}, "shapes"),
        ({"shapes": "all"}, "shapes"),
        ({"shapes": [SHAPE, SHAPE]}, "shapes"),
        ({"shapes": [{**SHAPE, "signal": "hunch"}]}, "shapes[0].signal"),
        ({"shapes": [{**SHAPE, "points": [[0.0, 1.0], [0.0, 2.0]]}]}, "shapes[0].points"),
        ({"shapes": [{**SHAPE, "points": [[0.0, math.nan]]}]}, "shapes[0].points[0][1]"),
        ({"shapes": [{**SHAPE, "points": []}]}, "shapes[0].points"),
        ({"shapes": [{**SHAPE, "missing": "no"}]}, "shapes[0].missing"),
        ({"map": None}, "map"),
        ({"map": {"kind": "oracle"}}, "map.kind"),
        ({"map": {"kind": "isotonic", "points": [[0.0, 0.9], [1.0, 0.2]]}}, "map.points"),
        ({"map": {"kind": "isotonic", "points": [[0.0, 0.5], [1.0, 1.5]]}}, "map.points"),
        ({"map": {"kind": "isotonic", "points": [[float(x), 0.5] for x in range(2_000)]}}, "map.points"),
        ({"map": {"kind": "platt", "slope": -1.0, "offset": 0.0, "low": 0.1, "high": 0.9}}, "map.slope"),
        ({"map": {"kind": "platt", "slope": 1.0, "offset": 0.0, "low": 0.9, "high": 0.1}}, "map.high"),
    ],
)
def test_a_broken_body_is_refused_by_the_name_of_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidCalibration) as refusal:
        calibration_from_json(body(**changes))
    assert str(refusal.value).startswith(f"{field}: ")


@pytest.mark.parametrize("broken", [None, [], "calibration", 3])
def test_what_is_no_object_is_refused(broken: Any) -> None:
    with pytest.raises(InvalidCalibration):
        calibration_from_json(broken)


@pytest.mark.parametrize("field", sorted(set(body()) - {"metrics", "signal_ranges"}))
def test_every_field_that_matters_is_asked_for(field: str) -> None:
    lacking = copy.deepcopy(body())
    del lacking[field]
    with pytest.raises(InvalidCalibration, match=field):
        calibration_from_json(lacking)
