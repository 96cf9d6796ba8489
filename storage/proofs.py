"""Reads the sealed tree from the database: where an event stands in it, and proofs against its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import merkle
from storage.audit_tables import audit_checkpoints, audit_events, audit_leaves, audit_nodes
from storage.checkpoints import read_note
from storage.errors import NotFound, TreeDamaged

LOOK = "Run `countersign-verify log` to find what was changed in the audit log."
_TILE = 1 << merkle.TILE_BITS
_PROVED = [
    audit_events.c[name]
    for name in (
        "id", "at", "tenant", "kind", "actor", "interaction_id", "item_id", "trace_id", "data", "subject", "commitment",
        "hash", "salt", "sealed",
    )
]  # fmt: skip


class Tiles:
    """Hashes of leaves and nodes, read 256 at a time: a proof needs a few of them for each level of 256."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._read: dict[tuple[int, int], list[bytes]] = {}

    def hashes(self, level: int, start: int, stop: int) -> Sequence[bytes]:
        """A `merkle.Hashes`; what is asked for never crosses a tile's border."""
        tile = start // _TILE
        if (level, tile) not in self._read:
            self._read[level, tile] = self._tile(level, tile * _TILE)
        return self._read[level, tile][start - tile * _TILE : stop - tile * _TILE]

    def _tile(self, level: int, first: int) -> list[bytes]:
        """The hashes from `first` on, up to the first one that is not there."""
        place = audit_leaves.c.leaf_index if level == 0 else audit_nodes.c.position
        table = audit_leaves if level == 0 else audit_nodes
        query = sa.select(place, table.c.hash).where(place >= first, place < first + _TILE).order_by(place)
        if level:
            query = query.where(audit_nodes.c.level == level)
        rows = self._conn.execute(query).all()
        return [bytes.fromhex(found) for number, (at, found) in enumerate(rows) if at == first + number]


def inclusion(conn: Connection, leaf_index: int, tree_size: int) -> list[bytes]:
    """From the leaf's sibling upwards. Source: RFC 9162, section 2.1.3.

    Raises ValueError unless 0 ≤ leaf_index < tree_size, TreeDamaged when leaves or nodes of the tree are missing.
    """
    return _roots(conn, merkle.inclusion_ranges(leaf_index, tree_size))


def consistency(conn: Connection, first: int, second: int) -> list[bytes]:
    """That the tree of `second` leaves begins with that of `first`. Source: RFC 9162, section 2.1.4.

    Raises ValueError unless 1 ≤ first ≤ second, TreeDamaged when leaves or nodes of the tree are missing.
    """
    return _roots(conn, merkle.consistency_ranges(first, second))


def frontier(conn: Connection, tree_size: int) -> merkle.Frontier:
    """From where the tree of `tree_size` leaves goes on growing. Raises TreeDamaged when there are fewer."""
    return merkle.Frontier(tree_size, _roots(conn, merkle.frontier_ranges(tree_size)))


def stored_event(conn: Connection, event_id: str, tenant: str) -> dict[str, Any]:
    """The columns that a leaf's hash is computed from, with `data` as the text that is stored, and the private facts.

    Raises NotFound, also for another tenant's event.
    """
    query = sa.select(*_PROVED).where(audit_events.c.id == event_id, audit_events.c.tenant == tenant)
    row = conn.execute(query).one_or_none()
    if row is None:
        raise NotFound("audit event", event_id)
    return dict(row._mapping)


def leaf_index(conn: Connection, event_id: str) -> int | None:
    """None until the event is sealed."""
    query = sa.select(audit_leaves.c.leaf_index).where(audit_leaves.c.event_id == event_id)
    return conn.execute(query).scalar_one_or_none()


def latest_note(conn: Connection) -> tuple[int, str] | None:
    """Size and note of the last checkpoint; None while nothing is sealed."""
    table = audit_checkpoints.c
    row = conn.execute(sa.select(table.tree_size, table.note).order_by(table.tree_size.desc()).limit(1)).one_or_none()
    return None if row is None else (row.tree_size, row.note)


def notes(conn: Connection, after: int, limit: int) -> list[tuple[int, str]]:
    """Sizes and notes of the checkpoints larger than `after`, smallest first."""
    table = audit_checkpoints.c
    query = sa.select(table.tree_size, table.note).where(table.tree_size > after).order_by(table.tree_size).limit(limit)
    return [(row.tree_size, row.note) for row in conn.execute(query)]


def note_of(conn: Connection, tree_size: int) -> str | None:
    """The note of the checkpoint of exactly this size, if there is one."""
    query = sa.select(audit_checkpoints.c.note).where(audit_checkpoints.c.tree_size == tree_size)
    return conn.execute(query).scalar_one_or_none()


def sealed_by(conn: Connection, at: float) -> int:
    """How many leaves had been sealed at this time, unix seconds, as the checkpoints say; their times never fall.

    Raises TreeDamaged.
    """
    table, last = audit_checkpoints.c, latest_note(conn)
    found = low = 0
    high = 0 if last is None else last[0]
    while low < high:
        middle = (low + high + 1) // 2
        within = sa.select(table.tree_size, table.note).where(table.tree_size > low, table.tree_size <= middle)
        row = conn.execute(within.order_by(table.tree_size.desc()).limit(1)).one_or_none()
        if row is not None and _sealed_at(row.note) > at:
            high = row.tree_size - 1
            continue
        found, low = found if row is None else row.tree_size, middle
    return found


def _sealed_at(note: str) -> float:
    try:
        return read_note(note).sealed_at
    except ValueError as error:
        raise TreeDamaged(f"{error} {LOOK}") from error


def _roots(conn: Connection, ranges: Sequence[merkle.Range]) -> list[bytes]:
    tiles = Tiles(conn)
    try:
        return [merkle.root_of(tiles.hashes, each) for each in ranges]
    except ValueError as error:
        raise TreeDamaged(f"{error} {LOOK}") from error
