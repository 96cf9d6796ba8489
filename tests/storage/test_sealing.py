"""Sealing gives every committed event one place, in turns that happen wholly or not at all, whoever seals."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from storage import audit_log, event_format, proofs, sealing
from storage.audit_tables import audit_checkpoints, audit_leaves, audit_nodes, audit_unsealed
from storage.checkpoints import Signer, read_note
from storage.database import Database
from storage.errors import SealedByAnother, TreeDamaged
from storage.merkle import Frontier
from tests.storage.conftest import VAULT, empty
from tests.storage.logs import SIGNER, SIGNING_KEY, append, leaves, root_of, seal_all


def seal(database: Database, limit: int = sealing.LIMIT, frontier: Frontier | None = None) -> sealing.Turn:
    with database.transaction() as conn:
        return sealing.seal(conn, SIGNER, limit, frontier)


def waiting(database: Database) -> int:
    with database.read() as conn:
        return sealing.unsealed(conn)


@pytest.fixture
def postgres(migrated_postgres: Database) -> Database:
    empty(migrated_postgres)
    return migrated_postgres


def test_events_get_consecutive_places_in_the_order_of_their_ids(database: Database) -> None:
    written = append(database, 20)
    turn = seal(database)
    assert (turn.sealed, turn.size) == (20, 20)
    assert [(place, event) for place, event, _ in leaves(database)] == list(enumerate(written))
    assert waiting(database) == 0


def test_the_checkpoint_is_signed_over_the_root_of_all_leaves(database: Database) -> None:
    append(database, 300)
    note = seal(database).note
    assert note is not None
    said = read_note(note)
    assert SIGNER.signed(said)
    assert (said.size, said.root) == (300, root_of(database))
    with database.read() as conn:
        assert proofs.latest_note(conn) == (300, note)
        assert abs(said.sealed_at - sealing.now(conn)) < 60


def test_nothing_waiting_makes_no_checkpoint(database: Database) -> None:
    turn = seal(database)
    assert (turn.sealed, turn.size, turn.note) == (0, 0, None)
    with database.read() as conn:
        assert proofs.latest_note(conn) is None


def test_the_tree_is_the_same_in_whatever_turns_it_grew(database: Database) -> None:
    append(database, 600)
    kept: Frontier | None = None
    for limit in (1, 254, 2, 100):  # once across the border of 256, once onto it
        kept = seal(database, limit, kept).frontier
        assert kept.root() == root_of(database)
    assert seal_all(database, 97) == 600
    with database.read() as conn:
        assert read_note(proofs.latest_note(conn)[1]).root == root_of(database)
        nodes = conn.execute(sa.select(audit_nodes.c.level, audit_nodes.c.position)).all()
    assert [tuple(row) for row in nodes] == [(1, 0), (1, 1)]


class Crash(Exception):
    pass


def crash_before_the_commit(database: Database, kept: Frontier) -> None:
    with database.transaction() as conn:
        sealing.seal(conn, SIGNER, frontier=kept)
        raise Crash


def test_a_turn_that_is_rolled_back_leaves_nothing(database: Database) -> None:
    append(database, 300)
    kept = seal(database, 10).frontier
    with pytest.raises(Crash):
        crash_before_the_commit(database, kept)
    assert (len(leaves(database)), waiting(database)) == (10, 290)
    assert kept.size == 10  # what was kept is still the committed tree
    assert seal(database, frontier=kept).size == 300
    assert waiting(database) == 0


def test_a_kept_frontier_that_is_not_the_last_checkpoints_is_not_used(database: Database) -> None:
    append(database, 30)
    old = seal(database, 10).frontier
    stranger = Frontier()
    stranger.append([bytes(32)] * 20)
    seal(database, 10)
    assert seal(database, 5, old).frontier.root() == root_of(database)
    assert seal(database, 5, stranger).frontier.root() == root_of(database)


@pytest.mark.parametrize(
    "change",
    [
        sa.update(audit_leaves).where(audit_leaves.c.leaf_index == 299).values(hash="00" * 32),
        sa.delete(audit_leaves).where(audit_leaves.c.leaf_index == 298),
        sa.update(audit_nodes).values(hash="00" * 32),
        sa.delete(audit_nodes),
        sa.insert(audit_leaves).values(leaf_index=300, event_id="evt_x", hash="00" * 32),
        sa.delete(audit_checkpoints),
        sa.update(audit_checkpoints).values(note="x"),
        sa.update(audit_checkpoints).values(tree_size=299),
    ],
)
def test_nothing_is_sealed_upon_a_tree_that_is_not_its_checkpoints(database: Database, change: sa.Executable) -> None:
    append(database, 300)
    seal(database)
    append(database, 1)
    with database.transaction() as conn:
        conn.execute(change)
    with pytest.raises(TreeDamaged):
        seal(database)
    assert waiting(database) == 1


def test_the_time_of_a_checkpoint_never_falls(database: Database) -> None:
    append(database, 1)
    seal(database)
    ahead = SIGNER.sign(1, root_of(database), 9_000_000_000.0)  # by a clock that was a century fast
    with database.transaction() as conn:
        conn.execute(sa.update(audit_checkpoints).values(note=ahead))
    append(database, 1)
    assert read_note(seal(database).note or "").sealed_at == 9_000_000_000.0


def test_the_age_of_the_oldest_waiting_event_is_known(database: Database) -> None:
    with database.transaction() as conn:
        assert sealing.lag_seconds(conn) == 0.0
        audit_log.append(conn, "decision", "system", "acme", at=sealing.now(conn) - 100)
        audit_log.append(conn, "decision", "system", "acme")
        assert 100 <= sealing.lag_seconds(conn) < 160
    seal(database)
    with database.read() as conn:
        assert sealing.lag_seconds(conn) == 0.0
        assert not sealing.anything_waits(conn)


class Interrupted(Signer):
    """Something happens in the middle of a turn."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__(SIGNING_KEY)
        self.happens = happens

    def sign(self, size: int, root: bytes, sealed_at: float) -> str:
        self.happens()
        return super().sign(size, root, sealed_at)


def early(database: Database) -> None:
    """Commits an event whose id is smaller than that of every other."""
    with database.transaction() as conn:
        row = {"event_id": "evt_0", "hash": "11" * 32}
        conn.execute(audit_unsealed.insert(), {**row, "vouched": VAULT.vouch(event_format.waiting("evt_0", "11" * 32))})


def test_an_event_that_commits_late_is_sealed_later_and_never_lost(postgres: Database) -> None:
    """Its id is smaller than those already sealed, as a sequence's number would be."""
    with postgres.transaction() as slow:
        first = audit_log.append(slow, "decision", "system", "acme")
        second = append(postgres, 1)
        assert seal(postgres).sealed == 1  # what is not committed is not seen
    assert seal(postgres).sealed == 1
    assert [event for _, event, _ in leaves(postgres)] == [*second, first.id]


def test_an_event_that_commits_during_a_turn_waits_for_the_next(postgres: Database) -> None:
    written = append(postgres, 5)
    with postgres.transaction() as conn:
        sealing.seal(conn, Interrupted(lambda: early(postgres)))
    assert [event for _, event, _ in leaves(postgres)] == written
    assert waiting(postgres) == 1
    assert seal(postgres).size == 6


def test_of_two_sealers_at_once_one_fails_and_leaves_nothing(postgres: Database) -> None:
    append(postgres, 50)
    caught: list[BaseException] = []

    def second() -> None:
        try:
            seal(postgres, 20)
        except BaseException as error:
            caught.append(error)

    other = threading.Thread(target=second)
    with postgres.transaction() as conn:
        sealing.seal(conn, SIGNER, 30)
        other.start()
        until_one_waits(postgres)
    other.join()
    assert [type(error) for error in caught] == [SealedByAnother]
    assert (len(leaves(postgres)), waiting(postgres)) == (30, 20)
    assert seal_all(postgres) == 50


def until_one_waits(database: Database) -> None:
    """Returns when a transaction waits for another one."""
    waits = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with database.transaction() as conn:
        while not conn.execute(waits).scalar_one():
            pass


def test_sealers_that_race_leave_no_gap_and_no_double(postgres: Database) -> None:
    def race() -> None:
        while not ended.is_set() or waiting(postgres):
            try:
                seal(postgres, 7)
            except SealedByAnother:
                continue

    ended = threading.Event()
    sealers = [threading.Thread(target=race) for _ in range(2)]
    for each in sealers:
        each.start()
    written = [event for _ in range(40) for event in append(postgres, 5)]
    ended.set()
    for each in sealers:
        each.join()
    found = leaves(postgres)
    assert [place for place, _, _ in found] == list(range(200))
    assert sorted(event for _, event, _ in found) == sorted(written)
    with postgres.read() as conn:
        assert read_note(proofs.latest_note(conn)[1]).root == root_of(postgres)
