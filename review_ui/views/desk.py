"""The desk: one review item at a time, from claim to verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence

import streamlit as st

from review_ui import work as working
from review_ui.faults import CONFLICTS, GatewayFault, GatewayUnreachable, SignedOut
from review_ui.inert import literal
from review_ui.moments import span, utc
from review_ui.reviews import Review, ReviewPage
from review_ui.seat import Seat
from review_ui.views import judging, reading, second_look
from review_ui.work import Work
from storage.records import ItemState

LOOK_AGAIN_SECONDS = 10
KEEP_CLAIM_SECONDS = 20


def work_in_hand() -> Work:
    """This browser session's work; made on first use."""
    if "work" not in st.session_state:
        st.session_state["work"] = Work()
    found: Work = st.session_state["work"]
    return found


def show(seat: Seat) -> None:
    work = work_in_hand()
    try:
        _read(work, seat)
    except SignedOut:
        raise
    except GatewayFault as fault:
        _unreachable(fault)
        return
    _keep_in_address(work.item_id)
    _tell(work)
    if work.item_id is None:
        _nothing_in_hand(work, seat)
    elif work.review is None:
        _unreachable(GatewayUnreachable(work.stale or "The review could not be read."))
    elif working.is_mine(work.review, time.time()):
        _at_work(work, work.review, seat)
    else:
        _not_mine(work, work.review, seat)


def _read(work: Work, seat: Seat) -> None:
    now = time.time()
    working.resume(work, seat.gateway, seat.me, st.query_params.get("item"), now)
    working.refresh(work, seat.gateway, now)
    work.active_at = now
    if work.stale is None:
        working.extend(work, seat.gateway, now)


def _keep_in_address(item_id: str | None) -> None:
    """A reload finds the item again, even in another browser tab."""
    if item_id is None:
        st.query_params.pop("item", None)
    elif st.query_params.get("item") != item_id:
        st.query_params["item"] = item_id


def _tell(work: Work) -> None:
    if work.stale:
        st.warning(
            f"{work.stale} What you see is from {utc(work.read_at, time.time())} and may be out of date.",
            icon=":material/cloud_off:",
        )
        st.button("Try again", icon=":material/refresh:", key="retry-stale")
    if work.notice:
        icons = {"success": "check_circle", "info": "info", "warning": "warning", "error": "error"}
        say = {"success": st.success, "info": st.info, "warning": st.warning, "error": st.error}[work.notice.level]
        say(work.notice.text, icon=f":material/{icons[work.notice.level]}:")


def _unreachable(fault: GatewayFault) -> None:
    st.error(f"{fault} Drafts and claims are kept by the gateway, so nothing is lost.", icon=":material/cloud_off:")
    st.button("Try again", icon=":material/refresh:", key="retry")


def finish(seat: Seat) -> None:
    """Sends a verdict that still waits to be sent, when its reviewer goes to another view."""
    work = work_in_hand()
    if work.proposal is not None and not working.send(work, seat.gateway, time.time()):
        why = work.send_fault or (work.notice.text if work.notice else "The review is no longer yours.")
        st.warning(f"Your verdict is not sent. {why} Go back to the desk.", icon=":material/warning:")


def _claim_next(work: Work, seat: Seat, in_hand: str | None) -> None:
    """From a page with that item: pressed twice on a slow page, it must not claim a second one."""
    if work.item_id == in_hand:
        _guarded(work, lambda: working.claim_next(work, seat.gateway, time.time()))


def _claim_again(work: Work, seat: Seat, item_id: str) -> None:
    _guarded(work, lambda: working.claim(work, seat.gateway, item_id, time.time()))


def _guarded(work: Work, act: judging.Act) -> None:
    """A callback must not raise: the page after it shows what happened."""
    try:
        act()
    except GatewayFault as fault:
        work.notice = working.Notice("error", str(fault))


def _nothing_in_hand(work: Work, seat: Seat) -> None:
    st.title("Desk")
    _what_waits(work, seat, work.notice)


@st.fragment(run_every=LOOK_AGAIN_SECONDS)
def _what_waits(work: Work, seat: Seat, told: working.Notice | None) -> None:
    """How much waits, and the one thing to do; looks again by itself."""
    if work.item_id is not None or work.notice is not told:
        st.rerun()  # the button's callback ran inside this fragment; the whole desk changes with it
    try:
        page = seat.gateway.reviews("pending", limit=1)
    except GatewayFault as fault:
        st.error(str(fault), icon=":material/cloud_off:")
        return
    waiting = page.counts.get(ItemState.PENDING, len(page.rows))
    with st.container(border=True, key="empty-desk"):
        if waiting == 0:
            st.subheader("Nothing waits for you")
            st.write("New items appear here by themselves. An answer is held when the model is not sure enough.")
        else:
            st.subheader("1 answer waits" if waiting == 1 else f"{waiting} answers wait")
            st.write(_oldest(page))
        st.button(
            "Claim the next", type="primary", shortcut="N", key="claim-next", disabled=waiting == 0,
            on_click=_claim_next, args=(work, seat, None),
            help="Takes the most urgent item; it is yours until you decide.",
        )  # fmt: skip

    if seat.me.skills is not None:
        st.caption(f":material/person_check: You decide {listed(seat.me.skills)}; others are asked about the rest.")
    st.caption(f"Looked at {utc(time.time(), time.time())}, again every {LOOK_AGAIN_SECONDS} s.")


def listed(skills: Sequence[str]) -> str:
    """Domains in a caption, where markdown must stay inert."""
    return ", ".join(literal(skill) for skill in skills)


def _oldest(page: ReviewPage) -> str:
    if not page.rows:
        return "The most urgent comes first."
    return f"The most urgent has waited {span(time.time() - page.rows[0].created_at)}."


def _at_work(work: Work, review: Review, seat: Seat) -> None:
    left, right = st.columns([7, 4], gap="medium")
    with left:
        reading.conversation(review)
        second_look.notice(review)
        reading.answer(review)
        judging.form(work, review, seat)
        reading.steps(review)
        reading.signals(review)
    with right:
        reading.why_here(work, review, st.context.timezone)
        _keep_claim(work, seat)
    judging.bar(work, review, seat)
    if work.shown_at is None:
        work.shown_at = time.time()


@st.fragment(run_every=KEEP_CLAIM_SECONDS)
def _keep_claim(work: Work, seat: Seat) -> None:
    """Reading takes longer than a lease: it is extended while its reviewer is there, and its end is told."""
    now = time.time()
    try:
        working.extend(work, seat.gateway, now)
    except GatewayFault:
        st.rerun()  # the whole desk says what is wrong
    if work.review is None or work.review.claim is None or not working.is_mine(work.review, now):
        st.rerun()
    ends = work.review.claim.expires_at
    st.caption(f"Yours until {utc(ends, now)}, for another {span(ends - now)}; kept while you work.")


def _not_mine(work: Work, review: Review, seat: Seat) -> None:
    st.title("Desk")
    summary = review.summary
    with st.container(border=True):
        if review.verdict and not summary.is_open:
            when = utc(review.verdict.created_at, time.time())
            st.subheader(f"Already decided: {summary.state}")
            st.text(f"{review.verdict.reviewer.name} decided this review at {when}. {review.verdict.reason}")
        elif summary.claimed_by and summary.state is ItemState.CLAIMED and review.claim is None:
            st.subheader("Someone else has this review")
            st.text(f"{summary.claimed_by.name} is reading it now. Take the next one.")
        elif summary.barred_by is not None:
            st.subheader("This review is not for you")
            st.text(CONFLICTS.get(summary.barred_by, "Another person must decide it."))
        elif summary.is_open:
            st.subheader("Your claim on this review has lapsed")
            st.text("It waits again, for you or another reviewer. A draft that was saved is kept.")
        else:
            st.subheader(f"This review has ended: {summary.state}")
            st.text("Nobody needs to decide it any more.")
        with st.container(horizontal=True):
            if summary.barred_by is None and (summary.state is ItemState.PENDING or review.claim is not None):
                st.button("Claim it again", shortcut="A", key=f"again-{summary.id}", on_click=_claim_again,
                          args=(work, seat, summary.id))  # fmt: skip
            st.button("Claim the next", type="primary", shortcut="N", key="claim-next", on_click=_claim_next,
                      args=(work, seat, summary.id))  # fmt: skip
    with st.expander("What it was about"):
        reading.conversation(review)
