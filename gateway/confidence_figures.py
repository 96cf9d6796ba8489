"""Tells how far confidence means what it says: of a tenant's reviewed answers, and of the model's certificate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from gateway.certifying import ALPHA, DELTA, labelled
from gateway.policy import Standing
from gateway.release_watch import UNCOUNTABLE, alarm_delta, watch_of
from gateway.standing import standing_of
from serving.confidence.capacity import Point, capacity
from serving.confidence.certificate import Certificate
from serving.confidence.learn_then_test import fewest
from serving.confidence.weighted_risk import Audit, weighted_risk
from storage import certificates, confidence_reads, labels, watches
from storage.certified import CertificateState, Label, StoredCalibration, StoredCertificate

LABELS = 5_000  # the newest, of a tenant and a calibration
RECENT_ANSWERS = 200  # whose signals are compared with those of the fit
FEWEST_ANSWERS = 50  # that a warning needs
EXPECTED_OUTSIDE = 0.1  # of p05 to p95
WARNING = 2.0  # times what is expected
BINS, FEWEST_IN_BIN = 10, 20
WANTED_LABELS = 200  # of an ordinary model these certify a threshold; four times what is needed where all are right


def figures(connection: Connection, tenant: str, model: str | None, since: float) -> dict[str, Any]:
    """What GET /v1/monitoring/confidence answers; `since` in unix seconds bounds the tenant's own figures."""
    calibration, stored = certificates.in_use(connection, model) if model is not None else (None, None)
    standing = None if stored is None else standing_of(stored)
    found: list[Label] = []
    if calibration is not None:
        found = labels.newest(connection, calibration.id, tenant=tenant, since=since, limit=LABELS)
    return {
        "model": model,
        "calibration": None if calibration is None else calibration_facts(calibration),
        "certificate": certificate_facts(calibration, stored, standing),
        "reliability": reliability(found),
        "risk_coverage": risk_coverage(found),
        "released_risk": released_risk(connection, tenant, calibration, found, since),
        "watch": None if stored is None or standing is None else watch_facts(connection, stored, standing.certificate),
        "drift": drift(connection, tenant, calibration),
        "waiting_for_labels": waiting_for_labels(connection, tenant, calibration, standing),
    }


def calibration_facts(calibration: StoredCalibration) -> dict[str, Any]:
    body = calibration.body
    told = {name: body.get(name) for name in ("rows", "fitted_at")}
    return {"id": calibration.id, **told, "metrics": body.get("metrics") or {}}


def certificate_facts(
    calibration: StoredCalibration | None, stored: StoredCertificate | None, standing: Standing | None
) -> dict[str, Any]:
    if stored is None or standing is None or standing.certificate is None:
        broken = "There is no certificate" if stored is None else f"The certificate {stored.id} cannot be read"
        return _no_certificate(f"{broken}, so nothing is released by one.")
    if calibration is None or calibration.id != stored.calibration_id:
        active = "none" if calibration is None else calibration.id
        about = f"The certificate {stored.id} is about the calibration {stored.calibration_id}, and {active} is active"
        if stored.state is CertificateState.IN_FORCE:
            return _no_certificate(f"{about}: nothing is released until it is certified.")
    certificate = standing.certificate
    return {
        "id": stored.id,
        "state": stored.state.value,
        "why": _why(certificate, standing.state),
        "alpha": certificate.alpha,
        "delta": certificate.delta,
        "made_at": certificate.made_at,
        "domains": [{"domain": name, **dataclasses.asdict(bound)} for name, bound in certificate.bounds.items()],
    }


def _no_certificate(why: str) -> dict[str, Any]:
    return {"id": None, "state": "none", "why": why, "alpha": None, "delta": None, "made_at": None, "domains": []}


def _why(certificate: Certificate, state: CertificateState) -> str:
    if state is not CertificateState.IN_FORCE:
        return "Too many audited answers were wrong, or an operator suspended it: everything is held until recertified."
    certified = sum(bound.threshold is not None for bound in certificate.bounds.values())
    if not certified:
        return "The labels certify no threshold for any kind of question: everything is held."
    return (
        f"For {certified} of {len(certificate.bounds)} kinds of question at most {certificate.alpha:.0%} of what is "
        f"released is wrong, each with a probability of {1 - certificate.delta:.4g}."
    )


def reliability(found: Sequence[Label]) -> list[dict[str, Any]]:
    """In bins of equally many answers, each weighted by 1/π; intervals at 95 %."""
    ordered = sorted(found, key=lambda label: label.confidence)
    bins = min(BINS, max(1, len(ordered) // FEWEST_IN_BIN))
    size = math.ceil(len(ordered) / bins)
    parts = [ordered[start : start + size] for start in range(0, len(ordered), size or 1)]
    return [_bin(part) for part in parts]


def _bin(part: Sequence[Label]) -> dict[str, Any]:
    risk = weighted_risk([Audit(not label.right, label.weight) for label in part])
    weight = sum(label.weight for label in part)
    return {
        "confidence": sum(label.confidence * label.weight for label in part) / weight,
        "accuracy": 1.0 - (risk.estimate or 0.0),
        "low": 1.0 - risk.high,
        "high": 1.0 - risk.low,
        "count": len(part),
    }


def risk_coverage(found: Sequence[Label]) -> list[dict[str, Any]]:
    """By threshold, of the labelled answers weighted by 1/π; empty where there are too few to predict from."""
    rows = [labelled(label) for label in found]
    curve = capacity(rows, reviewer_hours=1.0, minutes_per_item=1.0, error_budget=1.0).curve
    return [_point(point) for point in curve if point.released_risk is not None]


def _point(point: Point) -> dict[str, Any]:
    return {"threshold": point.threshold, "coverage": 1.0 - point.review_rate, "risk": point.released_risk}


def released_risk(
    connection: Connection,
    tenant: str,
    calibration: StoredCalibration | None,
    found: Sequence[Label],
    since: float,
) -> dict[str, Any] | None:
    if calibration is None:
        return None
    risk = weighted_risk([Audit(not label.right, label.weight) for label in found if label.released])
    known = risk.estimate is not None
    return {
        "estimate": risk.estimate,
        "low": risk.low if known else None,
        "high": risk.high if known else None,
        "audited": risk.audited,
        "released": confidence_reads.released(connection, tenant, calibration.id, since),
        "level": risk.level,
    }


def watch_facts(
    connection: Connection, stored: StoredCertificate, certificate: Certificate | None
) -> dict[str, Any] | None:
    """None where the certificate or its watch cannot be read."""
    if certificate is None:
        return None
    try:
        watched, watch = watch_of(connection, stored)
    except UNCOUNTABLE:
        return None
    return {
        "audited": watched.audited,
        "wealth": watch.wealth,
        "domains": [
            {"domain": name, "audited": each.audited, "wealth": each.wealth}
            for name, each in sorted(watch.apart.items())
        ],
        "alarm_at": 1.0 / alarm_delta(certificate),
        "alarmed_at": watched.alarmed_at,
        "points": [
            {"at": point.at, "audited": point.number, "wealth": point.wealth}
            for point in watches.points(connection, stored.id)
        ],
    }


def drift(connection: Connection, tenant: str, calibration: StoredCalibration | None) -> list[dict[str, Any]]:
    """Of the recent answers' signals, the share outside the range of the fit. A warning, never the alarm."""
    ranges: Mapping[str, Any] = {} if calibration is None else calibration.body.get("signal_ranges") or {}
    if calibration is None or not ranges:
        return []
    recent = confidence_reads.recent_signals(connection, tenant, calibration.model, RECENT_ANSWERS)
    told = []
    for name, (low, middle, high) in sorted(ranges.items()):
        values = [signals[name] for signals in recent if isinstance(signals.get(name), int | float)]
        if not values:
            continue
        outside = sum(not low <= value <= high for value in values) / len(values)
        warning = len(values) >= FEWEST_ANSWERS and outside > WARNING * EXPECTED_OUTSIDE
        told.append({"signal": name, "p05": low, "p50": middle, "p95": high, "outside": outside, "warning": warning})
    return told


def waiting_for_labels(
    connection: Connection, tenant: str, calibration: StoredCalibration | None, standing: Standing | None
) -> dict[str, int] | None:
    """How many labels there are and how many will likely certify something; None where answers are released."""
    if standing is not None and calibration is not None and _releases(standing, calibration):
        return None
    certificate = None if standing is None else standing.certificate
    alpha, delta = (ALPHA, DELTA) if certificate is None else (certificate.alpha, certificate.delta)
    have = 0
    if calibration is not None:
        since = certificates.suspended_since(connection, calibration.model) or 0.0
        have = labels.count(connection, calibration.id, tenant=tenant, since=since)
    return {"have": have, "need": max(WANTED_LABELS, 4 * fewest(alpha, delta))}


def _releases(standing: Standing, calibration: StoredCalibration) -> bool:
    certificate = standing.certificate
    if certificate is None or standing.state is not CertificateState.IN_FORCE:
        return False
    mine = certificate.calibration_id == calibration.id
    return mine and any(bound.threshold is not None for bound in certificate.bounds.values())
