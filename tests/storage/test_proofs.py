"""Proofs that the database gives are those that RFC 9162's verification accepts, and only for what is sealed."""

import pytest
import sqlalchemy as sa

from storage import event_format, merkle, proofs
from storage.audit_tables import audit_events, audit_leaves, audit_nodes
from storage.checkpoints import read_note
from storage.database import Database
from storage.errors import NotFound, TreeDamaged
from storage.records import AuditEvent
from tests.storage.logs import append, leaves, seal_all

SIZES = (1, 2, 7, 255, 256, 257, 511, 512, 600)


@pytest.fixture
def grown(database: Database) -> Database:
    append(database, 600)
    seal_all(database, limit=200)
    return database


def roots(database: Database) -> dict[int, bytes]:
    known = [leaf for _, _, leaf in leaves(database)]
    found = {}
    for size in SIZES:
        tree = merkle.Frontier()
        tree.append(known[:size])
        found[size] = tree.root()
    return found


def test_every_event_is_proved_against_every_size_that_holds_it(grown: Database) -> None:
    known, expected = leaves(grown), roots(grown)
    with grown.read() as conn:
        for size in SIZES:
            for place in {0, 1, size // 2, size - 1} & set(range(size)):
                path = proofs.inclusion(conn, place, size)
                assert merkle.proves_inclusion(known[place][2], place, size, path, expected[size])


def test_growth_is_proved_between_any_two_sizes(grown: Database) -> None:
    expected = roots(grown)
    with grown.read() as conn:
        for first in SIZES:
            for second in (size for size in SIZES if size >= first):
                path = proofs.consistency(conn, first, second)
                assert merkle.proves_consistency(first, second, path, expected[first], expected[second])


def test_a_frontier_is_read_from_the_tree(grown: Database) -> None:
    expected = roots(grown)
    with grown.read() as conn:
        assert {size: proofs.frontier(conn, size).root() for size in SIZES} == expected


def test_an_events_leaf_is_the_hash_of_what_is_stored(grown: Database) -> None:
    place, event_id, leaf = leaves(grown)[300]
    with grown.read() as conn:
        stored = proofs.stored_event(conn, event_id, "acme")
        assert proofs.leaf_index(conn, event_id) == place
    assert stored["hash"] == leaf.hex()
    hashed = {name: stored[name] for name in stored if name not in ("data", "hash", "salt", "sealed")}
    assert event_format.leaf_hash(AuditEvent(**hashed), stored["data"]) == leaf.hex()


def test_only_the_tenants_own_events_are_given(grown: Database) -> None:
    event_id = leaves(grown)[0][1]
    with grown.read() as conn:
        for asked, tenant in ((event_id, "rival"), ("evt_none", "acme")):
            with pytest.raises(NotFound):
                proofs.stored_event(conn, asked, tenant)
        assert proofs.leaf_index(conn, "evt_none") is None


def test_checkpoints_are_listed_from_the_smallest(grown: Database) -> None:
    with grown.read() as conn:
        everything = proofs.notes(conn, 0, 10)
        assert [size for size, _ in everything] == [200, 400, 600]
        assert [read_note(note).size for _, note in everything] == [200, 400, 600]
        assert proofs.notes(conn, 200, 1) == everything[1:2]
        assert proofs.latest_note(conn) == everything[-1]
        assert proofs.note_of(conn, 400) == everything[1][1]
        assert proofs.note_of(conn, 300) is None


@pytest.mark.parametrize("gone", [audit_leaves.delete().where(audit_leaves.c.leaf_index == 599), audit_nodes.delete()])
def test_a_tree_with_a_hole_proves_nothing(grown: Database, gone: sa.Delete) -> None:
    with grown.transaction() as conn:
        conn.execute(gone)
        with pytest.raises(TreeDamaged, match="countersign-verify"):
            proofs.inclusion(conn, 0, 600)
        with pytest.raises(TreeDamaged):
            proofs.consistency(conn, 256, 600)
        assert len(proofs.inclusion(conn, 0, 200)) == 8  # what is whole goes on being proved


def test_what_the_log_does_not_hold_is_refused(grown: Database) -> None:
    with grown.read() as conn:
        for place, size in ((-1, 5), (5, 5), (0, 0)):
            with pytest.raises(ValueError):
                proofs.inclusion(conn, place, size)
        for first, second in ((0, 5), (6, 5)):
            with pytest.raises(ValueError):
                proofs.consistency(conn, first, second)
        with pytest.raises(TreeDamaged):
            proofs.consistency(conn, 1, 10_000)


def test_events_of_every_tenant_are_in_the_one_tree(database: Database) -> None:
    ours, theirs = append(database, 2), append(database, 2, tenant="rival")
    assert seal_all(database) == 4
    with database.read() as conn:
        assert sorted(conn.execute(sa.select(audit_events.c.id)).scalars()) == sorted([*ours, *theirs])
        assert {proofs.leaf_index(conn, each) for each in (*ours, *theirs)} == {0, 1, 2, 3}
