"""The audit log's filters: everything that the gateway can find events by."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import streamlit as st

from storage.records import Action, Reason, Tier, VerdictKind

KINDS = (
    "decision", "interaction.recorded", "interaction.deleted",
    "review.created", "review.claimed", "review.claim_released", "review.claim_lapsed", "review.extended",
    "review.approved", "review.edited", "review.rejected", "review.referred", "review.reopened", "review.expired",
    "review.quarantined", "review.withdrawn", "verdict.refused",
    "signin.linked", "signin.redeemed", "signin.ended", "key.created", "key.updated", "key.revoked",
    "policy.created", "policy.updated", "calibration.stored", "calibration.activated",
    "certificate.stored", "certificate.activated", "certificate.suspended", "watch.advanced",
    "access.review", "access.completion", "access.events", "access.export",
    "subject.erased", "hold.placed", "hold.lifted", "audit.purged", "log.intrusion", "records.vouched",
)  # fmt: skip


def chosen() -> dict[str, Any]:
    """What to ask the gateway for; empty filters are left out."""
    with st.container(border=True, key="audit-filters"):
        wanted = {**_when_and_what(), **_about()}
    return {name: value for name, value in wanted.items() if value not in (None, "")}


def _when_and_what() -> dict[str, Any]:
    columns = st.columns([2, 2, 2, 2, 2, 3])
    since = columns[0].date_input("From (UTC)", value=None, key="audit-since")
    until = columns[1].date_input("To (UTC)", value=None, key="audit-until")
    action = columns[2].selectbox("Action", [str(a) for a in Action], index=None, key="audit-action", placeholder="Any")
    verdict = columns[3].selectbox(
        "Verdict", [str(v) for v in VerdictKind], index=None, key="audit-verdict", placeholder="Any"
    )
    tier = columns[4].selectbox("Tier", [str(t) for t in Tier], index=None, key="audit-tier", placeholder="Any")
    reason = columns[5].selectbox("Reason", [str(r) for r in Reason], index=None, key="audit-reason", placeholder="Any")
    kinds = st.multiselect("Kinds", KINDS, key="audit-kinds", placeholder="All kinds")
    return {
        "since": _midnight(since), "until": _midnight(until, days=1), "action": action, "reason": reason,
        "verdict": verdict, "tier": tier, "kinds": ",".join(kinds),
    }  # fmt: skip


def _about() -> dict[str, Any]:
    first, second = st.columns(4), st.columns(4)
    low, high = second[3].slider("Confidence", 0, 100, (0, 100), format="%d %%", key="audit-confidence")
    return {
        "interaction_id": first[0].text_input("Interaction id", key="audit-interaction", placeholder="chatcmpl-…"),
        "item_id": first[1].text_input("Review id", key="audit-item", placeholder="rev_…"),
        "trace_id": first[2].text_input("Trace id", key="audit-trace"),
        "reviewer": first[3].text_input("Reviewer’s key id", key="audit-reviewer", placeholder="key_…"),
        "key_id": second[0].text_input("Caller’s key id", key="audit-caller", placeholder="key_…"),
        "model": second[1].text_input("Model", key="audit-model"),
        "text": second[2].text_input("Words", key="audit-text", max_chars=1000, help="All of them; where kept."),
        "min_confidence": low / 100 if low > 0 else None,
        "max_confidence": high / 100 if high < 100 else None,
    }


def _midnight(day: Any, *, days: int = 0) -> float | None:
    """Unix seconds at the start of a day in UTC, `days` later."""
    if not isinstance(day, date):
        return None
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=days)).timestamp()
