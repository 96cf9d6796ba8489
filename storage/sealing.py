"""Seals committed events: gives each its place in the tree and signs a checkpoint, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from storage import intrusions, merkle, proofs
from storage.audit_tables import audit_checkpoints, audit_events, audit_leaves, audit_nodes, audit_unsealed
from storage.bulk import insert_rows
from storage.checkpoints import Checkpoint, Signer, read_note
from storage.database import now
from storage.errors import KeysUnfit, SealedByAnother, TreeDamaged
from storage.intrusions import Intrusion
from storage.vault import vault_of

LIMIT = 10_000  # leaves a turn


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn sealed. Keep `frontier` for the next turn, once the transaction is committed."""

    sealed: int  # leaves
    size: int  # of the tree now
    note: str | None  # of the new checkpoint; None when nothing waited
    frontier: merkle.Frontier
    intrusion: Intrusion | None = None  # what waited and was not the product's


def seal(conn: Connection, signer: Signer, limit: int = LIMIT, frontier: merkle.Frontier | None = None) -> Turn:
    """Seals what is committed and waits, at most `limit` events, in the order of their ids.

    Only a committed row of `audit_unsealed` is seen, so a leaf never gets its place before its event is certain, and
    only one that the product vouched for is sealed: others are taken out of the line, and an event says so.
    `frontier`: of the turn before; whatever does not fit the last checkpoint is read anew from the tree.

    Raises SealedByAnother when a second sealer was quicker, TreeDamaged when the tree is not the one that its
    last checkpoint was signed over, WrongMasterKey when the product writes under another master key than the
    database's vault, KeysUnfit without a vault. Whatever it raises, the transaction must be rolled back.
    """
    placed = conn.execute(sa.select(sa.func.max(audit_leaves.c.leaf_index))).scalar()
    last = _last(conn)  # after the leaves: another sealer's turn between the two makes it larger, never smaller
    if placed is not None and (last is None or placed >= last.size):
        raise TreeDamaged(f"There are leaves beyond the last checkpoint. {proofs.LOOK}")
    grown = merkle.Frontier() if last is None else _frontier(conn, last, frontier)
    begin = grown.size
    waiting, intrusion = _waiting(conn, limit)
    try:
        leaves = _place(conn, begin, waiting)
    except IntegrityError as error:
        raise SealedByAnother("Another sealer has sealed meanwhile; this turn left nothing behind.") from error
    if not leaves:
        return Turn(0, begin, None, grown, intrusion)
    nodes = grown.append(leaves)
    if nodes:
        rows = [{"level": level, "position": position, "hash": root.hex()} for level, position, root in nodes]
        conn.execute(audit_nodes.insert(), rows)
    at = now(conn) if last is None else max(now(conn), last.sealed_at)  # it never falls, even if a clock does
    note = signer.sign(grown.size, grown.root(), at)
    conn.execute(audit_checkpoints.insert(), {"tree_size": grown.size, "note": note})
    # by the leaves just placed, not by a range of ids: a transaction that commits at this moment may have smaller ids
    sealed = sa.select(audit_leaves.c.event_id).where(audit_leaves.c.leaf_index >= begin)
    conn.execute(audit_unsealed.delete().where(audit_unsealed.c.event_id.in_(sealed)))
    return Turn(len(leaves), grown.size, note, grown, intrusion)


def unsealed(conn: Connection) -> int:
    """Events that wait."""
    return int(conn.execute(sa.select(sa.func.count()).select_from(audit_unsealed)).scalar_one())


def anything_waits(conn: Connection) -> bool:
    return conn.execute(sa.select(audit_unsealed.c.event_id).limit(1)).first() is not None


def lag_seconds(conn: Connection) -> float:
    """For how long the oldest event that waits has waited; 0 when none does."""
    first = sa.select(sa.func.min(audit_unsealed.c.event_id)).scalar_subquery()
    written = conn.execute(sa.select(audit_events.c.at).where(audit_events.c.id == first)).scalar_one_or_none()
    return 0.0 if written is None else max(0.0, now(conn) - written)


def _last(conn: Connection) -> Checkpoint | None:
    found = proofs.latest_note(conn)
    if found is None:
        return None
    size, note = found
    try:
        said = read_note(note)
    except ValueError as error:
        raise TreeDamaged(f"The last checkpoint cannot be read. {proofs.LOOK}") from error
    if said.size != size:
        raise TreeDamaged(f"The last checkpoint is kept as one of {size} events and says {said.size}. {proofs.LOOK}")
    return said


def _waiting(conn: Connection, limit: int) -> tuple[list[Any], Intrusion | None]:
    """What waits and the product wrote; whatever else waited is refused."""
    vault = vault_of(conn)
    if vault is None:
        raise KeysUnfit("Nothing is sealed without the master key: it tells the product's events from others.")
    table = audit_unsealed.c
    query = sa.select(table.event_id, table.hash, table.vouched).order_by(table.event_id).limit(limit)
    rows = list(conn.execute(query))
    refused = intrusions.strangers(vault, rows)
    if not refused:
        return rows, None
    out = {id(row) for row in refused}
    return [row for row in rows if id(row) not in out], intrusions.refuse(conn, refused, intrusions.NOT_VOUCHED)


def _place(conn: Connection, begin: int, rows: Sequence[Any]) -> list[bytes]:
    """Gives the waiting events the indices from `begin` on; returns their leaf hashes in that order."""
    leaves = [
        {"leaf_index": index, "event_id": event_id, "hash": hash_}
        for index, (event_id, hash_, _) in enumerate(rows, begin)
    ]
    insert_rows(conn, audit_leaves, leaves)
    return [bytes.fromhex(hash_) for _, hash_, _ in rows]


def _frontier(conn: Connection, last: Checkpoint, kept: merkle.Frontier | None) -> merkle.Frontier:
    """A copy of `kept` where it is the last checkpoint's tree, otherwise that tree as the database holds it."""
    if kept is not None and kept.size == last.size and kept.root() == last.root:
        return kept.copy()
    found = proofs.frontier(conn, last.size)
    if found.root() != last.root:
        raise TreeDamaged(f"The leaves do not have the root of checkpoint {last.size}. {proofs.LOOK}")
    return found
