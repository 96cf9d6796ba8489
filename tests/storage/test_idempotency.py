"""An Idempotency-Key stands for one request: one attempt records it, and everybody else gets what it recorded."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from storage import idempotency, interactions
from storage.database import Database
from storage.errors import Superseded
from storage.idempotency import Hold, InFlight, OtherBody, Replay
from storage.records import Action, Key
from storage.tables import idempotency as entries
from storage.tables import interactions as asked_rows
from tests.storage import plans
from tests.storage.made import record

DAY = 86_400.0
Found = Hold | Replay | InFlight | OtherBody


def begin(database: Database, key: Key, name: str = "order-7", body: str = "a" * 64, owner: str = "try_1") -> Found:
    with database.transaction() as conn:
        return idempotency.begin(conn, key, name, body, owner, 15.0, DAY)


def finish(database: Database, key: Key, found: Found) -> str:
    """Records an answer under the hold; returns its id."""
    assert isinstance(found, Hold)
    with database.transaction() as conn:
        asked, _ = record(conn, key, Action.RELEASE)
        idempotency.finish(conn, found, asked.id)
    return str(asked.id)


def later(database: Database, seconds: float) -> None:
    """Makes the entries older, as if so many seconds had passed by the database's clock."""
    moved = {name: entries.c[name] - seconds for name in ("lease_expires_at", "created_at", "expires_at")}
    with database.transaction() as conn:
        conn.execute(sa.update(entries).values(moved))


def count(database: Database) -> int:
    with database.read() as conn:
        return int(conn.execute(sa.select(sa.func.count()).select_from(entries)).scalar_one())


def test_recorded_request_is_replayed_and_another_body_is_refused(database: Database, caller: Key) -> None:
    recorded = finish(database, caller, begin(database, caller))
    assert begin(database, caller, owner="try_2") == Replay(recorded)
    assert begin(database, caller, body="b" * 64, owner="try_3") == OtherBody()


def test_name_belongs_to_one_key(database: Database, caller: Key, ada: Key) -> None:
    finish(database, caller, begin(database, caller))
    assert isinstance(begin(database, ada, body="b" * 64), Hold)


def test_second_attempt_waits_while_the_first_holds_its_lease(database: Database, caller: Key) -> None:
    hold = begin(database, caller)
    assert begin(database, caller, owner="try_2") == InFlight()
    assert isinstance(hold, Hold)
    later(database, 14)
    with database.transaction() as conn:
        assert idempotency.renew(conn, hold, 15.0)
    later(database, 14)
    assert begin(database, caller, owner="try_2") == InFlight()


def test_attempt_whose_lease_ended_is_superseded_and_records_nothing(database: Database, caller: Key) -> None:
    lost = begin(database, caller)
    later(database, 16)
    taken = begin(database, caller, owner="try_2")
    with pytest.raises(Superseded):
        finish(database, caller, lost)
    assert isinstance(lost, Hold)
    with database.transaction() as conn:
        assert not idempotency.renew(conn, lost, 15.0)
        idempotency.abandon(conn, lost)  # no longer its own: changes nothing
    recorded = finish(database, caller, taken)
    assert begin(database, caller, owner="try_3") == Replay(recorded)
    with database.read() as conn:
        assert conn.execute(sa.select(asked_rows.c.id)).scalars().all() == [recorded]


def test_ended_lease_is_not_taken_with_another_body(database: Database, caller: Key) -> None:
    begin(database, caller)
    later(database, 16)
    assert begin(database, caller, body="b" * 64, owner="try_2") == OtherBody()


def test_attempt_that_nobody_superseded_still_records_after_its_lease(database: Database, caller: Key) -> None:
    hold = begin(database, caller)
    later(database, 16)
    recorded = finish(database, caller, hold)
    assert begin(database, caller, owner="try_2") == Replay(recorded)


def test_abandoned_name_is_free_and_a_recorded_one_is_not(database: Database, caller: Key) -> None:
    hold = begin(database, caller)
    assert isinstance(hold, Hold)
    with database.transaction() as conn:
        idempotency.abandon(conn, hold)
    again = begin(database, caller, body="b" * 64, owner="try_2")
    recorded = finish(database, caller, again)
    assert isinstance(again, Hold)
    with database.transaction() as conn:
        idempotency.abandon(conn, again)
    assert begin(database, caller, body="b" * 64, owner="try_3") == Replay(recorded)


def test_entry_ends_and_is_swept(database: Database, caller: Key) -> None:
    finish(database, caller, begin(database, caller, name="old"))
    later(database, DAY + 1)
    finish(database, caller, begin(database, caller, name="new"))
    assert isinstance(begin(database, caller, name="old", body="b" * 64), Hold)
    later(database, DAY - 10)
    with database.transaction() as conn:
        assert idempotency.sweep(conn) == 0
    later(database, 20)
    with database.transaction() as conn:
        assert idempotency.sweep(conn) == 2
    assert count(database) == 0


def test_of_many_attempts_at_once_one_holds_the_name(database: Database, caller: Key) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: begin(database, caller, owner=f"try_{n}"), range(8)))
    assert sorted(type(each).__name__ for each in found) == ["Hold", *["InFlight"] * 7]


def test_many_finish_together_and_the_superseded_are_named(database: Database, caller: Key) -> None:
    kept, lost = begin(database, caller, name="kept"), begin(database, caller, name="lost")
    later(database, 16)
    begin(database, caller, name="lost", owner="try_2")
    assert isinstance(kept, Hold)
    assert isinstance(lost, Hold)
    with database.transaction() as conn:
        assert idempotency.finish_many(conn, {"chatcmpl-1": kept, "chatcmpl-2": lost}) == {"chatcmpl-2"}
    assert begin(database, caller, name="kept") == Replay("chatcmpl-1")


def test_a_name_is_stored_as_what_nobody_can_read_a_person_from(database: Database, caller: Key) -> None:
    recorded = finish(database, caller, begin(database, caller, "ada@example.org"))
    with database.read() as conn:
        (row,) = conn.execute(sa.select(entries)).all()
    assert "example" not in str(tuple(row))  # not "ada", which a hash may hold
    assert begin(database, caller, "ada@example.org", owner="try_2") == Replay(recorded)


def test_a_deleted_answers_entry_is_found_by_an_index(database: Database, caller: Key) -> None:
    """A scan would keep every other writer waiting, on SQLite, for as long as there are entries."""
    recorded = finish(database, caller, begin(database, caller))
    with database.transaction() as conn:
        if database.dialect == "postgresql":
            conn.exec_driver_sql("SET LOCAL enable_seqscan = off")  # of few rows a scan is cheapest
        with plans.statements(conn) as executed:
            assert interactions.delete(conn, recorded, "acme", "system")
        (update,) = [each for each in executed if each[0].startswith("UPDATE idempotency")]
        assert "ix_idempotency_interaction_id" in plans.plan(conn, update)
        assert conn.execute(sa.select(entries.c.body_hash)).scalar_one() == ""
