"""Makes reviewed and audited answers with their verdicts, for the tests of labels, watches and figures."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import Connection

from storage import recording, reviews
from storage.database import now
from storage.records import Action, Decision, Interaction, Key, Reason, ReviewItem, VerdictKind
from tests.storage.made import LEASE, decision, interaction, item

MODEL = "countersign-reference@0123456789ab"


def answered(
    conn: Connection,
    asker: Key,
    confidence: float,
    *,
    share: float | None = None,
    domain: str | None = "sums",
    calibration: str = "cal_1",
    certificate: str | None = None,
    **changes: Any,
) -> tuple[Interaction, Decision, ReviewItem]:
    """A held answer, or with a `share` one that was released and drawn for audit."""
    at = now(conn)
    asked = interaction(asker, at=at, confidence=confidence, calibration_id=calibration, **changes)
    action = Action.HOLD if share is None else Action.RELEASE
    decided = decision(asked, action, domain=domain, audit_share=share, certificate_id=certificate)
    reason = Reason.LOW_CONFIDENCE if share is None else Reason.RANDOM_AUDIT
    waiting = dataclasses.replace(item(asked, at, action=action), reason=reason)
    recording.record(conn, asked, decided, waiting)
    return asked, decided, waiting


def judge(conn: Connection, waiting: ReviewItem, reviewer: Key, kind: VerdictKind = VerdictKind.APPROVE) -> None:
    token = reviews.claim(conn, waiting.id, reviewer, LEASE).fencing_token
    content = "Forty-three." if kind is VerdictKind.EDIT else None
    reviews.decide(conn, waiting.id, reviewer, token, kind, "because", content)


def label(
    conn: Connection, asker: Key, reviewer: Key, confidence: float, *, right: bool = True, **fields: Any
) -> Interaction:
    """An answer that somebody gave the last word on."""
    asked, _, waiting = answered(conn, asker, confidence, **fields)
    judge(conn, waiting, reviewer, VerdictKind.APPROVE if right else VerdictKind.REJECT)
    return asked
