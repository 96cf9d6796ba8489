"""On PostgreSQL, of two writes about the same thing at once the second one finds what the first one left."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.reviews import refuse
from storage import erasure, interactions, keys, reviews, subjects
from storage.audit_tables import audit_events
from storage.database import Database, now
from storage.errors import AlreadyClaimed, AlreadyDecided, NotFound
from storage.records import ItemState, Key, ReviewItem, Role, VerdictKind
from storage.tables import decisions, drafts, verdicts
from tests.storage.conftest import empty
from tests.storage.made import LEASE, held, key, reread
from tests.storage.reviewing import claim

Write = Callable[[Connection], Any]
WAITS = sa.text(
    "SELECT count(*) FROM pg_locks WHERE NOT granted "
    "AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
)


@pytest.fixture
def database(migrated_postgres: Database) -> Database:
    empty(migrated_postgres)
    return migrated_postgres


@pytest.fixture
def claimed(database: Database, waiting: ReviewItem, ada: Key) -> tuple[ReviewItem, int]:
    return waiting, claim(database, waiting, ada)


def beside(database: Database, first: Write, second: Write) -> Any:
    """Runs `second` beside `first`, which is committed once `second` waits for it; what `second` returns or raises."""

    def run() -> Any:
        with database.transaction() as conn:
            return second(conn)

    with ThreadPoolExecutor(1) as pool, database.transaction() as conn:
        first(conn)
        running = pool.submit(run)
        while not wait([running], 0.01).done and not waits(database):
            pass
        assert not running.done(), "the second write did not wait for the first one"
        conn.commit()
        return running.result(20)


def waits(database: Database) -> bool:
    with database.read() as conn:
        return bool(conn.execute(WAITS).scalar_one())


def told(database: Database, kind: str) -> int:
    with database.read() as conn:
        query = sa.select(sa.func.count()).select_from(audit_events).where(audit_events.c.kind == kind)
        return int(conn.execute(query).scalar_one())


def test_a_lease_that_is_extended_is_not_taken_over_although_it_had_run_out(
    database: Database, claimed: Any, ada: Key, bob: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, token = claimed

    def take(conn: Connection) -> None:
        monkeypatch.setattr(reviews, "now", lambda conn: now(conn) + LEASE + 1)  # once the first lease has run out
        reviews.claim(conn, item.id, bob, LEASE)

    with pytest.raises(AlreadyClaimed):
        beside(database, lambda conn: reviews.extend_claim(conn, item.id, ada, token, 2 * LEASE), take)
    found = reread(database, item)
    assert (found.claimed_by, found.fencing_token) == (ada.id, token)


def test_an_item_that_is_being_claimed_is_passed_over(
    database: Database, waiting: ReviewItem, ada, bob, caller
) -> None:
    other = held(database, caller)
    with database.transaction() as conn:
        reviews.claim(conn, waiting.id, ada, LEASE)
        with database.transaction() as second:  # waits for nobody, so no two wait for each other
            granted, _ = reviews.claim_first(second, [waiting.id, other.id], bob, LEASE)
    assert granted is not None
    assert granted.item.id == other.id


def test_of_two_drafts_saved_at_once_the_later_one_stays(database: Database, claimed: Any, ada: Key) -> None:
    item, token = claimed
    beside(
        database,
        lambda conn: reviews.save_draft(conn, item.id, ada, token, "one", ""),
        lambda conn: reviews.save_draft(conn, item.id, ada, token, "two", ""),
    )
    with database.read() as conn:
        assert [draft.text for draft in conn.execute(sa.select(drafts))] == ["two"]


@pytest.mark.parametrize("ends", ["verdict", "erasure"])
def test_no_draft_is_left_of_an_item_that_ends_while_it_is_saved(
    database: Database, claimed: Any, ada: Key, caller: Key, ends: str
) -> None:
    item, token = claimed
    asking = caller

    def end(conn: Connection) -> None:
        if ends == "verdict":
            reviews.decide(conn, item.id, ada, token, VerdictKind.REJECT, "no", None)
        else:
            erasure.erase_subject(conn, "acme", subjects.name_of_key(asking.id), "system")

    def save(conn: Connection) -> None:
        reviews.save_draft(conn, item.id, ada, token, "of a person", "")

    with pytest.raises(AlreadyDecided):
        beside(database, end, save)
    asking = key(database, "another caller", Role.CALLER)  # what an erased one asks, nobody may claim
    item = held(database, asking)
    token = claim(database, item, ada)
    beside(database, save, end)
    with database.read() as conn:
        assert conn.execute(sa.select(drafts)).all() == []


def test_a_verdict_given_while_its_question_is_deleted_is_emptied_too(
    database: Database, claimed: Any, ada: Key
) -> None:
    item, token = claimed
    deleted = beside(
        database,
        lambda conn: reviews.decide(conn, item.id, ada, token, VerdictKind.EDIT, "quotes a person", "Right."),
        lambda conn: interactions.delete(conn, item.interaction_id, "acme", "system"),
    )
    assert deleted
    assert reread(database, item).state is ItemState.EDITED
    with database.read() as conn:
        (word,) = conn.execute(sa.select(verdicts))
    assert (word.reason, word.content) == ("", None)


def test_what_two_delete_at_once_is_deleted_once(database: Database, waiting: ReviewItem) -> None:
    def delete(conn: Connection) -> bool:
        return interactions.delete(conn, waiting.interaction_id, "acme", "system")

    assert beside(database, delete, delete) is False
    assert told(database, "interaction.deleted") == 1


def test_who_is_erased_by_two_at_once_is_erased_once(database: Database, waiting: ReviewItem, caller: Key) -> None:
    def erase(conn: Connection) -> None:
        erasure.erase_subject(conn, "acme", subjects.name_of_key(caller.id), "system")

    with pytest.raises(NotFound):
        beside(database, erase, erase)
    assert told(database, "subject.erased") == 1


def test_a_key_that_two_revoke_at_once_is_revoked_once(database: Database, ada: Key) -> None:
    def revoke(conn: Connection) -> float | None:
        return keys.revoke(conn, ada.id, "acme", "system").revoked_at

    assert beside(database, revoke, revoke) is not None
    assert told(database, "key.revoked") == 1


def test_of_two_changes_of_skills_at_once_the_second_tells_of_the_first(database: Database) -> None:
    able = key(database, "Grace", Role.REVIEWER)
    beside(
        database,
        lambda conn: keys.set_skills(conn, able.id, "acme", ["law"], "system"),
        lambda conn: keys.set_skills(conn, able.id, "acme", ["tax"], "system"),
    )
    with database.read() as conn:
        query = sa.select(audit_events.c.data).where(audit_events.c.kind == "key.updated").order_by(audit_events.c.at)
        last = conn.execute(query).scalars().all()[-1]
    assert '"skills":["tax"],"skills_before":["law"]' in last


def test_a_refused_verdict_is_told_although_its_item_is_moved_at_that_instant(
    database: Database, claimed: Any, ada: Key
) -> None:
    item, token = claimed
    with database.transaction() as conn:
        conn.execute(sa.update(decisions).values(threshold=0.1))
    released = list[str]()

    def release(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("UPDATE review_items") and not released:
            released.append(item.id)
            with database.transaction() as other:
                reviews.release_claim(other, item.id, ada, token)

    sa.event.listen(sa.Engine, "before_cursor_execute", release)
    try:
        with database.transaction() as conn:
            refuse(conn, item.id, ada, token, "not_vouched")
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", release)
    assert told(database, "verdict.refused") == 1
    assert reread(database, item).state is ItemState.PENDING
