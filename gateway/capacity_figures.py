"""Asks the capacity curve of a tenant's reviewed answers what its reviewers' hours and an error budget allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gateway.certifying import ALPHA, labelled
from gateway.confidence_figures import LABELS
from gateway.standing import standing_of
from serving.confidence.capacity import capacity, capacity_to_json
from storage import certificates, confidence_reads, labels
from storage.certified import AUDIT_SHARE
from storage.database import now

MONTH_SECONDS = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody who plans knows; what is None is taken from what was measured."""

    reviewer_hours: float  # a day, of all reviewers together
    minutes_per_item: float
    error_budget: float | None  # None: the certificate's alpha
    asks_per_day: float | None  # None: as over the last 30 days


def advice(connection: Connection, tenant: str, model: str | None, wanted: Wanted) -> dict[str, Any]:
    """What GET /v1/monitoring/capacity answers."""
    calibration, stored = certificates.in_use(connection, model) if model is not None else (None, None)
    at = now(connection)
    found = labels.newest(connection, calibration.id, tenant=tenant, limit=LABELS) if calibration is not None else []
    standing = None if stored is None else standing_of(stored)
    budget, asks = wanted.error_budget, wanted.asks_per_day
    if budget is None:
        budget = ALPHA if standing is None else standing.certificate.alpha
    if asks is None:
        asks = confidence_reads.asks_per_day(connection, tenant, at - MONTH_SECONDS, at)
    audits = confidence_reads.mean_audit_share(connection, tenant, at - MONTH_SECONDS)
    advised = capacity(
        [labelled(label) for label in found],
        reviewer_hours=wanted.reviewer_hours,
        minutes_per_item=wanted.minutes_per_item,
        error_budget=budget,
        asks_per_day=asks,
        audit_share=AUDIT_SHARE if audits is None else audits,
    )
    return dict(capacity_to_json(advised))
