"""Reads what people's last words say of confidences: right or wrong, with the weight of how the answer was chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import interactions
from storage.certified import Label
from storage.records import Action, Reason, VerdictKind, Vouched
from storage.tables import decisions, policies, review_items, verdicts
from storage.tables import interactions as asked

PAGE = 500
_JUDGED = (VerdictKind.APPROVE.value, VerdictKind.EDIT.value, VerdictKind.REJECT.value)
FACTS: tuple[Any, ...] = (
    verdicts.c.id.label("verdict_id"), verdicts.c.kind, verdicts.c.created_at.label("at"), decisions.c.interaction_id,
    decisions.c.tenant, decisions.c.calibration_id, decisions.c.confidence, decisions.c.domain, decisions.c.action,
    decisions.c.audit_share, decisions.c.reason, asked.c.served_model, policies.c.audit_share.label("rule_share"),
)  # fmt: skip
_EVERYTHING_REVIEWED = (Reason.UNCALIBRATED, Reason.UNCERTIFIED, Reason.DRIFT)  # by whoever such a decision was made


def newest(
    conn: Connection,
    calibration_id: str,
    *,
    tenant: str | None = None,
    since: float = 0.0,
    after: Label | None = None,
    limit: int = PAGE,
) -> list[Label]:
    """A page, newest verdict first, of answers decided since `since` (unix seconds); None: of every tenant.

    An answer whose item was referred, quarantined or withdrawn, or that expired, has no label. The records are taken as
    they are stored: `every` is for what must be known to be written here.
    """
    query = sa.select(*FACTS).select_from(_JOINED).where(*_labelled(calibration_id, tenant, since))
    if after is not None:
        query = query.where(sa.tuple_(verdicts.c.created_at, verdicts.c.id) < (after.at, after.verdict_id))
    order = (verdicts.c.created_at.desc(), verdicts.c.id.desc())
    return [label_from(row) for row in conn.execute(query.order_by(*order).limit(limit))]


def every(conn: Connection, calibration_id: str, *, since: float = 0.0, most: int = 100_000) -> Iterator[Label]:
    """The newest `most` labels of all tenants, newest first.

    Left out are those of records that were not written here, and of deleted ones, whose MAC nobody can check any more.
    """
    after: Label | None = None
    left = most
    while left > 0 and (labels := newest(conn, calibration_id, since=since, after=after)):
        ours = written_here(conn, labels)
        found = [label for label in labels if label.interaction_id in ours][:left]
        yield from found
        left, after = left - len(found), labels[-1]


def count(conn: Connection, calibration_id: str, *, since: float = 0.0, tenant: str | None = None) -> int:
    query = sa.select(sa.func.count()).select_from(_JOINED).where(*_labelled(calibration_id, tenant, since))
    return int(conn.execute(query).scalar_one())


def written_here(conn: Connection, labels: Sequence[Label]) -> set[str]:
    """The interactions among them whose decision and last verdict are those that were written here."""
    by_tenant: dict[str, list[str]] = {}
    for label in labels:
        by_tenant.setdefault(label.tenant, []).append(label.interaction_id)
    return {
        interaction_id
        for tenant, ids in by_tenant.items()
        for interaction_id, outcome in interactions.get_outcomes(conn, ids, tenant).items()
        if outcome.vouched is Vouched.OURS
    }


RULE = sa.and_(policies.c.id == decisions.c.policy_id, policies.c.version == decisions.c.policy_version)
_JOINED = (
    decisions.join(review_items, review_items.c.interaction_id == decisions.c.interaction_id)
    .join(verdicts, sa.and_(verdicts.c.item_id == review_items.c.id, verdicts.c.final))
    .join(asked, asked.c.id == decisions.c.interaction_id)
    .outerjoin(policies, RULE)
)


def _labelled(calibration_id: str, tenant: str | None, since: float) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = [
        decisions.c.calibration_id == calibration_id,
        decisions.c.confidence.is_not(None),
        verdicts.c.kind.in_(_JUDGED),
        # an answer that was released and not drawn by chance has no weight
        sa.or_(decisions.c.action != Action.RELEASE.value, decisions.c.audit_share > 0),
    ]
    if since > 0.0:
        conditions += [decisions.c.created_at >= since, verdicts.c.created_at >= since]
    if tenant is not None:
        conditions += [decisions.c.tenant == tenant, verdicts.c.tenant == tenant]
    return conditions


def label_from(row: sa.Row[Any]) -> Label:
    """Of a row with FACTS."""
    released = row.action == Action.RELEASE.value
    weight = 1.0 / row.audit_share if released else 1.0
    return Label(
        interaction_id=row.interaction_id,
        tenant=row.tenant,
        model=row.served_model,
        calibration_id=row.calibration_id,
        confidence=row.confidence,
        right=row.kind == VerdictKind.APPROVE.value,
        domain=row.domain,
        weight=weight,
        heaviest=weight if released else heaviest_of(row.reason, row.rule_share),
        released=released,
        at=row.at,
        verdict_id=row.verdict_id,
    )


def heaviest_of(reason: str, rule_share: float | None) -> float | None:
    """Of a held or flagged answer: what others of its moment, that were released, weigh if they were drawn.

    None where the rule is not known any more.
    """
    if reason in _EVERYTHING_REVIEWED:
        return 1.0
    if rule_share is None:
        return None
    return 1.0 / rule_share if rule_share else math.inf
