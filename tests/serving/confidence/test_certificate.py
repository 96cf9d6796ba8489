"""What a certificate says, what it refuses to say, and what its body may hold."""

import contextlib
import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from serving.confidence.binomial import at_most
from serving.confidence.certificate import (
    Bound,
    Certificate,
    InvalidCertificate,
    Labelled,
    certificate_from_json,
    certificate_to_json,
    certify,
    delta_of_attempt,
    heaviest_of_all,
)

ALPHA, DELTA = 0.15, 0.05

rows_of_any_kind = some.lists(
    some.builds(
        Labelled,
        confidence=some.floats(0.0, 1.0),
        right=some.booleans(),
        domain=some.sampled_from([None, "sums"]),
        weight=some.sampled_from([1.0, 20.0]),
    ),
    max_size=300,
)


def made(rows: list[Labelled], **changed: Any) -> Certificate:
    asked = {"alpha": ALPHA, "delta": DELTA, "calibration_id": "cal_1", "model": "m@1", "made_at": 7.0, **changed}
    return certify(rows, **asked)


def drawn(count: int, seed: int = 1, domain: str | None = None) -> list[Labelled]:
    """Answers whose confidence is what it says."""
    draws = random.Random(seed)
    confidences = [math.sqrt(draws.random()) for _ in range(count)]
    return [Labelled(confidence, draws.random() < confidence, domain) for confidence in confidences]


def looseness(bound: Bound) -> float:
    return -2.0 if bound.threshold is None else -bound.threshold


def test_the_evidence_of_a_bound_can_be_tested_again() -> None:
    rows = drawn(3000)
    bound = made(rows).bounds[""]
    assert bound.threshold is not None
    released = [row for row in rows if row.confidence >= bound.threshold]
    assert (bound.labels, bound.released) == (3000, len(released))
    assert bound.errors == sum(not row.right for row in released)
    assert bound.coverage == pytest.approx(len(released) / 3000)
    assert at_most(bound.errors, bound.released, ALPHA) <= DELTA


def test_each_domain_has_a_bound_of_its_own() -> None:
    wrong = [Labelled(0.99, False, "logic") for _ in range(200)]
    certificate = made([*drawn(2000, domain="sums"), *wrong])
    assert certificate.bound("sums") == made(drawn(2000, domain="sums")).bound("sums")
    assert certificate.bound("logic") == Bound(None, labels=200, released=0, errors=0, coverage=0.0)
    assert certificate.bound("history") is None
    assert certificate.bound(None) is None


def test_answers_of_no_domain_share_the_empty_name() -> None:
    certificate = made([Labelled(0.9, True), Labelled(0.9, True, "")])
    assert certificate.bound(None) == certificate.bound("")
    assert certificate.bounds[""].labels == 2


def test_nothing_looser_than_the_policy_is_tested() -> None:
    rows = [Labelled(step / 1000, True) for step in range(1000)]
    assert made(rows).bounds[""].threshold == 0.0
    assert made(rows, at_least=0.8512).bounds[""].threshold == 0.8512


@pytest.mark.parametrize(("count", "threshold"), [(18, None), (19, 0.0)])
def test_as_many_right_answers_as_the_binomial_asks_for_suffice(count: int, threshold: float | None) -> None:
    assert 0.85**18 > DELTA >= 0.85**19
    assert made([Labelled(0.9, True)] * count).bounds[""].threshold == threshold


@pytest.mark.parametrize(
    "rows",
    [
        [Labelled(0.99, True)] * 10,
        [Labelled(0.99, False)] * 500,
        [Labelled(1.0, step % 2 == 0) for step in range(500)],
        [Labelled(0.5, False, weight=20.0)],
    ],
    ids=["ten labels", "all wrong", "all tied and half wrong", "one"],
)
def test_what_cannot_be_certified_has_no_threshold(rows: list[Labelled]) -> None:
    bound = made(rows).bounds[""]
    assert bound == Bound(None, labels=len(rows), released=0, errors=0, coverage=0.0)


def test_no_rows_give_no_bounds() -> None:
    assert made([]).bounds == {}


@given(rows=rows_of_any_kind)
def test_never_certifies_where_all_are_wrong(rows: list[Labelled]) -> None:
    wrong = [Labelled(row.confidence, False, row.domain, row.weight) for row in rows]
    assert all(bound.threshold is None for bound in made(wrong).bounds.values())


@given(rows=rows_of_any_kind, alphas=some.lists(some.sampled_from([0.05, 0.15, 0.3, 0.6]), min_size=2, max_size=2))
def test_what_is_certified_keeps_to_a_larger_alpha_too(rows: list[Labelled], alphas: list[float]) -> None:
    strict, loose = sorted(alphas)
    for bound in made(rows, alpha=strict).bounds.values():
        if bound.threshold is not None:
            assert at_most(bound.errors, bound.released, loose) <= DELTA


@pytest.mark.parametrize("seed", range(5))
def test_a_larger_alpha_releases_no_less(seed: int) -> None:
    rows = drawn(1500, seed)
    found = [looseness(made(rows, alpha=alpha).bounds[""]) for alpha in (0.05, 0.1, 0.15, 0.2, 0.3)]
    assert found == sorted(found)


@given(rows=rows_of_any_kind)
def test_the_same_rows_give_the_same_certificate_which_survives_its_json(rows: list[Labelled]) -> None:
    certificate = made(rows)
    assert certificate.id == made(list(rows)).id
    body = json.loads(json.dumps(certificate_to_json(certificate), allow_nan=False))
    assert certificate_from_json(body) == certificate


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 1.0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"delta": 0.0}, "delta"),
        ({"at_least": 1.5}, "at_least"),
    ],
)
def test_levels_out_of_range_are_named(changed: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        made(drawn(10), **changed)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (Labelled(float("nan"), True), r"rows\[1\].confidence"),
        (Labelled(1.2, True), r"rows\[1\].confidence"),
        (Labelled(0.5, True, weight=0.5), r"rows\[1\].weight"),
        (Labelled(0.5, True, weight=float("nan")), r"rows\[1\].weight"),
        (Labelled(0.5, True, weight=float("inf")), r"rows\[1\].weight"),
        (Labelled(0.5, True, weight=20.0, heaviest=10.0), r"rows\[1\].weight"),
    ],
)
def test_rows_that_cannot_be_tested_are_named(row: Labelled, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        made([Labelled(0.5, True), row])


def test_attempts_share_one_delta() -> None:
    assert delta_of_attempt(0.06, 1) == 0.03
    assert delta_of_attempt(0.06, 2) == pytest.approx(0.01)
    assert sum(delta_of_attempt(0.05, attempt) for attempt in range(1, 2000)) <= 0.05
    with pytest.raises(ValueError, match="attempt"):
        delta_of_attempt(0.05, 0)


BODY = json.dumps(certificate_to_json(made(drawn(500))))


def body() -> dict[str, Any]:
    return json.loads(BODY)


def test_an_id_may_be_left_out_but_must_fit() -> None:
    assert certificate_from_json({**body(), "id": body()["id"]}).id == body()["id"]
    without = {name: value for name, value in body().items() if name != "id"}
    assert certificate_from_json(without).id == body()["id"]
    with pytest.raises(InvalidCertificate, match=r"^id: "):
        certificate_from_json({**body(), "alpha": 0.2})


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ((), [], "certificate"),
        (("format",), 2, "format"),
        (("model",), "", "model"),
        (("calibration_id",), 5, "calibration_id"),
        (("alpha",), 0, "alpha"),
        (("alpha",), True, "alpha"),
        (("delta",), 1e400, "delta"),
        (("made_at",), -1, "made_at"),
        (("bounds",), [], "bounds"),
        (("bounds", ""), None, "bounds."),
        (("bounds", "", "threshold"), 1.01, r"bounds\.\.threshold"),
        (("bounds", "", "threshold"), None, r"bounds\.\.released"),
        (("bounds", "", "labels"), 0.5, r"bounds\.\.labels"),
        (("bounds", "", "released"), 501, r"bounds\.\.released"),
        (("bounds", "", "errors"), -1, r"bounds\.\.errors"),
        (("bounds", "", "errors"), 10**400, r"bounds\.\.errors"),
        (("bounds", "", "coverage"), float("nan"), r"bounds\.\.coverage"),
        (("bounds", "x" * 201), {}, "bounds"),
        (("bounds", "su\u202ems"), {}, "printable"),
        (("bounds", "", "threshhold"), 0.5, r"bounds\.\.threshhold: is no field"),
        (("treshold",), 0.5, "treshold: is no field"),
        (("alpha",), 0.001, r"bounds\.\.errors: .* delta allows 0\.05"),
        (("bounds", "", "errors"), 183, r"bounds\.\.errors: 183 of .* likely at a risk of 0\.15"),
    ],
)
def test_hostile_bodies_are_refused_by_the_name_of_the_field(place: tuple[str, ...], value: Any, named: str) -> None:
    hostile: Any = body()
    if not place:
        hostile = value
    else:
        at = hostile
        for name in place[:-1]:
            at = at[name]
        at[place[-1]] = value
    with pytest.raises(InvalidCertificate, match=named):
        certificate_from_json(hostile)


def test_more_domains_than_anybody_has_are_refused() -> None:
    hostile = {**body(), "bounds": {str(number): {} for number in range(1001)}}
    with pytest.raises(InvalidCertificate, match="1000 domains"):
        certificate_from_json(hostile)


json_values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(name=some.sampled_from(["format", "model", "alpha", "made_at", "bounds"]), value=json_values)
def test_any_other_value_is_read_or_refused_never_an_accident(name: str, value: Any) -> None:
    hostile = {**body(), name: value}
    hostile.pop("id")
    with contextlib.suppress(InvalidCertificate):
        assert certificate_from_json(hostile).id


def test_from_the_first_that_left_unreviewed_all_weigh_as_the_least_audited() -> None:
    assert heaviest_of_all([1.0, 25.0, 1.0, 4.0, None], [1.0, 2.0, 3.0, 3.0, 4.0]) == [1.0, 25.0, 25.0, 25.0, 25.0]
    assert heaviest_of_all([1.0, 1.0], [1.0, 2.0]) == [1.0, 1.0]
    assert heaviest_of_all([None, 1.0], [1.0, 2.0]) == [None, None]
    assert heaviest_of_all([], []) == []
