"""One process leads at a time, by the database's clock."""

from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from storage.database import Database
from storage.leader import give_up_leadership, hold_leadership
from storage.tables import leaders


def _hold(database: Database, holder: str, seconds: float = 60.0, name: str = "worker") -> bool:
    with database.transaction() as conn:
        return hold_leadership(conn, name, holder, seconds)


def test_the_first_leads_and_renews_while_the_second_waits(database: Database) -> None:
    assert [_hold(database, who) for who in ("a", "b", "a", "b")] == [True, False, True, False]
    assert _hold(database, "b", name="other") is True


def test_the_next_leads_when_the_lease_ran_out(database: Database) -> None:
    _hold(database, "a")
    with database.transaction() as conn:
        conn.execute(sa.update(leaders).values(expires_at=leaders.c.expires_at - 61))
    assert _hold(database, "b") is True
    assert _hold(database, "a") is False


def test_the_next_leads_at_once_when_the_leader_gives_up(database: Database) -> None:
    _hold(database, "a")
    with database.transaction() as conn:
        give_up_leadership(conn, "worker", "b")  # not the leader: changes nothing
    assert _hold(database, "b") is False
    with database.transaction() as conn:
        give_up_leadership(conn, "worker", "a")
    assert _hold(database, "b") is True


def test_of_many_at_once_one_leads(database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda who: _hold(database, who), ["a", "b", "c", "d"])) == 1
