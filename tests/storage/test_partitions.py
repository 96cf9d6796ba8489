"""On PostgreSQL there is a partition for each month in time, rows that went astray move, and old months go at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from storage import audit_log, retention
from storage import partitions as months
from storage.audit_tables import audit_events
from storage.database import Database, migrate, now, open_database
from storage.partitions import DEFAULT, Month, drop, ended_before, ensure_partitions, keep, partitions
from storage.schema import downgrade, upgrade
from tests.storage import plans
from tests.storage.servers import new_database
from tests.storage.waiting import until_one_waits


@pytest.fixture
def url(postgres_url: str) -> str:
    return new_database(postgres_url)


@pytest.fixture
def postgres(url: str) -> Iterator[Database]:
    migrate(url)
    opened = open_database(url)
    yield opened
    opened.close()


def _happened(conn: sa.Connection, at: float) -> str:
    return audit_log.append(conn, "key.created", "test", "acme", at=at).id


def _where(conn: sa.Connection, event_id: str) -> str:
    query = sa.text("SELECT tableoid::regclass::text FROM audit_events WHERE id = :id")
    return str(conn.execute(query, {"id": event_id}).scalar_one())


def test_month_knows_its_bounds_and_its_name() -> None:
    december = Month(2026, 12)
    assert (december.name, december.later(1)) == ("audit_events_y2026m12", Month(2027, 1))
    assert december.since == datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    assert december.until == datetime(2027, 1, 1, tzinfo=UTC).timestamp()


def test_migrated_database_has_this_month_and_the_next_three(postgres: Database) -> None:
    with postgres.read() as conn:
        today = datetime.fromtimestamp(now(conn), UTC)
        this = Month(today.year, today.month)
        assert partitions(conn) == [this.later(ahead) for ahead in range(4)]


def test_every_partition_has_the_small_index_on_time(postgres: Database) -> None:
    with postgres.transaction() as conn:
        made = ensure_partitions(conn, months_ahead=4)
        query = sa.text("SELECT tablename FROM pg_indexes WHERE indexdef LIKE '%USING brin (at)%'")
        indexed = set(conn.execute(query).scalars())
        assert made
        assert indexed == {"audit_events", DEFAULT, *(month.name for month in partitions(conn))}


def test_nothing_is_made_twice_and_more_are_made_when_asked(postgres: Database) -> None:
    with postgres.transaction() as conn:
        last = partitions(conn)[-1]
        assert ensure_partitions(conn) == []
        assert ensure_partitions(conn, months_ahead=5) == [last.later(1), last.later(2)]


def test_event_lies_in_the_partition_of_its_month(postgres: Database) -> None:
    with postgres.transaction() as conn:
        month = partitions(conn)[1]
        events = {_happened(conn, month.since): month, _happened(conn, month.until): month.later(1)}
        assert {event: _where(conn, event) for event in events} == {event: at.name for event, at in events.items()}


def test_events_that_went_astray_move_into_their_month(postgres: Database) -> None:
    with postgres.transaction() as conn:
        events = [_happened(conn, Month(2020, 2).since + day * 86_400.0) for day in (0, 28, 29)]
        assert {_where(conn, event) for event in events} == {DEFAULT}
        assert ensure_partitions(conn) == [Month(2020, 2), Month(2020, 3)]
        assert [_where(conn, event)[-7:] for event in events] == ["2020m02", "2020m02", "2020m03"]
        assert conn.execute(sa.select(sa.func.count()).select_from(audit_events)).scalar_one() == 3


def test_writers_go_on_while_a_partition_is_attached(postgres: Database) -> None:
    done = threading.Event()

    def write() -> None:
        with postgres.transaction() as conn:
            _happened(conn, now(conn))
        done.set()

    with postgres.transaction() as conn:
        assert ensure_partitions(conn, months_ahead=4)
        writer = threading.Thread(target=write)
        writer.start()
        assert done.wait(5)  # while the attaching transaction is still open
    writer.join()


def test_writer_does_not_keep_a_partition_from_being_attached(postgres: Database) -> None:
    with postgres.transaction() as writing:
        _happened(writing, now(writing))
        with postgres.transaction() as conn:
            assert ensure_partitions(conn, months_ahead=4)


def test_two_workers_make_a_month_once(url: str) -> None:
    upgrade(url, "0003")
    opened = open_database(url)
    made: list[list[Month]] = []

    def ensure() -> None:
        with opened.transaction() as conn:
            made.append(ensure_partitions(conn))

    workers = [threading.Thread(target=ensure) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    opened.close()
    assert sorted(map(len, made)) == [0, 4]


def test_whole_months_are_dropped(postgres: Database) -> None:
    with postgres.transaction() as conn:
        old = [_happened(conn, Month(2020, month).since) for month in (1, 2, 3)]
        ensure_partitions(conn)
        ended = ended_before(conn, Month(2020, 2).until)
        assert ended == [Month(2020, 1), Month(2020, 2)]
        drop(conn, ended)
        assert list(conn.execute(sa.select(audit_events.c.id)).scalars()) == old[2:]


def test_an_empty_month_is_dropped_behind_a_reader_who_comes_to_it_last(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both take the whole log before its parts: the other way round each would wait for the other."""
    monkeypatch.setattr(months, "_NOT_FOR_LONG", "SET LOCAL lock_timeout = '60s'")
    with postgres.transaction() as conn:
        event = _happened(conn, Month(2020, 1).since)
        ensure_partitions(conn)
        conn.execute(sa.delete(audit_events).where(audit_events.c.id == event))
    with ThreadPoolExecutor(1) as pool:
        with postgres.transaction() as reading:
            reading.exec_driver_sql("LOCK TABLE ONLY audit_events IN ACCESS SHARE MODE")  # as its plan begins
            purging = pool.submit(retention.purge, postgres, 200.0, "system")
            until_one_waits(postgres)
            assert reading.execute(sa.select(sa.func.count()).select_from(audit_events)).scalar_one() == 0
        assert purging.result(30).events == 0
    with postgres.read() as conn:
        assert Month(2020, 1) not in partitions(conn)


def test_who_purges_waits_for_the_log_only_as_long_as_others_may_be_kept_waiting(postgres: Database) -> None:
    with postgres.transaction() as conn:
        _happened(conn, Month(2020, 1).since)
        ensure_partitions(conn)
    with postgres.transaction() as conn:
        with plans.statements(conn) as executed:
            keep(conn, Month(2020, 1))
        assert executed[0][0] == "SET LOCAL lock_timeout = '2s'"
        assert conn.exec_driver_sql("SHOW lock_timeout").scalar_one() == "2s"


def test_sqlite_has_no_partitions(tmp_path) -> None:
    migrate(f"sqlite:///{tmp_path}/any.db")
    opened = open_database(f"sqlite:///{tmp_path}/any.db")
    with opened.transaction() as conn:
        assert (ensure_partitions(conn), partitions(conn), ended_before(conn, 1e12)) == ([], [], [])
    opened.close()


def test_events_are_carried_over_there_and_back(url: str) -> None:
    upgrade(url, "0002")
    opened = open_database(url)
    written = [("evt_1", Month(2021, 5).since), ("evt_2", Month(2021, 6).since), ("evt_3", -1.0)]
    columns = "id, at, tenant, kind, actor, data, hash"
    facts = "'acme', 'key.created', 'test', '{\"reason\": \"a\"}', 'hash'"
    with opened.transaction() as conn:
        for event_id, at in written:
            conn.exec_driver_sql(f"INSERT INTO audit_events ({columns}) VALUES ('{event_id}', {at}, {facts})")
    for there in (lambda: upgrade(url), lambda: downgrade(url, "0002"), lambda: upgrade(url)):
        there()
        with opened.read() as conn:
            found = conn.exec_driver_sql("SELECT id, at, data FROM audit_events ORDER BY id").all()
            places = {name for (name,) in conn.exec_driver_sql("SELECT tableoid::regclass::text FROM audit_events")}
        assert [tuple(row) for row in found] == [(name, at, '{"reason": "a"}') for name, at in written]
    opened.close()
    assert places == {"audit_events_y2021m05", "audit_events_y2021m06", DEFAULT}
