"""What a reviewer is doing now: the item in hand, a verdict about to be sent, and what to tell them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, fields
from typing import Literal

from review_ui.client import Gateway, Me
from review_ui.faults import Broken, Conflict, GatewayFault, GatewayUnreachable, Missing, SignedOut, in_words
from review_ui.reviews import Review
from review_ui.verdict_words import confirmation
from storage.records import ItemState, VerdictKind

EXTEND_UNDER_SECONDS = 120.0  # of the lease left; each extension is an audit event, so not sooner
IDLE_SECONDS = 900.0  # who touched nothing for this long is no longer reading


@dataclass(frozen=True, slots=True)
class Notice:
    level: Literal["success", "info", "warning", "error"]
    text: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A verdict given but not yet sent; it can still be undone."""

    item_id: str
    kind: VerdictKind
    reason: str
    content: str | None
    due: float  # unix seconds at which it is sent


@dataclass(slots=True)
class Work:
    """Lives in the browser session; everything that matters beyond it is on the server."""

    item_id: str | None = None
    review: Review | None = None  # as the gateway last told it
    read_at: float = 0.0
    stale: str | None = None  # why `review` could not be read again
    active_at: float = 0.0  # when this person last did something
    shown_at: float | None = None  # when the item first stood on the screen
    judged: bool = False  # a first judgement was given, so confidence may be shown
    form: VerdictKind | None = None  # the open form: edit, reject or refer
    typed: tuple[str, str] | None = None  # text and reason, as last heard from the form
    draft_fault: str | None = None
    proposal: Proposal | None = None
    send_fault: str | None = None
    notice: Notice | None = None
    skipped: set[str] = field(default_factory=set)
    looked_for_claim: bool = False

    def take(self, review: Review | None, now: float) -> None:
        """Puts an item in hand, or none."""
        fresh = Work(
            item_id=review.summary.id if review else None,
            review=review,
            read_at=now,
            active_at=now,
            notice=self.notice,
            skipped=self.skipped,
            looked_for_claim=self.looked_for_claim,
        )
        for one in fields(Work):
            setattr(self, one.name, getattr(fresh, one.name))


def resume(work: Work, gateway: Gateway, me: Me, wanted: str | None, now: float) -> None:
    """After a reload or restart: the item named in the address, else the one this person holds."""
    if work.item_id is None and wanted:
        work.item_id = wanted
    elif work.item_id is None and not work.looked_for_claim:
        mine = [row for row in gateway.reviews("claimed").rows if row.claimed_by and row.claimed_by.id == me.id]
        work.item_id = mine[0].id if mine else None
    work.looked_for_claim = True


def refresh(work: Work, gateway: Gateway, now: float) -> None:
    """Reads the item in hand again; what cannot be read stays, marked stale. Raises SignedOut."""
    if work.item_id is None:
        return
    try:
        work.review, work.read_at, work.stale = gateway.review(work.item_id), now, None
    except Missing:
        work.take(None, now)
        work.notice = Notice("warning", "That review does not exist, or is not yours to see.")
    except SignedOut:
        raise
    except GatewayFault as fault:
        work.stale = str(fault)


def claim_next(work: Work, gateway: Gateway, now: float) -> None:
    """Claims the most urgent item that was not just skipped."""
    work.notice = None
    try:
        review = _not_skipped(work, gateway) if work.skipped else gateway.claim_next()
        if review is None and work.skipped:
            work.skipped.clear()
            review = gateway.claim_next()
    except Conflict as fault:
        work.notice = Notice("warning", f"{in_words(fault)} Try the next one.")
        return
    work.take(review, now)
    if review is None:
        work.notice = Notice("info", "Nothing waits that is yours to decide.")


def _not_skipped(work: Work, gateway: Gateway) -> Review | None:
    for row in gateway.reviews("pending").rows:
        if row.id not in work.skipped and row.barred_by is None:
            return gateway.claim(row.id)
    return None


def claim(work: Work, gateway: Gateway, item_id: str, now: float) -> None:
    """Claims one particular item."""
    try:
        work.take(gateway.claim(item_id), now)
        work.notice = None
    except Conflict as fault:
        work.notice = Notice("warning", f"{in_words(fault)} Nothing was lost; take the next one.")


def put_back(work: Work, gateway: Gateway, now: float) -> None:
    """Skips: the item waits again, for anyone."""
    if work.review is None or work.review.claim is None:
        return
    item_id = work.review.summary.id
    with contextlib.suppress(Conflict):  # the claim had lapsed, so the item waits again already
        gateway.release(item_id, work.review.claim.fencing_token)
    work.skipped.add(item_id)
    work.take(None, now)
    work.notice = Notice("info", "Skipped. It waits again, for you or another reviewer.")


def propose(work: Work, item_id: str, kind: VerdictKind, now: float, *, dwell: float, undo: float,
            reason: str = "", content: str | None = None) -> None:  # fmt: skip
    """Notes a verdict on the item on screen; ignores one meant for another item, or given before it could be read."""
    if work.item_id != item_id or work.proposal is not None or work.review is None or work.review.claim is None:
        return
    if work.shown_at is None or now - work.shown_at < dwell:
        work.notice = Notice("warning", "That was too quick to have been read, so it did not count. Press again.")
        return
    work.notice, work.send_fault, work.judged = None, None, True
    work.proposal = Proposal(item_id, kind, reason.strip(), content, now + undo)


def undo(work: Work, item_id: str) -> None:
    """Takes the verdict back before it is sent; an open form opens again with what was typed."""
    if work.proposal and work.proposal.item_id == item_id:
        work.proposal, work.send_fault = None, None


def send(work: Work, gateway: Gateway, now: float) -> bool:
    """Sends the verdict; True once nothing is left in hand. Unsent, it stays proposed with the reason."""
    proposal, review = work.proposal, work.review
    if proposal is None or review is None or review.claim is None:
        work.proposal = None
        return False
    try:
        after = gateway.decide(
            proposal.item_id, review.claim.fencing_token, proposal.kind, proposal.reason, proposal.content
        )
    except Conflict as fault:
        _explain_conflict(work, gateway, fault, now)
        return False
    except (GatewayUnreachable, Broken) as fault:
        work.send_fault = f"{fault} Your verdict is not sent; nothing was decided."
        return False
    except GatewayFault as fault:
        work.proposal, work.notice = None, Notice("error", f"The gateway refused this verdict: {fault}")
        return False
    work.take(None, now)
    work.notice = Notice("success", confirmation(proposal.kind, after.summary))
    return True


def _explain_conflict(work: Work, gateway: Gateway, fault: Conflict, now: float) -> None:
    work.proposal, work.form = None, None
    refresh(work, gateway, now)
    lapsed = fault.code == "stale_claim"
    advice = "Claim it again to go on; your draft is kept." if lapsed else "Your verdict was not used."
    work.notice = Notice("warning", f"{in_words(fault)} {advice}")


def save_draft(work: Work, gateway: Gateway, item_id: str, text: str, note: str) -> None:
    """Keeps what was typed on the server; a failure is told, and typing goes on."""
    if work.item_id != item_id or work.review is None or work.review.claim is None:
        return
    work.typed = (text, note)
    try:
        gateway.save_draft(item_id, work.review.claim.fencing_token, text, note)
        work.draft_fault = None
    except GatewayFault as fault:
        work.draft_fault = f"Not saved: {fault}"


def extend(work: Work, gateway: Gateway, now: float) -> None:
    """Keeps the claim of someone who is at work, once little of it remains; an abandoned one lapses."""
    claim_now = work.review.claim if work.review else None
    if work.review is None or claim_now is None or claim_now.expires_at - now > EXTEND_UNDER_SECONDS:
        return
    if now - work.active_at > IDLE_SECONDS:
        return
    try:
        gateway.extend(work.review.summary.id, claim_now.fencing_token)
    except Conflict:
        pass  # the refresh that follows shows that it lapsed
    except (GatewayUnreachable, Broken) as fault:
        work.stale = str(fault)
        return
    refresh(work, gateway, now)


def is_mine(review: Review, now: float) -> bool:
    """Whether this person holds the item by a lease that still runs."""
    return review.summary.state is ItemState.CLAIMED and review.claim is not None and review.claim.expires_at > now
