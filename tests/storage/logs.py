"""Fills and seals audit logs for the tests of the tree."""

from __future__ import annotations

import sqlalchemy as sa

from storage import audit_log, merkle, sealing
from storage.audit_log import NewEvent
from storage.audit_tables import audit_leaves
from storage.checkpoints import Signer
from storage.database import Database

# made for these tests alone
SIGNING_KEY = "PRIVATE+KEY+countersign/00112233445566aa+c7814ea6+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
SIGNER = Signer(SIGNING_KEY)


class LongAgo(Signer):
    """Signs with a clock that is `age` seconds late."""

    def __init__(self, age: float) -> None:
        super().__init__(SIGNING_KEY)
        self._age = age

    def sign(self, size: int, root: bytes, sealed_at: float) -> str:
        return super().sign(size, root, sealed_at - self._age)


def append(database: Database, events: int, tenant: str = "acme") -> list[str]:
    """Their ids, as committed."""
    with database.transaction() as conn:
        made = audit_log.append_many(
            conn, [NewEvent("decision", "system", tenant, data={"n": number}) for number in range(events)]
        )
    return [event.id for event in made]


def seal_all(database: Database, limit: int = sealing.LIMIT) -> int:
    """Turn after turn, each forgetting the one before; the size of the tree."""
    while True:
        with database.transaction() as conn:
            turn = sealing.seal(conn, SIGNER, limit)
        if not turn.sealed:
            return turn.size


def leaves(database: Database) -> list[tuple[int, str, bytes]]:
    """(place, event id, hash) in the order of the places."""
    table = audit_leaves.c
    query = sa.select(table.leaf_index, table.event_id, table.hash).order_by(table.leaf_index)
    with database.read() as conn:
        return [(row.leaf_index, row.event_id, bytes.fromhex(row.hash)) for row in conn.execute(query)]


def root_of(database: Database) -> bytes:
    """Of all leaves, grown at once."""
    grown = merkle.Frontier()
    grown.append([leaf for _, _, leaf in leaves(database)])
    return grown.root()
