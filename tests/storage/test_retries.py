"""A request that its client sent again is recorded once, in whichever order its sendings arrive."""

import threading
import time
from typing import Any

import sqlalchemy as sa

from storage import interactions as stored
from storage import recording, retries
from storage.database import Database, now
from storage.records import Action, Interaction, Key, Role
from storage.retries import Sent
from storage.tables import interactions
from tests.storage.made import decision, interaction, key, record

BODY = "a" * 64


def sent(asker: Key, count: int, seconds: float = 1.0, window: float = 600.0, body: str = BODY, id: str = "x") -> Sent:
    return Sent(id, asker.id, body, count, seconds, window)


def recorded(database: Database, asker: Key, count: int = 0, ago: float = 0.0, **changes: Any) -> str:
    """An answer recorded `ago` seconds before now."""
    with database.transaction() as conn:
        marks = {"body_hash": BODY, "retry_count": count, "at": now(conn) - ago, **changes}
        return str(record(conn, asker, Action.RELEASE, **marks)[0].id)


def look(database: Database, one: Sent) -> str | None:
    with database.transaction() as conn:
        return retries.standing(conn, [one]).get(one.interaction_id)


def test_retry_is_the_interaction_of_its_first_attempt(database: Database, caller: Key) -> None:
    first = recorded(database, caller, ago=30)
    assert look(database, sent(caller, 1)) == first
    assert look(database, sent(caller, 2)) == first


def test_first_attempt_that_comes_late_is_the_interaction_of_its_retry(database: Database, caller: Key) -> None:
    retry = recorded(database, caller, count=1, ago=2)
    assert look(database, sent(caller, 0, seconds=5)) == retry


def test_same_question_asked_anew_is_a_new_interaction(database: Database, caller: Key) -> None:
    recorded(database, caller, ago=30)
    recorded(database, caller, count=1, ago=20)
    assert look(database, sent(caller, 0, seconds=5)) is None


def test_retry_is_not_one_with_what_is_older_than_its_window(database: Database, caller: Key) -> None:
    recorded(database, caller, ago=601)
    assert look(database, sent(caller, 1)) is None


def test_another_body_or_key_is_another_request(database: Database, caller: Key, ada: Key) -> None:
    recorded(database, caller)
    assert look(database, sent(caller, 1, body="b" * 64)) is None
    assert look(database, sent(ada, 1)) is None


def test_deleted_interaction_answers_no_retry(database: Database, caller: Key) -> None:
    first = recorded(database, caller)
    with database.transaction() as conn:
        stored.delete(conn, first, caller.tenant, "system")
    assert look(database, sent(caller, 1)) is None


def test_newest_of_several_is_the_one_that_is_sent_again(database: Database, caller: Key) -> None:
    recorded(database, caller, ago=60)
    newest = recorded(database, caller, ago=10)
    recorded(database, caller, ago=30)
    assert look(database, sent(caller, 1)) == newest


def test_within_a_group_the_later_stands_behind_the_earlier(database: Database, caller: Key) -> None:
    group = [
        sent(caller, 0, id="first"),
        sent(caller, 0, id="asked anew"),
        sent(caller, 1, id="its retry"),
        sent(caller, 1, id="alone", body="b" * 64),
        sent(caller, 0, id="late", body="b" * 64),
    ]
    with database.transaction() as conn:
        stands = retries.standing(conn, group)
    assert stands.keys() == {"its retry", "late"}
    assert stands["late"] == "alone"
    assert stands["its retry"] in {"first", "asked anew"}


def test_read_before_asking_finds_the_newest_in_the_window(database: Database, caller: Key) -> None:
    first = recorded(database, caller, ago=30)
    with database.read() as conn:
        assert retries.recorded(conn, caller.id, BODY, 60) == first
        assert retries.recorded(conn, caller.id, BODY, 20) is None


def test_first_attempt_and_retry_recorded_at_once_are_recorded_once(database: Database, caller: Key) -> None:
    barrier = threading.Barrier(4)

    def attempt(count: int) -> None:
        asked = interaction(caller, body_hash=BODY, retry_count=count)
        barrier.wait()
        with database.transaction() as conn:
            if not retries.standing(conn, [sent(caller, count, seconds=60, id=asked.id)]):
                asked = interaction(caller, id=asked.id, at=now(conn), body_hash=BODY, retry_count=count)
                recording.record(conn, asked, decision(asked, Action.RELEASE), None)

    threads = [threading.Thread(target=attempt, args=(count,)) for count in (1, 0, 2, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with database.read() as conn:
        found = conn.execute(sa.select(interactions.c.retry_count)).scalars().all()
    assert len(found) == 1


def test_record_keeps_by_what_a_retry_is_known(database: Database, caller: Key) -> None:
    first = recorded(database, caller, count=2)
    with database.read() as conn:
        outcome = stored.get_outcome(conn, first, caller.tenant)
    assert outcome is not None
    kept: Interaction = outcome.interaction
    assert (kept.body_hash, kept.retry_count) == (BODY, 2)


def test_groups_in_any_order_never_wait_in_a_circle(migrated_postgres: Database) -> None:
    caller = key(migrated_postgres, "groups", Role.CALLER)
    bodies = [f"{number:064x}" for number in range(21)]
    failures: list[Exception] = []

    def group(order: list[str]) -> None:
        try:
            with migrated_postgres.transaction() as conn:
                retries.standing(conn, [sent(caller, 1, id=body, body=body) for body in order])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=group, args=(order,)) for order in (bodies, bodies[::-1])]
    with migrated_postgres.transaction() as conn:
        retries.standing(conn, [sent(caller, 1, body=bodies[10])])  # both stop here, with what each took before
        for thread in threads:
            thread.start()
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        while conn.execute(waiting).scalar_one() < 2:
            time.sleep(0.01)
    for thread in threads:
        thread.join(60)
    assert failures == []
