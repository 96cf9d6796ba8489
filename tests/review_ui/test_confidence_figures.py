"""How right confidence was, as the desk reads, words and draws it: also where figures are missing or hostile."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest

from review_ui import confidence_charts as charts
from review_ui import confidence_words as words
from review_ui.confidence_figures import CertificateState, ConfidenceFigures, ReleasedRisk, confidence_figures
from tests.review_ui.confidence_samples import confidence, nothing_yet, suspended

NOON = 1_795_435_200.0  # 2026-11-23 12:00 UTC
HOSTILE = "<img src=x onerror=alert(1)> \u202e![x](http://evil)"


def read(**changes: Any) -> ConfidenceFigures:
    return confidence_figures(confidence(NOON) | changes)


def marks(chart: Any) -> list[dict[str, Any]]:
    """Every layer's inline rows."""
    return [row for layer in chart.to_dict()["layer"] for row in layer.get("data", {}).get("values", [])]


def test_a_certificate_in_force_says_what_it_promises_and_asks_for_nothing() -> None:
    found = read()

    assert found.certificate.state is CertificateState.IN_FORCE
    assert words.promise(found) == (
        "Of the answers released in a domain, at most 15 % are wrong. That holds with 95 % certainty in each domain."
    )
    assert words.to_do(found) == ""
    assert [words.bound_cells(bound) for bound in found.certificate.bounds] == [
        ("arithmetic", "78.0 %", "71 %", "41 of 640 wrong", "900"),
        ("word-problem", "90.5 %", "38 %", "19 of 232 wrong", "610"),
        ("none recognised", "–", "–", "–", "130"),
    ]


def test_a_certificate_that_certifies_no_threshold_promises_no_release() -> None:
    certificate = confidence(NOON)["certificate"]
    for domain in certificate["domains"]:
        domain["threshold"] = None

    assert "every answer is held" in words.promise(read(certificate=certificate))


def test_a_suspended_certificate_says_that_all_is_held_and_what_to_do() -> None:
    found = confidence_figures(suspended(NOON))

    assert words.promise(found) == (
        "Released answers have been wrong more often than allowed. Every answer is held until it is recertified."
    )
    assert "An operator suspended it." in words.promise(confidence_figures(suspended(NOON) | {"watch": None}))
    assert "120 labelled answers of the 200 needed; with 80 more, answers can be certified anew" in words.to_do(found)


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        ({"have": 12, "need": 200}, "12 labelled answers of the 200 needed; with 188 more, a certificate can be made"),
        ({"have": 1234, "need": 200}, "1,234 labelled answers of the 200 needed, so a certificate can be made"),
        ({"have": None, "need": None}, "with enough of them, a certificate can be made"),
        (None, "with enough of them, a certificate can be made"),
    ],
)
def test_without_a_certificate_the_labels_that_are_missing_are_counted(waiting: Any, said: str) -> None:
    assert said in words.to_do(confidence_figures(nothing_yet() | {"waiting_for_labels": waiting}))


def test_a_gateway_that_was_just_started_has_no_figures_and_no_fault() -> None:
    found = confidence_figures(nothing_yet())

    assert found.certificate.state is CertificateState.NONE
    assert (found.reliability, found.risk_coverage, found.drift) == ((), (), ())
    assert (found.released_risk, found.watch, found.calibration) == (None, None, None)


def test_rows_with_a_missing_number_are_left_out() -> None:
    rows = confidence(NOON)["reliability"]
    rows[3]["low"] = None
    rows[5]["accuracy"] = math.nan

    assert len(read(reliability=rows).reliability) == len(rows) - 2


@pytest.mark.parametrize(
    "changes",
    [
        {"certificate": {"state": "almost"}},
        {"reliability": [{"confidence": "high", "accuracy": 1, "low": 1, "high": 1, "count": 1}]},
        {"risk_coverage": [{"threshold": 0.9, "coverage": True, "risk": 0.1}]},
        {"watch": {"audited": 1, "wealth": 1.0, "alarm_at": 20.0}},
    ],
)
def test_another_shape_is_a_fault_and_no_figure(changes: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        read(**changes)


def test_the_reliability_diagram_is_told_in_a_sentence() -> None:
    near = {"confidence": 0.8, "accuracy": 0.79, "low": 0.7, "high": 0.86, "count": 90}
    far = {"confidence": 0.9, "accuracy": 0.6, "low": 0.5, "high": 0.7, "count": 40}

    assert words.reliability(read(reliability=[near]).reliability) == (
        "90 reviewed answers in 1 group of like confidence; in each, the share that was right agrees with the "
        "confidence stated."
    )
    assert words.reliability(read(reliability=[near, far]).reliability) == (
        "130 reviewed answers in 2 groups of like confidence; in 1 of them the share that was right differs from the "
        "confidence stated, most where 90 % was stated and 60 % were right."
    )


def test_the_diagram_has_the_diagonal_the_intervals_and_counts_that_do_not_cover_each_other() -> None:
    drawn = marks(charts.reliability(read().reliability))

    assert {"confidence": 1, "accuracy": 1} in drawn
    assert {row["low"] for row in drawn if "low" in row} == {row.low for row in read().reliability}
    labelled = sorted({row["confidence"] for row in drawn if row.get("label")})
    assert all(right - left >= charts.LABEL_EVERY for left, right in pairwise(labelled))


def test_the_risk_coverage_curve_names_what_is_allowed_and_the_thresholds_in_force() -> None:
    found = read()

    drawn = marks(charts.risk_coverage(found.risk_coverage, found.certificate.bounds, 0.15))

    assert {"value": 0.15, "label": "allowed 15 %"} in drawn
    assert [row["threshold"] for row in drawn if row.get("domain")] == [0.78, 0.905]
    assert "Within the 15 % allowed, 84 % could be, from a confidence of 32 % on." in words.risk_coverage(
        found.risk_coverage, 0.15
    )
    assert "No threshold keeps the risk" in words.risk_coverage(found.risk_coverage, 0.0001)
    assert words.risk_coverage(found.risk_coverage, None) == "If everything were released, 31.0 % would be wrong."


def test_the_released_risk_is_told_with_its_interval_or_with_why_there_is_none() -> None:
    assert words.released_risk(ReleasedRisk(0.041, 0.012, 0.094, 0.95, 86, 2140)) == (
        "86 of 2,140 released answers were audited. An estimated 4.1 % are wrong; with 95 % certainty between 1.2 % "
        "and 9.4 %."
    )
    assert "too few to estimate" in words.released_risk(ReleasedRisk(None, None, None, 0.95, 1, 40))
    assert "too few were to say how surely" in words.released_risk(ReleasedRisk(0.5, None, None, 0.95, 2, 40))


def test_evidence_is_drawn_on_a_logarithmic_scale_with_its_alarm_even_where_it_is_nought() -> None:
    watch = suspended(NOON)["watch"]
    watch["points"][0]["wealth"] = 0.0
    found = read(watch=watch).watch
    assert found is not None

    chart = charts.watch(found)

    drawn, scales = marks(chart), [layer["encoding"]["y"].get("scale", {}) for layer in chart.to_dict()["layer"][:2]]
    assert all(scale["type"] == "log" and scale["domain"][0] > 0 for scale in scales)
    assert min(row["wealth"] for row in drawn if "wealth" in row) == charts.LEAST_WEALTH
    assert {row["label"] for row in drawn if "label" in row} == {"alarm at 20", "alarm raised"}
    assert words.watch(found).startswith("The alarm was raised: wrong answers are more than chance explains.")


def test_no_alarm_is_told_with_where_the_evidence_stands() -> None:
    found = read(watch={"audited": 3, "wealth": 0.4, "alarm_at": 20, "alarmed_at": None, "points": []}).watch
    assert found is not None
    assert words.watch(found) == ("No alarm: the evidence stands at 0.4, the alarm is raised at 20; 3 audited so far.")


def test_the_domain_that_stands_out_among_several_is_named() -> None:
    domains = [{"domain": "algebra", "audited": 12, "wealth": 3.14}, {"domain": "", "audited": 30, "wealth": 0.2}]
    seen = {"audited": 42, "wealth": 0.9, "alarm_at": 20, "alarmed_at": None, "points": [], "domains": domains}
    found = read(watch=seen).watch
    assert found is not None
    assert words.watch(found).endswith("42 audited so far. It is strongest for algebra: 3.14 after 12 audits.")
    calm = read(watch={**seen, "domains": [{**each, "wealth": 0.5} for each in domains]}).watch
    assert calm is not None
    assert words.watch(calm).endswith("42 audited so far.")


def test_drift_is_counted_and_called_a_warning() -> None:
    assert words.drift(read().drift) == "1 of 3 signals has moved from where it usually lies."
    assert words.drift(read().drift[:1]) == "None of 1 signals has moved from where it usually lies."
    assert words.DRIFT_IS_NO_ALARM.startswith("Warnings, not alarms")


def test_a_hostile_domain_is_only_ever_a_value_in_a_chart() -> None:
    certificate = confidence(NOON)["certificate"]
    certificate["domains"][0]["domain"] = HOSTILE
    found = read(certificate=certificate)

    drawn = charts.risk_coverage(found.risk_coverage, found.certificate.bounds, 0.15).to_dict()

    values = [row.pop("domain") for layer in drawn["layer"] for row in layer["data"]["values"] if "domain" in row]
    assert values[0].startswith("<img src=x onerror=alert(1)> ⟨U+202E⟩")
    assert "<img" not in json.dumps(drawn)
