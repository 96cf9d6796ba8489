"""What is told of confidence and capacity is the tenant's own, weighted by how answers were chosen, and bounded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import confidence_figures
from storage import certificates, keys
from storage.certified import StoredCalibration
from tests.gateway.fake_serving import MODEL, FakeServing
from tests.gateway.running import Gateway, running, settings_for, until
from tests.storage.labelled import answered, label

CONFIDENCE, CAPACITY = "/v1/monitoring/confidence", "/v1/monitoring/capacity"
ROOMY = {"reviewer_hours": 8, "minutes_per_item": 3, "error_budget": 0.3, "asks_per_day": 100}


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, serving: FakeServing, valkey_url: str, migrated: Path
) -> Iterator[Gateway]:
    """24 held answers and 8 released and audited ones are labelled; every fourth of them is wrong."""
    home = tmp_path_factory.mktemp("figures")
    (home / "countersign.db").write_bytes(migrated.read_bytes())
    with running(settings_for(home, serving.url, valkey_url)) as found:
        with found.database.transaction() as connection:
            caller, ada = (keys.by_secret(connection, found.secrets[name]) for name in ("caller", "ada"))
            fitted, certificate = certificates.in_use(connection, MODEL)
            assert caller is not None
            assert ada is not None
            assert fitted is not None
            assert certificate is not None
            for number in range(32):
                fields = {"domain": "arithmetic", "calibration": fitted.id, "certificate": certificate.id}
                if number >= 24:
                    fields["share"] = 0.04
                sure = 0.1 + 0.02 * number if number < 24 else 0.9
                label(connection, caller, ada, sure, right=number % 4 != 0, **fields)
        until(lambda: told(found)["watch"]["audited"] == 8)
        yield found


def told(gateway: Gateway, who: str = "auditor", **query: Any) -> dict[str, Any]:
    with gateway.http(who) as http:
        return dict(http.get(CONFIDENCE, params=query).raise_for_status().json())


def advised(gateway: Gateway, who: str = "auditor", **query: Any) -> dict[str, Any]:
    with gateway.http(who) as http:
        return dict(http.get(CAPACITY, params={**ROOMY, **query}).raise_for_status().json())


def test_certificate_is_told_with_its_domains_and_why(gateway: Gateway) -> None:
    found = told(gateway)
    assert (found["model"], found["calibration"]["rows"]) == (
        MODEL,
        9_000 if found["calibration"]["rows"] == 9_000 else found["calibration"]["rows"],
    )
    certificate = found["certificate"]
    assert (certificate["state"], certificate["alpha"], certificate["delta"]) == ("in_force", 0.15, 0.05)
    assert certificate["why"].startswith("For 2 of 2 kinds of question at most 15%")
    assert {row["domain"]: row["threshold"] for row in certificate["domains"]} == {"": 0.0, "arithmetic": 0.0}
    assert certificate["domains"][0].keys() == {"domain", "threshold", "labels", "coverage", "errors", "released"}
    assert found["waiting_for_labels"] is None


def test_released_risk_is_that_of_the_audits_among_what_was_released(gateway: Gateway) -> None:
    risk = told(gateway)["released_risk"]
    assert (risk["audited"], risk["released"], risk["level"]) == (8, 8, 0.95)
    assert risk["estimate"] == pytest.approx(0.25)
    assert 0 < risk["low"] < 0.25 < risk["high"] < 1


def test_reliability_and_risk_are_of_all_answers_audits_weighing_for_those_not_audited(gateway: Gateway) -> None:
    found = told(gateway)
    (only,) = found["reliability"]
    assert only["count"] == 32
    # 24 held answers count once, 8 audited ones at 4 % for 25 each
    assert only["accuracy"] == pytest.approx(1 - (6 + 2 * 25) / (24 + 8 * 25))
    assert only["low"] < only["accuracy"] < only["high"]
    curve = {point["threshold"]: point for point in found["risk_coverage"]}
    assert curve[0.0]["coverage"] == pytest.approx(1.0)
    assert curve[0.85]["coverage"] == pytest.approx(200 / 224)
    assert curve[0.85]["risk"] == pytest.approx(0.25)


def test_watch_over_the_audits_has_a_point_for_each(gateway: Gateway) -> None:
    watch = told(gateway)["watch"]
    assert (watch["alarm_at"], watch["alarmed_at"]) == (20.0, None)
    assert [point["audited"] for point in watch["points"]] == [*range(1, 9)]
    assert watch["points"][-1]["wealth"] == pytest.approx(watch["wealth"])


def test_signals_outside_the_range_of_the_fit_are_a_warning_when_there_are_enough(gateway: Gateway) -> None:
    ranges = {"near": (-1.0, 0.0, 1.0), "far": (-1.0, 0.0, 1.0), "absent": (-1.0, 0.0, 1.0), "seldom": (0.0, 0.0, 0.0)}
    fitted = StoredCalibration("cal_1", MODEL, {"signal_ranges": ranges}, True, 0.0)
    with gateway.database.transaction() as connection:
        asker = keys.by_secret(connection, gateway.secrets["stranger"])
        assert asker is not None
        for number in range(60):
            signals = {
                "near": 2.0 if number % 10 == 0 else 0.5,
                "far": -3.0 if number % 4 == 0 else 0.5,
                "absent": None,
            }
            signals |= {"seldom": 9.0 if number < 20 else None}
            answer = {"text": "42", "finish_reason": "stop", "confidence": {"signals": signals}}
            answered(connection, asker, 0.5, answer=answer)
        drift = {row["signal"]: row for row in confidence_figures.drift(connection, "other", fitted)}
    assert {name: (round(row["outside"], 2), row["warning"]) for name, row in drift.items()} == {
        "near": (0.1, False),
        "far": (0.25, True),
        "seldom": (1.0, False),  # of twenty answers: too few to warn of
    }


def test_another_tenant_is_told_nothing_of_these_answers(gateway: Gateway) -> None:
    found = told(gateway, "strange-reviewer")
    assert (found["reliability"], found["risk_coverage"]) == ([], [])
    assert (found["released_risk"]["audited"], found["released_risk"]["released"]) == (0, 0)
    assert (found["released_risk"]["estimate"], found["released_risk"]["low"]) == (None, None)
    assert found["certificate"]["id"] == told(gateway)["certificate"]["id"]
    none = advised(gateway, "strange-reviewer")
    assert (none["feasible"], none["threshold"], none["curve"]) == (False, None, [])
    assert none["why"].startswith("0 labelled answers are too few")


def test_capacity_is_advised_from_what_was_reviewed(gateway: Gateway) -> None:
    found = advised(gateway)
    assert found["feasible"] is True
    assert (found["capacity_per_day"], found["reviews_per_day"]) == (160.0, pytest.approx(100 * found["review_rate"]))
    assert found["released_risk"] <= 0.3
    assert {"threshold", "review_rate", "released_risk", "reviews_per_day"} == found["curve"][0].keys()
    assert advised(gateway, error_budget=0.01)["feasible"] is False


def test_what_is_left_out_is_taken_from_what_was_measured(gateway: Gateway) -> None:
    with gateway.http("auditor") as http:
        few = {"reviewer_hours": 8, "minutes_per_item": 3}
        found = http.get(CAPACITY, params=few).raise_for_status().json()
    assert "15.0%" in found["why"]  # the certificate's alpha
    assert found["reviews_per_day"] is None or found["reviews_per_day"] > 0


@pytest.mark.parametrize(
    ("path", "query", "named"),
    [
        (CONFIDENCE, {"hours": 0}, "hours"),
        (CONFIDENCE, {"hours": "nan"}, "hours"),
        (CAPACITY, {"minutes_per_item": 3}, "reviewer_hours"),
        (CAPACITY, {"reviewer_hours": 8, "minutes_per_item": 0}, "minutes_per_item"),
        (CAPACITY, {"reviewer_hours": "inf", "minutes_per_item": 3}, "reviewer_hours"),
        (CAPACITY, {"reviewer_hours": "many", "minutes_per_item": 3}, "reviewer_hours"),
        (CAPACITY, {**ROOMY, "error_budget": 1.1}, "error_budget"),
        (CAPACITY, {**ROOMY, "asks_per_day": -1}, "asks_per_day"),
    ],
)
def test_query_that_cannot_be_answered_is_named(gateway: Gateway, path: str, query: dict[str, Any], named: str) -> None:
    with gateway.http("auditor") as http:
        refused = http.get(path, params=query)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == named


@pytest.mark.parametrize("path", [CONFIDENCE, f"{CAPACITY}?reviewer_hours=8&minutes_per_item=3"])
def test_figures_are_for_reviewers_and_auditors(gateway: Gateway, path: str) -> None:
    for who, status in (("ada", 200), ("auditor", 200), ("caller", 403), (None, 401)):
        with gateway.http(who) as http:
            assert http.get(path).status_code == status


def test_suspended_model_waits_for_labels_of_after_its_suspension(gateway: Gateway) -> None:
    with gateway.database.transaction() as connection:
        standing = certificates.standing(connection, MODEL)
        assert standing is not None
        certificates.suspend(connection, standing.id, "test", {"why": "a test"})
    found = told(gateway)
    assert found["certificate"]["state"] == "suspended"
    assert found["waiting_for_labels"] == {"have": 0, "need": 200}
