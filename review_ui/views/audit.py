"""The audit log: filter, page, download, and open one event with its whole record."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

import streamlit as st

from review_ui.components import draw
from review_ui.faults import GatewayFault, SignedOut
from review_ui.inert import visible
from review_ui.moments import both
from review_ui.seat import Seat
from review_ui.views import audit_filters, cursors

COLUMNS = ("Time", "Kind", "Who", "What", "Interaction", "Review", "Trace", "Sealed")
FORMS = {"csv": "text/csv", "jsonl": "application/x-ndjson"}


def show(seat: Seat) -> None:
    st.title("Audit", anchor=False)
    chosen = audit_filters.chosen()
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
    _downloads(seat, chosen)
    opened = st.session_state.get("audit-open")
    lines = [_line(event, marked=event["id"] == opened) for event in page.rows]
    picked = draw.rows("Audit events, newest first", COLUMNS, lines, key="audit-rows")
    cursors.pager("audit", named, page.next, len(page.rows))
    if picked is not None and picked != opened:
        st.session_state["audit-open"] = picked
        _record(seat, picked)


def _downloads(seat: Seat, chosen: dict[str, Any]) -> None:
    """Buttons that fetch what fits the filters when they are pressed."""
    with st.container(horizontal=True, horizontal_alignment="right"):
        for form, mime in FORMS.items():
            st.download_button(
                f"Download {form.upper()}", partial(seat.gateway.export, chosen, form), f"audit.{form}", mime,
                key=f"audit-{form}", icon=":material/download:", on_click="ignore",
                help="Every event that fits the filters. The download is itself recorded.",
            )  # fmt: skip


def _line(event: dict[str, Any], *, marked: bool) -> draw.Row:
    at = f"{datetime.fromtimestamp(event['at'], UTC):%Y-%m-%d %H:%M:%S}"
    cells = (at, event["kind"], event["actor"], what(event.get("data") or {}), event.get("interaction_id") or "–",
             event.get("item_id") or "–", (event.get("trace_id") or "–")[:8], sealed(event))  # fmt: skip
    return draw.Row(event["id"], cells, action=f"Open the event of {at}", marked=marked)


def sealed(event: dict[str, Any]) -> str:
    """The event's place in the sealed log, counted from 0."""
    place = event.get("leaf_index")
    return "not yet" if place is None else f"#{place}"


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
