"""The audit log: filter, page, and open one event with its whole record."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import streamlit as st

from review_ui.components import draw
from review_ui.faults import GatewayFault, SignedOut
from review_ui.inert import visible
from review_ui.moments import both
from review_ui.seat import Seat
from review_ui.views import cursors
from storage.records import Action, Reason, VerdictKind

COLUMNS = ("Time", "Kind", "Who", "What", "Interaction", "Review", "Trace")
KINDS = (
    "decision", "interaction.recorded", "interaction.deleted",
    "review.created", "review.claimed", "review.claim_released", "review.claim_lapsed", "review.extended",
    "review.approved", "review.edited", "review.rejected", "review.referred", "review.reopened", "review.expired",
    "review.quarantined", "review.withdrawn", "verdict.refused",
    "signin.linked", "signin.redeemed", "signin.ended", "key.created", "key.updated", "key.revoked",
    "policy.created", "policy.updated", "calibration.stored", "calibration.activated",
)  # fmt: skip


def show(seat: Seat) -> None:
    st.title("Audit", anchor=False)
    chosen = _filters()
    named = json.dumps(chosen, sort_keys=True)
    try:
        page = seat.gateway.events(chosen, after=cursors.current("audit", named))
    except SignedOut:
        raise
    except GatewayFault as fault:
        st.error(str(fault), icon=":material/cloud_off:")
        return
    if not page.rows:
        st.info("No event fits these filters.", icon=":material/inbox:")
        return
    opened = st.session_state.get("audit-open")
    lines = [_line(event, marked=event["id"] == opened) for event in page.rows]
    picked = draw.rows("Audit events, newest first", COLUMNS, lines, key="audit-rows")
    cursors.pager("audit", named, page.next, len(page.rows))
    if picked is not None and picked != opened:
        st.session_state["audit-open"] = picked
        _record(seat, picked)


def _filters() -> dict[str, Any]:
    """What to ask the gateway for; empty filters are left out."""
    with st.container(border=True, key="audit-filters"):
        first = st.columns([2, 2, 2, 2, 3])
        since = first[0].date_input("From (UTC)", value=None, key="audit-since")
        until = first[1].date_input("To (UTC)", value=None, key="audit-until")
        action = first[2].selectbox(
            "Action", [str(a) for a in Action], index=None, key="audit-action", placeholder="Any"
        )
        verdict = first[3].selectbox("Verdict", [str(v) for v in VerdictKind], index=None, key="audit-verdict",
                                     placeholder="Any")  # fmt: skip
        reason = first[4].selectbox(
            "Reason", [str(r) for r in Reason], index=None, key="audit-reason", placeholder="Any"
        )
        kinds = st.multiselect("Kinds", KINDS, key="audit-kinds", placeholder="All kinds")
        second = st.columns([3, 3, 3, 3, 4])
        interaction = second[0].text_input("Interaction id", key="audit-interaction", placeholder="chatcmpl-…")
        item = second[1].text_input("Review id", key="audit-item", placeholder="rev_…")
        trace = second[2].text_input("Trace id", key="audit-trace")
        reviewer = second[3].text_input("Reviewer’s key id", key="audit-reviewer", placeholder="key_…")
        low, high = second[4].slider("Confidence", 0, 100, (0, 100), format="%d %%", key="audit-confidence")
    wanted = {
        "since": _midnight(since), "until": _midnight(until, days=1), "action": action, "reason": reason,
        "verdict": verdict, "kinds": ",".join(kinds), "interaction_id": interaction, "item_id": item,
        "trace_id": trace, "reviewer": reviewer, "min_confidence": low / 100 if low > 0 else None,
        "max_confidence": high / 100 if high < 100 else None,
    }  # fmt: skip
    return {name: value for name, value in wanted.items() if value not in (None, "")}


def _midnight(day: Any, *, days: int = 0) -> float | None:
    """Unix seconds at the start of a day in UTC, `days` later."""
    if not isinstance(day, date):
        return None
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=days)).timestamp()


def _line(event: dict[str, Any], *, marked: bool) -> draw.Row:
    at = f"{datetime.fromtimestamp(event['at'], UTC):%Y-%m-%d %H:%M:%S}"
    cells = (at, event["kind"], event["actor"], what(event.get("data") or {}), event.get("interaction_id") or "–",
             event.get("item_id") or "–", (event.get("trace_id") or "–")[:8])  # fmt: skip
    return draw.Row(event["id"], cells, action=f"Open the event of {at}", marked=marked)


def what(data: dict[str, Any]) -> str:
    """An event's data in a few words."""
    words = [str(data[name]).replace("_", " ") for name in ("action", "verdict", "reason") if data.get(name)]
    if isinstance(data.get("confidence"), int | float):
        words.append(f"{data['confidence']:.0%}")
    return ", ".join(words) or "–"


@st.dialog("Audit event", width="large")
def _record(seat: Seat, event_id: str) -> None:
    try:
        event = seat.gateway.event(event_id)
    except GatewayFault as fault:
        st.error(str(fault), icon=":material/cloud_off:")
        return
    st.text(f"{event['kind']} · {both(event['at'], time.time(), st.context.timezone)} · {event['actor']}")
    st.code(visible(json.dumps(event, indent=2, sort_keys=True, ensure_ascii=False)), language="json", wrap_lines=True)
