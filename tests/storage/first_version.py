"""A database as the first version of the program left it, with rows in every table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import sqlalchemy as sa

from storage.database import open_database
from storage.schema import upgrade
from tests.storage.conftest import VAULT

bring_up = partial(upgrade, vault=VAULT, vouch_for_waiting=True)  # as an operator does it who upgrades just now
TEXT_HASH = hashlib.sha256(b"42").hexdigest()
ASKED: dict[str, Any] = {
    "id": "chatcmpl_1", "tenant": "acme", "key_id": "key_1", "model": "m", "served_model": "m@1", "messages": "[]",
    "params": '{"user":"ada"}', "answer": '{"text":"42"}', "content_hash": TEXT_HASH, "created_at": 5.0,
    "request_id": "req_1", "metadata": "{}",
}  # fmt: skip
ITEM: dict[str, Any] = {
    "id": "rev_1", "interaction_id": "chatcmpl_1", "tenant": "acme", "asked_by": "key_1", "state": "approved",
    "version": 3, "urgency": 1.0, "reason": "low_confidence", "action": "hold", "created_at": 5.0, "expires_at": 9e9,
    "fencing_token": 2, "claims": 2, "lapses": 0, "claimed_by": "key_3", "decided_at": 7.0,
}  # fmt: skip
OPEN = {"id": "rev_2", "interaction_id": "chatcmpl_2", "state": "pending", "claimed_by": None, "decided_at": None}
WORD: dict[str, Any] = {
    "id": "ver_1", "item_id": "rev_1", "tenant": "acme", "reviewer_id": "key_2", "kind": "refer", "reason": "law",
    "fencing_token": 1, "created_at": 6.0,
}  # fmt: skip
POLICY = {"id": "pol_1", "version": 1, "tenant": "acme", "name": "default", "threshold": 0.85, "below": "hold"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "policies": [{**POLICY, "review_seconds": 60.0, "created_at": 1.0}],
    "keys": [
        {"id": f"key_{n}", "tenant": "acme", "name": f"K{n}", "secret_hash": f"s{n}", "roles": "reviewer",
         "policy_id": "pol_1", "created_at": 1.0} for n in (1, 2, 3)
    ],
    "sign_ins": [{"secret_hash": "s", "key_id": "key_2", "created_at": 1.0, "expires_at": 9e9}],
    "signin_links": [{"link_hash": "l", "key_id": "key_2", "created_at": 1.0, "expires_at": 9e9}],
    "calibrations": [{"id": "cal_1", "model": "m", "body": "{}", "active": True, "created_at": 1.0}],
    "interactions": [ASKED, {**ASKED, "id": "chatcmpl_2"}],
    "decisions": [
        {"id": f"dec_{n}", "interaction_id": f"chatcmpl_{n}", "tenant": "acme", "action": "hold",
         "reason": "low_confidence", "threshold": 0.85, "policy_id": "pol_1", "policy_version": 1,
         "content_hash": TEXT_HASH, "created_at": 5.0} for n in (1, 2)
    ],
    "review_items": [ITEM, {**ITEM, **OPEN}],
    "drafts": [{"item_id": "rev_2", "reviewer_id": "key_2", "text": "t", "note": "", "saved_at": 6.0}],
    "verdicts": [
        WORD, {**WORD, "id": "ver_2", "reviewer_id": "key_3", "kind": "approve", "content_hash": TEXT_HASH}
    ],
    "outbox": [{"topic": "review.enqueue", "payload": '{"item_id":"rev_2","tenant":"acme"}', "created_at": 5.0}],
    "leaders": [{"name": "worker", "holder": "h", "expires_at": 1.0}],
}  # fmt: skip


def old_event(n: int, at: float, **facts: Any) -> dict[str, Any]:
    """As the first version wrote it; `facts`: in place of those that are hard to write."""
    fields: dict[str, Any] = {
        "id": f"evt_{n:03}", "at": at, "tenant": "acme", "kind": "decision", "actor": "key:é", "interaction_id": "i",
        "item_id": None, "trace_id": None, "data": facts or {"confidence": 0.1 + 0.2, "a": "é\u2028", "n": n},
    }  # fmt: skip
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    data = json.dumps(fields["data"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {
        **fields,
        "data": data,
        "confidence": fields["data"].get("confidence"),
        "hash": hashlib.sha256(text.encode()).hexdigest(),
    }


EVENTS = [old_event(1, 1_795_000_000.123456), old_event(3, 2.0), old_event(2, 2.0), old_event(4, 1.0, tier="pro")]


@contextmanager
def writing(url: str) -> Iterator[sa.Connection]:
    database = open_database(url, VAULT)
    try:
        with database.transaction() as conn:
            yield conn
    finally:
        database.close()


def make(url: str) -> str:
    """In the empty database of this URL, which it returns."""
    upgrade(url, "0001")
    with writing(url) as conn:
        tables = sa.MetaData()
        tables.reflect(conn)
        assert {*ROWS, "audit_events", "alembic_version"} == set(tables.tables)
        for name, rows in {**ROWS, "audit_events": EVENTS}.items():
            for row in rows:
                conn.execute(tables.tables[name].insert(), row)
    return url
