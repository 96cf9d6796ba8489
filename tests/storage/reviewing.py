"""Claims, decides, reads events and lets actions race, for the tests of reviews."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_query, reviews
from storage.audit_query import Filters
from storage.database import Database
from storage.errors import (
    Conflict,
)
from storage.records import Key, ReviewItem, VerdictKind
from storage.tables import verdicts
from tests.storage.made import LEASE


def claim(database: Database, item: ReviewItem, reviewer: Key, seconds: float = LEASE) -> int:
    with database.transaction() as conn:
        return reviews.claim(conn, item.id, reviewer, seconds).fencing_token


def decide(database, item, reviewer, token, kind=VerdictKind.APPROVE, reason="because", content=None):
    with database.transaction() as conn:
        return reviews.decide(conn, item.id, reviewer, token, kind, reason, content)


def events(database: Database, item: ReviewItem) -> list[str]:
    with database.read() as conn:
        return [
            event.kind for event in reversed(audit_query.query(conn, item.tenant, Filters(item_id=item.id), limit=100))
        ]


def verdicts_on(conn: Connection, item_id: str) -> list[VerdictKind]:
    """The kinds of every verdict on the item, oldest first."""
    query = sa.select(verdicts.c.kind).where(verdicts.c.item_id == item_id).order_by(verdicts.c.fencing_token)
    return [VerdictKind(kind) for kind in conn.execute(query).scalars()]


def race(*actions):
    """What each action returned or the Conflict it raised, all let go at the same moment."""
    ready = Barrier(len(actions))

    def run(action):
        ready.wait()
        try:
            return action()
        except Conflict as conflict:
            return conflict

    with ThreadPoolExecutor(len(actions)) as pool:
        return [future.result() for future in [pool.submit(run, action) for action in actions]]
