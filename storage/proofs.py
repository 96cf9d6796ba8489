"""Reads the sealed tree from the database: where an event stands in it, and proofs against its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import merkle
from storage.audit_tables import audit_checkpoints, audit_leaves, audit_nodes

_TILE = 1 << merkle.TILE_BITS


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
    """From the leaf's sibling upwards. Raises ValueError unless 0 ≤ leaf_index < tree_size, and the tree has grown so.

    Source: RFC 9162, section 2.1.3.
    """
    return _roots(conn, merkle.inclusion_ranges(leaf_index, tree_size))


def consistency(conn: Connection, first: int, second: int) -> list[bytes]:
    """Raises ValueError unless 1 ≤ first ≤ second, and the tree has grown so. Source: RFC 9162, section 2.1.4."""
    return _roots(conn, merkle.consistency_ranges(first, second))


def root(conn: Connection, tree_size: int) -> bytes:
    """The root of the first `tree_size` leaves. Raises ValueError when there are fewer."""
    return merkle.root_of(Tiles(conn).hashes, (0, tree_size))


def frontier(conn: Connection, tree_size: int) -> merkle.Frontier:
    """From where the tree of `tree_size` leaves goes on growing. Raises ValueError when there are fewer."""
    return merkle.Frontier(tree_size, _roots(conn, merkle.frontier_ranges(tree_size)))


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


def _roots(conn: Connection, ranges: Sequence[merkle.Range]) -> list[bytes]:
    tiles = Tiles(conn)
    return [merkle.root_of(tiles.hashes, each) for each in ranges]
