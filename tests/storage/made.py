"""Makes keys, held answers and the passing of time for storage's tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import keys, recording, vouching
from storage.database import Database, now
from storage.ids import new_id
from storage.records import Action, Decision, Interaction, ItemState, Key, Reason, ReviewItem, Role
from storage.storable import content_hash
from storage.tables import decisions, interactions, outbox, review_items
from storage.vault import vault_of

LEASE = 600.0  # seconds; far longer than any test


def key(database: Database, name: str, role: Role = Role.REVIEWER, tenant: str = "acme") -> Key:
    with database.transaction() as conn:
        return keys.create(conn, tenant, name, [role])[0]


def interaction(asker: Key, text: str = "42", at: float = 1_000.0, **changes: Any) -> Interaction:
    answer = {"text": text, "finish_reason": "stop", "confidence": {"value": 0.5, "domain": "arithmetic"}}
    made = Interaction(
        id=new_id("chatcmpl"),
        tenant=asker.tenant,
        key_id=asker.id,
        model="countersign-reference",
        served_model="countersign-reference@0123456789ab",
        messages=({"role": "user", "content": "What is 6 × 7?"},),
        params={"temperature": 0.0},
        answer=answer,
        content_hash=content_hash(text),
        confidence=0.5,
        calibration_id="cal_1",
        created_at=at,
        request_id=new_id("req"),
        trace_id="0af7651916cd43dd8448eb211c80319c",
    )
    return dataclasses.replace(made, **changes)


def decision(about: Interaction, action: Action = Action.HOLD, **changes: Any) -> Decision:
    made = Decision(
        id=new_id("dec"),
        interaction_id=about.id,
        action=action,
        reason=Reason.CONFIDENT if action is Action.RELEASE else Reason.LOW_CONFIDENCE,
        confidence=about.confidence,
        threshold=0.85,
        calibration_id=about.calibration_id,
        policy_id="pol_1",
        policy_version=1,
        content_hash=about.content_hash,
        created_at=about.created_at,
    )
    return dataclasses.replace(made, **changes)


def item(about: Interaction, at: float, urgency: float = 1.0, action: Action = Action.HOLD) -> ReviewItem:
    return ReviewItem(
        id=new_id("rev"),
        interaction_id=about.id,
        tenant=about.tenant,
        state=ItemState.PENDING,
        version=1,
        urgency=urgency,
        reason=Reason.LOW_CONFIDENCE,
        action=action,
        domain="arithmetic",
        created_at=at,
        expires_at=at + 86_400.0,
    )


def record(conn: Connection, asker: Key, action: Action = Action.HOLD, urgency: float = 1.0, **changes: Any) -> Any:
    """The interaction, and its review item where it has one."""
    at = now(conn)
    asked = interaction(asker, **{"at": at, **changes})
    waiting = item(asked, at, urgency, action) if action in (Action.HOLD, Action.FLAG) else None
    recording.record(conn, asked, decision(asked, action), waiting)
    return asked, waiting


def held(database: Database, asker: Key, urgency: float = 1.0, **changes: Any) -> ReviewItem:
    """A held answer's review item, as it waits."""
    with database.transaction() as conn:
        waiting: ReviewItem | None = record(conn, asker, Action.HOLD, urgency, **changes)[1]
    assert waiting is not None
    return waiting


def pass_time(database: Database, item_id: str, seconds: float) -> None:
    """As if the database's clock had moved on: every deadline of the item comes nearer."""
    deadlines = {name: review_items.c[name] - seconds for name in ("expires_at", "claim_expires_at")}
    with database.transaction() as conn:
        conn.execute(sa.update(review_items).where(review_items.c.id == item_id).values(deadlines))


def as_if_asked(database: Database, waiting: ReviewItem, **columns: Any) -> ReviewItem:
    """The item as if its policy or its question had said so from the beginning."""
    with database.transaction() as conn:
        conn.execute(sa.update(review_items).where(review_items.c.id == waiting.id).values(columns))
        vouched_anew(conn, waiting.interaction_id)
    changed: ReviewItem = dataclasses.replace(waiting, **columns)
    return changed


def vouched_anew(conn: Connection, interaction_id: str) -> None:
    """The decision's MAC over the rows as they are now: what nobody can make who only has the database."""
    asked, decided, about = (
        conn.execute(sa.select(table).where(column == interaction_id)).one()._mapping
        for table, column in (
            (interactions, interactions.c.id),
            (decisions, decisions.c.interaction_id),
            (review_items, review_items.c.interaction_id),
        )
    )
    vault = vault_of(conn)
    assert vault is not None
    mac = vouching.decision_mac(vault, asked, decided, about)
    conn.execute(sa.update(decisions).where(decisions.c.interaction_id == interaction_id).values(vouched=mac))


def notes_in(conn: Connection) -> int:
    """How many notes wait in the outbox."""
    return int(conn.execute(sa.select(sa.func.count()).select_from(outbox)).scalar_one())


def reread(database: Database, waiting: ReviewItem) -> ReviewItem:
    from storage.review_reads import get_item

    with database.read() as conn:
        found = get_item(conn, waiting.id, waiting.tenant)
    assert found is not None
    return found
