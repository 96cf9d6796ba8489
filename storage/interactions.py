"""Finds what was asked, answered and decided again for its tenant, and deletes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import JSONB

from storage import audit_log, erasure, legal_holds
from storage.errors import NotFound
from storage.recording import who
from storage.records import Outcome
from storage.rows import decision_from, interaction_from, item_from, verdict_from
from storage.tables import decisions, interactions, review_items, verdicts


def get_outcome(conn: Connection, interaction_id: str, tenant: str) -> Outcome | None:
    """None when there is none, it was deleted, or it is another tenant's."""
    found = _outcomes(conn, _mine(tenant).where(interactions.c.id == interaction_id))
    return found[0] if found else None


def get_outcomes(conn: Connection, interaction_ids: Sequence[str], tenant: str) -> dict[str, Outcome]:
    """By interaction id; those that `get_outcome` would not find are left out."""
    found = _outcomes(conn, _mine(tenant).where(interactions.c.id.in_(interaction_ids)))
    return {outcome.interaction.id: outcome for outcome in found}


def traceparent_of(conn: Connection, interaction_id: str, tenant: str) -> str | None:
    """Of the request that asked, also when its content was deleted."""
    mine = (interactions.c.id == interaction_id, interactions.c.tenant == tenant)
    return conn.execute(sa.select(interactions.c.traceparent).where(*mine)).scalar()


def list_outcomes(
    conn: Connection,
    tenant: str,
    *,
    after: str | None = None,
    limit: int = 20,
    order: Literal["asc", "desc"] = "desc",
    model: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> list[Outcome]:
    """By time of creation; `after` is the last interaction's id of the page before. Raises NotFound for a foreign one.

    `metadata`: only interactions that carry all of these pairs.
    """
    table = interactions.c
    query = _mine(tenant)
    if model is not None:
        query = query.where(table.model == model)
    for name, value in (metadata or {}).items():
        query = query.where(_has_pair(conn, name, value))
    place = sa.tuple_(table.created_at, table.id)
    if after is not None:
        last = conn.execute(sa.select(table.created_at).where(table.id == after, table.tenant == tenant)).scalar()
        if last is None:
            raise NotFound("interaction", after)
        query = query.where(place > (last, after) if order == "asc" else place < (last, after))
    columns = (table.created_at, table.id)
    query = query.order_by(*columns) if order == "asc" else query.order_by(*(column.desc() for column in columns))
    return _outcomes(conn, query.limit(limit))


def delete(conn: Connection, interaction_id: str, tenant: str, actor: str) -> bool:
    """Removes the content for good, private facts of its events included, and withdraws an open review item.

    Decision and audit events stay. False when there is nothing to delete. Raises UnderLegalHold.
    """
    outcome = get_outcome(conn, interaction_id, tenant)
    if outcome is None:
        return False
    legal_holds.require_free(conn, tenant, outcome.interaction.subject, [interaction_id])
    erasure.empty(conn, tenant, [interaction_id], actor)
    _tell_deleted(conn, outcome, actor)
    return True


def _mine(tenant: str) -> sa.Select[Any]:
    return sa.select(interactions).where(interactions.c.tenant == tenant, interactions.c.deleted_at.is_(None))


def _outcomes(conn: Connection, query: sa.Select[Any]) -> list[Outcome]:
    """Four queries however many interactions there are."""
    found = [interaction_from(row) for row in conn.execute(query)]
    ids = [interaction.id for interaction in found]
    if not ids:
        return []
    decided = {
        row.interaction_id: decision_from(row)
        for row in conn.execute(sa.select(decisions).where(decisions.c.interaction_id.in_(ids)))
    }
    items = {
        row.interaction_id: item_from(row)
        for row in conn.execute(sa.select(review_items).where(review_items.c.interaction_id.in_(ids)))
    }
    final = sa.select(verdicts).where(verdicts.c.item_id.in_([item.id for item in items.values()]), verdicts.c.final)
    words = {row.item_id: verdict_from(row) for row in conn.execute(final)} if items else {}
    outcomes = []
    for interaction in found:
        item = items.get(interaction.id)
        verdict = None if item is None else words.get(item.id)
        outcomes.append(Outcome(interaction, decided[interaction.id], item, verdict))
    return outcomes


def _has_pair(conn: Connection, name: str, value: str) -> sa.ColumnElement[bool]:
    if conn.dialect.name == "postgresql":
        return sa.cast(interactions.c.metadata, JSONB).contains({name: value})
    pairs = sa.func.json_each(interactions.c.metadata).table_valued("key", "value")
    return sa.exists(sa.select(1).select_from(pairs).where(pairs.c.key == name, pairs.c.value == value))


def _tell_deleted(conn: Connection, outcome: Outcome, actor: str) -> None:
    interaction, item = outcome.interaction, outcome.item
    audit_log.append(
        conn,
        "interaction.deleted",
        actor,
        interaction.tenant,
        interaction_id=interaction.id,
        item_id=None if item is None else item.id,
        trace_id=interaction.trace_id,
        data=who(interaction),
        subject=interaction.subject,
    )
