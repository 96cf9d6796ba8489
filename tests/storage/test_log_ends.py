"""What ended, by a rejection, an expiry or a deletion, stays so: the log remembers what somebody undoes in the rows."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from storage import erasure, interactions, review_sweeps, reviews, vouched_records
from storage.audit_tables import audit_events
from storage.database import Database, now
from storage.errors import NotVouched
from storage.records import Action, ItemState, Key, ReviewItem, VerdictKind
from storage.tables import decisions, review_items, verdicts
from storage.tables import interactions as asked_table
from tests.storage.made import held, pass_time, record, reread
from tests.storage.reviewing import claim, decide, events

APPROVE, EDIT, REJECT = VerdictKind.APPROVE, VerdictKind.EDIT, VerdictKind.REJECT


def released(database: Database, interaction_id: str) -> str | None:
    with database.read() as conn:
        found = interactions.get_outcome(conn, interaction_id, "acme")
    return None if found is None else found.released_text


def opened_again(database: Database, item: ReviewItem) -> None:
    """As somebody does it who writes to the database: no verdict, no end, all the time that is needed."""
    with database.transaction() as conn:
        conn.execute(sa.delete(verdicts).where(verdicts.c.item_id == item.id))
        fresh = {"state": "pending", "claimed_by": None, "decided_at": None, "expires_at": now(conn) + 999.0}
        conn.execute(sa.update(review_items).where(review_items.c.id == item.id).values(fresh))


def reject(database: Database, item: ReviewItem, ada: Key) -> None:
    decide(database, item, ada, claim(database, item, ada), REJECT)


def expire(database: Database, item: ReviewItem, ada: Key) -> None:
    pass_time(database, item.id, 1e6)
    with database.transaction() as conn:
        assert review_sweeps.expire_due(conn)


def require_named(database: Database, interaction_id: str, why: str) -> None:
    checked = vouched_records.check(database)
    assert (checked.bad, checked.first_bad) == (1, interaction_id)
    assert why in str(checked.why)


@pytest.mark.parametrize(("end", "told"), [(reject, "review.rejected"), (expire, "review.expired")])
@pytest.mark.parametrize(("kind", "content"), [(APPROVE, None), (EDIT, "forty-two")])
def test_an_end_that_somebody_undid_is_named_and_lets_nothing_out(
    database: Database, waiting, ada, bob, end, told, kind, content
) -> None:
    end(database, waiting, ada)
    assert vouched_records.check(database).bad == 0
    opened_again(database, waiting)
    require_named(database, waiting.interaction_id, f"it is pending, and the log tells {told}")
    token = claim(database, waiting, bob)
    with pytest.raises(NotVouched):
        decide(database, waiting, bob, token, kind, content=content)
    with database.transaction() as conn:
        assert reviews.quarantine_unvouched(conn, waiting.id, "acme") is not None
    assert reread(database, waiting).state is ItemState.QUARANTINED
    assert released(database, waiting.interaction_id) is None
    assert events(database, waiting)[-1] == "review.quarantined"
    require_named(database, waiting.interaction_id, "its review ended more than once")


def test_what_is_open_may_be_let_out_and_may_be_rejected_once_more(database: Database, caller, ada, bob) -> None:
    """A referral, a claim that lapsed and another item's end are no end."""
    reject(database, held(database, caller), ada)
    item = held(database, caller)
    decide(database, item, ada, claim(database, item, ada), VerdictKind.REFER)
    decide(database, item, bob, claim(database, item, bob))
    assert released(database, item.interaction_id) == "42"
    assert vouched_records.check(database).bad == 0


def test_a_flagged_answer_whose_rejection_was_undone_is_named(database: Database, caller, ada) -> None:
    with database.transaction() as conn:
        asked, item = record(conn, caller, Action.FLAG)
    reject(database, item, ada)
    opened_again(database, item)
    require_named(database, asked.id, "it is pending, and the log tells review.rejected")


@pytest.mark.parametrize("state", ["expired", "withdrawn", "quarantined"])
def test_an_end_that_nobody_made_is_named(database: Database, waiting, state) -> None:
    with database.transaction() as conn:
        conn.execute(sa.update(review_items).where(review_items.c.id == waiting.id).values(state=state))
    require_named(database, waiting.interaction_id, f"it is {state}, and the log tells of no end")


def test_an_end_whose_events_were_purged_is_not_named(database: Database, waiting, ada) -> None:
    reject(database, waiting, ada)
    with database.transaction() as conn:
        conn.execute(sa.delete(audit_events))
    assert vouched_records.check(database).bad == 0


@pytest.mark.parametrize(("forget", "told"), [("delete", "interaction.deleted"), ("erase", "subject.erased")])
def test_content_that_was_put_back_with_its_mac_is_named(database: Database, caller, forget, told) -> None:
    def rows(conn: sa.Connection) -> list[tuple[sa.Table, Any]]:
        about = ((asked_table, asked_table.c.id), (decisions, decisions.c.interaction_id))
        return [
            (table, conn.execute(sa.select(table).where(mark == asked.id)).one()._asdict()) for table, mark in about
        ]

    with database.transaction() as conn:
        asked, _ = record(conn, caller, Action.RELEASE, params={"user": "grace"})
        kept = rows(conn)
        if forget == "delete":
            interactions.delete(conn, asked.id, "acme", "key:k")
        else:
            erasure.erase_subject(conn, "acme", "grace", "key:k")
        record(conn, caller, Action.RELEASE, params={"user": "grace"})
    checked = vouched_records.check(database)
    assert (checked.deleted, checked.bad, checked.decisions) == (1, 0, 1)
    with database.transaction() as conn:
        for table, row in kept:
            conn.execute(sa.update(table).where(table.c.id == row["id"]).values(row))
    require_named(database, asked.id, f"the log tells {told} of")
