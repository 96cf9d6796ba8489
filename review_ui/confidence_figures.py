"""What the gateway tells of how right confidence is: the certificate, the diagrams' points, the alarm and drift."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from review_ui.measured import complete, number, whole


class CertificateState(StrEnum):
    IN_FORCE = "in_force"  # it bounds the risk of what is released
    SUSPENDED = "suspended"  # the alarm was raised: everything is held
    NONE = "none"  # there is none for this calibration


@dataclass(frozen=True, slots=True)
class Bound:
    """What is certified for one domain; `threshold` None: nothing is released there."""

    domain: str  # empty: answers of no recognised domain
    threshold: float | None
    labels: int
    released: int  # labelled answers at or above the threshold
    errors: int  # of those, wrong
    coverage: float | None  # share of the domain's answers at or above it


@dataclass(frozen=True, slots=True)
class Certificate:
    state: CertificateState
    why: str
    id: str | None = None
    alpha: float | None = None  # share of released answers that may be wrong
    delta: float | None = None  # probability with which that may fail
    made_at: float | None = None
    bounds: tuple[Bound, ...] = ()


@dataclass(frozen=True, slots=True)
class Reliability:
    """Answers of like confidence, and how many of them were right, with an interval."""

    confidence: float
    accuracy: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """What would be released from a threshold on, as a share, and how much of it would be wrong."""

    threshold: float
    coverage: float
    risk: float


NO_DOMAIN = "none recognised"


@dataclass(frozen=True, slots=True)
class ReleasedRisk:
    """Estimated from audits, weighted by how likely each was to be drawn."""

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    audited: int
    released: int


@dataclass(frozen=True, slots=True)
class Watch:
    """The bet against the certificate: its wealth grows with wrong answers among the audited."""

    audited: int
    wealth: float | None
    alarm_at: float | None
    alarmed_at: float | None
    points: tuple[tuple[float, float, int], ...]  # unix seconds, wealth, audited so far
    domains: tuple[tuple[str, int, float], ...] = ()  # name, audited, wealth; "" is of none recognised


@dataclass(frozen=True, slots=True)
class Drift:
    """One signal’s usual 5–95 % range, and how many of the latest answers lay outside it."""

    signal: str
    low: float | None
    middle: float | None
    high: float | None
    outside: float | None  # as a share
    warning: bool


@dataclass(frozen=True, slots=True)
class ConfidenceFigures:
    model: str
    calibration: str | None
    fitted_at: float | None
    fitted_rows: int
    certificate: Certificate
    reliability: tuple[Reliability, ...]
    risk_coverage: tuple[RiskPoint, ...]  # least coverage first
    released_risk: ReleasedRisk | None
    watch: Watch | None
    drift: tuple[Drift, ...]
    labels: int | None  # reviewed or audited answers there are, while a certificate waits for them
    labels_needed: int | None


def confidence_figures(data: dict[str, Any]) -> ConfidenceFigures:
    """Raises KeyError, TypeError or ValueError when the gateway's answer has another shape."""
    calibration, waiting = data["calibration"] or {}, data["waiting_for_labels"] or {}
    return ConfidenceFigures(
        model=str(data["model"] or ""),
        calibration=calibration.get("id"),
        fitted_at=number(calibration.get("fitted_at")),
        fitted_rows=whole(calibration.get("rows")),
        certificate=_certificate(data["certificate"]),
        reliability=_reliability(data["reliability"]),
        risk_coverage=_risk_coverage(data["risk_coverage"]),
        released_risk=_released_risk(data["released_risk"]),
        watch=_watch(data["watch"]),
        drift=tuple(_drift(row) for row in data["drift"] or ()),
        labels=whole(waiting["have"]) if waiting else None,
        labels_needed=whole(waiting["need"]) if waiting else None,
    )


def _certificate(data: dict[str, Any] | None) -> Certificate:
    if data is None:
        return Certificate(CertificateState.NONE, "")
    return Certificate(
        state=CertificateState(data["state"]),
        why=str(data.get("why") or ""),
        id=data.get("id"),
        alpha=number(data.get("alpha")),
        delta=number(data.get("delta")),
        made_at=number(data.get("made_at")),
        bounds=tuple(_bound(row) for row in data.get("domains") or ()),
    )


def _bound(row: dict[str, Any]) -> Bound:
    return Bound(
        str(row["domain"] or ""), number(row["threshold"]), whole(row["labels"]), whole(row["released"]),
        whole(row["errors"]), number(row["coverage"]),
    )  # fmt: skip


def _reliability(rows: Any) -> tuple[Reliability, ...]:
    found = complete(rows, "confidence", "accuracy", "low", "high", "count")
    return tuple(
        Reliability(stated, right, low, high, round(count)) for stated, right, low, high, count in sorted(found)
    )


def _risk_coverage(rows: Any) -> tuple[RiskPoint, ...]:
    found = (RiskPoint(*row) for row in complete(rows, "threshold", "coverage", "risk"))
    return tuple(sorted(found, key=lambda point: (point.coverage, -point.threshold)))


def _released_risk(data: dict[str, Any] | None) -> ReleasedRisk | None:
    if data is None:
        return None
    level = number(data.get("level"))
    return ReleasedRisk(
        number(data["estimate"]), number(data["low"]), number(data["high"]), 0.95 if level is None else level,
        whole(data["audited"]), whole(data["released"]),
    )  # fmt: skip


def _watch(data: dict[str, Any] | None) -> Watch | None:
    if data is None:
        return None
    points = (
        (at, wealth, round(audited)) for at, wealth, audited in complete(data["points"], "at", "wealth", "audited")
    )
    return Watch(
        whole(data["audited"]), number(data["wealth"]), number(data["alarm_at"]), number(data["alarmed_at"]),
        tuple(sorted(points)),
        tuple((str(row["domain"]), round(row["audited"]), float(row["wealth"])) for row in data.get("domains") or ()),
    )  # fmt: skip


def _drift(row: dict[str, Any]) -> Drift:
    return Drift(
        str(row["signal"]), number(row["p05"]), number(row["p50"]), number(row["p95"]), number(row["outside"]),
        bool(row["warning"]),
    )  # fmt: skip
