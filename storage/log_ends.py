"""Knows from the audit log which review items have ended, whatever their rows say."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.audit_tables import audit_events
from storage.errors import NotVouched
from storage.records import ItemState, ReviewItem

CREATED = "review.created"
ENDS = {  # each item has one of these events at most, and moves no more after it
    "review.approved": ItemState.APPROVED,
    "review.edited": ItemState.EDITED,
    "review.rejected": ItemState.REJECTED,
    "review.expired": ItemState.EXPIRED,
    "review.quarantined": ItemState.QUARANTINED,
    "review.withdrawn": ItemState.WITHDRAWN,
}
_ENDED = (
    sa.select(audit_events.c.id)
    .where(audit_events.c.item_id == sa.bindparam("item"), audit_events.c.kind.in_(sorted(ENDS)))
    .limit(1)
)


def require_open(conn: Connection, item: ReviewItem) -> None:
    """Before an answer is let out: nothing ended its review before, as somebody may have made undone in its row.

    One look into the index of the item's events. Raises NotVouched.
    """
    if conn.execute(_ENDED, {"item": item.id}).first() is not None:
        raise NotVouched(item)
