"""Says whether the leaves in the database are, all of them and no other, what the last checkpoint was signed over."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import log_keys, merkle, proofs
from storage.audit_tables import audit_leaves
from storage.checkpoints import Signer, read_note
from storage.errors import TreeDamaged

_AT_ONCE = 10_000  # leaves


def require_signed(conn: Connection, signer: Signer) -> None:
    """Reads every leaf: about two seconds a million. Raises KeysUnfit for another key's checkpoint, TreeDamaged."""
    log_keys.require_own_log(conn, signer)
    last = proofs.latest_note(conn)
    said = None if last is None else read_note(last[1])
    size, root = (0, merkle.EMPTY_ROOT) if said is None else (said.size, said.root)
    grown = merkle.Frontier()
    for leaves in _leaves(conn):
        grown.append(leaves)
    if (grown.size, grown.root()) != (size, root):
        raise TreeDamaged(
            f"The leaves are not those that the last checkpoint, of {size}, was signed over. {proofs.LOOK}"
        )


def _leaves(conn: Connection) -> Iterator[list[bytes]]:
    """The hashes of all rows in the order of their places, also of rows that are in no place of a tree."""
    place = audit_leaves.c.leaf_index
    page = sa.select(place, audit_leaves.c.hash).order_by(place).limit(_AT_ONCE)
    rows = conn.execute(page).all()
    while rows:
        try:
            yield [bytes.fromhex(row.hash) for row in rows]
        except (TypeError, ValueError) as error:
            raise TreeDamaged(f"A leaf from {rows[0].leaf_index} on is none. {proofs.LOOK}") from error
        rows = conn.execute(page.where(place > rows[-1].leaf_index)).all()
