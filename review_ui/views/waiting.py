"""The queue: what waits, since when, and until when; pages of fifty in order of urgency."""

from __future__ import annotations

import time

import streamlit as st

from review_ui import work as working
from review_ui.components import draw
from review_ui.faults import GatewayFault, SignedOut
from review_ui.inert import shortened
from review_ui.moments import span, until, utc
from review_ui.reviews import ReviewPage, Summary
from review_ui.seat import Seat
from review_ui.views import cursors
from review_ui.views.desk import work_in_hand
from storage.records import ItemState, Role

SHOWN = {"Open": "pending,claimed,referred", "Waiting": "pending", "Being read": "claimed",
         "Decided": "approved,edited,rejected", "Ended without": "expired,quarantined,withdrawn"}  # fmt: skip
BARRED = {"not_skilled": "not your field", "own_request": "your own question", "referred_by_self": "you gave your word"}
COLUMNS = ("Question", "Why", "State", "Domain", "Waits", "Deadline", "Reviewer")


def show(seat: Seat) -> None:
    st.title("Queue", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown = st.segmented_control("Show", list(SHOWN), default="Open", key="queue-shown", required=True)
        st.button("Refresh", icon=":material/refresh:", key="queue-refresh")
    states = SHOWN[shown or "Open"]
    try:
        page = seat.gateway.reviews(states, after=cursors.current("queue", states))
    except SignedOut:
        raise
    except GatewayFault as fault:
        st.error(str(fault), icon=":material/cloud_off:")
        return
    _figures(page, seat)
    _table(page, seat)
    cursors.pager("queue", states, page.next, len(page.rows))


def _figures(page: ReviewPage, seat: Seat) -> None:
    now = time.time()
    deadlines = [row.expires_at for row in page.rows if row.is_open]
    first, second, third, fourth = st.columns(4)
    first.metric("Waiting", page.counts.get(ItemState.PENDING, 0), border=True)
    second.metric("Being read", page.counts.get(ItemState.CLAIMED, 0), border=True)
    third.metric("Oldest waiting", _oldest(seat), border=True)
    fourth.metric("Next deadline", until(min(deadlines), now) if deadlines else "none", border=True)


def _oldest(seat: Seat) -> str:
    """Of all pages; order of urgency does not tell it."""
    try:
        seconds = seat.gateway.monitoring(1).get("oldest_waiting_seconds")
    except GatewayFault:
        return "not known"
    return "none" if seconds is None else span(seconds)


def _table(page: ReviewPage, seat: Seat) -> None:
    if not page.rows:
        st.info("Nothing here.", icon=":material/inbox:")
        return
    may_claim = seat.me.may(Role.REVIEWER)
    picked = draw.rows(
        "Review items by urgency", COLUMNS, [_row(row, may_claim) for row in page.rows], key="queue-rows"
    )
    st.caption(f"Times as of {utc(time.time(), time.time())}. Choose a waiting question to claim it.")
    if picked is not None:
        _take(picked, seat)


def _row(row: Summary, may_claim: bool) -> draw.Row:
    now, question = time.time(), shortened(row.question, 90) or "(no question)"
    return draw.Row(
        row.id,
        (question, row.reason.replace("_", " "), _state(row), row.domain or "–", span(now - row.created_at),
         f"{until(row.expires_at, now)}, {utc(row.expires_at, now)}", row.claimed_by.name if row.claimed_by else "–"),
        action=f"Claim: {question}" if may_claim and row.state is ItemState.PENDING and not row.barred_by else None,
    )  # fmt: skip


def _state(row: Summary) -> str:
    """Also why a waiting one is not for this reader."""
    return f"{row.state}, {BARRED.get(row.barred_by, 'not for you')}" if row.barred_by else str(row.state)


def _take(item_id: str, seat: Seat) -> None:
    work = work_in_hand()
    if work.review is not None and working.is_mine(work.review, time.time()):
        st.warning("You have an item in hand. Decide or skip it first.", icon=":material/warning:")
        return
    working.claim(work, seat.gateway, item_id, time.time())
    if work.item_id == item_id:
        st.switch_page(st.session_state["desk-page"])
    elif work.notice:
        st.warning(work.notice.text, icon=":material/warning:")
