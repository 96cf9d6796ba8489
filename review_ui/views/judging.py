"""How a reviewer decides: five keys, a form for words and reasons, and a moment to take it back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import streamlit as st

from review_ui import work as working
from review_ui.components import draw
from review_ui.faults import GatewayFault
from review_ui.inert import visible
from review_ui.moments import utc
from review_ui.reviews import Review
from review_ui.seat import Seat
from review_ui.verdict_words import REASONS, TITLES, note_label, proposed, send_label
from review_ui.work import Notice, Proposal, Work
from storage.records import VerdictKind

Act = Callable[[], object]


def bar(work: Work, review: Review, seat: Seat) -> None:
    """Always in sight at the foot of the page: the verdicts, or the one about to be sent."""
    with st.bottom:
        if work.proposal is not None:
            _about_to_send(work, work.proposal, seat)
        elif work.form is None:
            _verdicts(work, review.summary.id, seat, disabled=work.stale is not None)
        else:
            st.caption(f"{TITLES[work.form]}: write above, then Ctrl+Enter. Esc goes back; what you typed is kept.")


def _verdicts(work: Work, item_id: str, seat: Seat, *, disabled: bool) -> None:
    with st.container(horizontal=True, gap="small", key="verdicts"):
        st.button("Approve", icon=":material/check:", shortcut="A", key=f"approve-{item_id}",
                  disabled=disabled, on_click=_approve, args=(work, item_id, seat))  # fmt: skip
        for kind, icon, key in (
            (VerdictKind.EDIT, "edit", "E"),
            (VerdictKind.REJECT, "block", "X"),
            (VerdictKind.REFER, "person_add", "Shift+E"),
        ):
            st.button(str(kind).capitalize(), icon=f":material/{icon}:", shortcut=key, key=f"{kind}-{item_id}",
                      disabled=disabled, on_click=_open_form, args=(work, item_id, kind))  # fmt: skip
        st.button("Skip", icon=":material/skip_next:", shortcut="S", key=f"skip-{item_id}", type="tertiary",
                  disabled=disabled, on_click=_skip, args=(work, item_id, seat))  # fmt: skip


def _approve(work: Work, item_id: str, seat: Seat) -> None:
    _propose(work, item_id, VerdictKind.APPROVE, seat)


def _propose(
    work: Work, item_id: str, kind: VerdictKind, seat: Seat, reason: str = "", content: str | None = None
) -> None:
    settings = seat.settings
    working.propose(work, item_id, kind, time.time(), dwell=settings.dwell_seconds, undo=settings.undo_seconds,
                    reason=reason, content=content)  # fmt: skip
    if settings.undo_seconds == 0 and work.proposal is not None:
        _send(work, seat)


def _open_form(work: Work, item_id: str, kind: VerdictKind) -> None:
    if work.item_id == item_id and work.proposal is None:
        work.form, work.notice = kind, None


def _skip(work: Work, item_id: str, seat: Seat) -> None:
    if work.item_id != item_id or work.proposal is not None:
        return
    try:
        working.put_back(work, seat.gateway, time.time())
    except GatewayFault as fault:
        work.notice = Notice("error", f"{fault} The item is still yours.")


# -- the moment before a verdict is sent ------------------------------------------------------------


def _about_to_send(work: Work, proposal: Proposal, seat: Seat) -> None:
    _countdown(work, proposal, seat)
    with st.container(horizontal=True, gap="small", key="about-to-send"):
        st.button("Undo", icon=":material/undo:", shortcut="U", key=f"undo-{proposal.item_id}",
                  on_click=working.undo, args=(work, proposal.item_id))  # fmt: skip
        st.button("Send now, and the next", icon=":material/send:", shortcut="N", type="primary",
                  key=f"now-{proposal.item_id}", on_click=_send_and_next, args=(work, proposal, seat))  # fmt: skip


@st.fragment(run_every=0.5)
def _countdown(work: Work, proposal: Proposal, seat: Seat) -> None:
    if work.proposal is not proposal:
        return
    if work.send_fault:
        st.error(f"{work.send_fault} Press N to try again, or U to undo.", icon=":material/cloud_off:")
        return
    left = proposal.due - time.time()
    if left <= 0:
        _send(work, seat)
        st.rerun()
    about = work.review.summary if work.review else None
    st.text(f"{proposed(proposal.kind, about)}. It is sent in {max(1, round(left))} s.")


def _send(work: Work, seat: Seat) -> bool:
    return working.send(work, seat.gateway, time.time())


def _send_and_next(work: Work, proposal: Proposal, seat: Seat) -> None:
    if work.proposal is not proposal or not _send(work, seat):
        return
    said = work.notice
    try:
        working.claim_next(work, seat.gateway, time.time())
    except GatewayFault as fault:
        work.notice = Notice("error", str(fault))
        return
    work.notice = said if work.item_id else Notice("success", f"{said.text if said else ''} Nothing else waits.")


# -- the form for words and reasons --------------------------------------------------------------------


def form(work: Work, review: Review, seat: Seat) -> None:
    if work.form is None or work.proposal is not None:
        return
    with st.container(border=True, key="form"):
        st.subheader(TITLES[work.form], anchor=False)
        if visible(review.text) != review.text:
            st.caption(
                "The answer holds characters that cannot be seen; they stay in your text unless you delete them."
            )
        _form_body(work, review, seat, work.form)


@st.fragment
def _form_body(work: Work, review: Review, seat: Seat, kind: VerdictKind) -> None:
    """A fragment, so that saving a draft redraws nothing else."""
    item_id = review.summary.id
    text, note = _typed_so_far(work, review)
    key = f"editor-{item_id}-{kind}"
    shown = draw.Form(
        id=f"{item_id}-{kind}-{work.shown_at}", kind=kind, original=review.text, text=text, note=note,
        note_label=note_label(kind, review.summary), send_label=send_label(kind, review.summary),
        reasons=_reasons(review, kind),
    )  # fmt: skip

    def drafted() -> None:
        typed = _heard(key, "draft")
        working.save_draft(work, seat.gateway, item_id, typed["text"], typed["note"])
        work.active_at = time.time()  # who types is at work
        working.extend(work, seat.gateway, work.active_at)

    def submitted() -> None:
        typed = _heard(key, "submit")
        working.save_draft(work, seat.gateway, item_id, typed["text"], typed["note"])
        _judge(work, review, seat, kind, typed["text"], typed["note"])

    def left() -> None:
        typed = _heard(key, "cancel")
        working.save_draft(work, seat.gateway, item_id, typed["text"], typed["note"])
        work.form = None

    draw.editor(shown, key, drafted, submitted, left)
    if work.form is None or work.proposal is not None or work.item_id != item_id:
        st.rerun()
    _draft_state(work, review)


def _typed_so_far(work: Work, review: Review) -> tuple[str, str]:
    if work.typed is not None:
        return work.typed
    if review.draft is not None:
        return review.draft.text or _first_text(review), review.draft.note
    return _first_text(review), ""


def _first_text(review: Review) -> str:
    """What editing begins with: the text that a first person proposed, else the model's."""
    proposed = review.proposal.content if review.proposal else None
    return review.text if proposed is None else proposed


def _reasons(review: Review, kind: VerdictKind) -> tuple[str, ...]:
    proposal = review.proposal
    agrees = kind is VerdictKind.EDIT and proposal is not None and proposal.content is not None
    return (f"I agree with {proposal.reviewer.name}",) + REASONS[kind] if agrees and proposal else REASONS[kind]


def _heard(key: str, name: str) -> dict[str, Any]:
    heard: dict[str, Any] = dict(st.session_state[key][name])
    return heard


def _judge(work: Work, review: Review, seat: Seat, kind: VerdictKind, text: str, note: str) -> None:
    """The form checks this too; what arrives is checked again."""
    if not note.strip():
        work.notice = Notice("warning", "Say why, in a few words.")
    elif kind is VerdictKind.EDIT and (not text.strip() or text == review.text):
        work.notice = Notice("warning", "An edit needs words that differ from the model’s.")
    else:
        content = text if kind is VerdictKind.EDIT else None
        _propose(work, review.summary.id, kind, seat, reason=note, content=content)


def _draft_state(work: Work, review: Review) -> None:
    if work.draft_fault:
        st.warning(f"{work.draft_fault} Keep this page open.", icon=":material/cloud_off:")
    elif work.typed is not None:
        st.caption(":material/cloud_done: Draft saved.")
    elif review.draft is not None:
        st.caption(f":material/cloud_done: Your draft of {utc(review.draft.saved_at, time.time())}.")
