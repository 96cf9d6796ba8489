"""Finds what was asked, answered and decided again for its tenant, and deletes it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import JSONB

from storage import audit_log, erasure, legal_holds, vouching
from storage.errors import NotFound
from storage.recording import who
from storage.records import Outcome, Vouched
from storage.rows import decision_from, interaction_from, item_from, parts, verdict_from
from storage.tables import decisions, interactions, review_items, verdicts
from storage.vault import vault_of

_WHOLE = (interactions, decisions, review_items, verdicts)


def get_outcome(conn: Connection, interaction_id: str, tenant: str) -> Outcome | None:
    """None when there is none, it was deleted, or it is another tenant's."""
    found = _outcomes(conn, _one(), {"tenant": tenant, "interaction": interaction_id})
    return found[0] if found else None


def get_outcome_of(conn: Connection, item_id: str, tenant: str) -> Outcome | None:
    """Of the interaction that this review item is about; None where `get_outcome` finds none."""
    found = _outcomes(conn, _of_item(), {"tenant": tenant, "item": item_id})
    return found[0] if found else None


def get_outcomes(conn: Connection, interaction_ids: Sequence[str], tenant: str) -> dict[str, Outcome]:
    """By interaction id; those that `get_outcome` would not find are left out."""
    found = _outcomes(conn, _with_all(_mine(tenant).where(interactions.c.id.in_(interaction_ids))))
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
    return _outcomes(conn, _with_all(query.limit(limit)))


def delete(conn: Connection, interaction_id: str, tenant: str, actor: str) -> bool:
    """Removes the content for good, private facts of its events included, and withdraws an open review item.

    Decision and audit events stay. False when there is nothing to delete. Raises UnderLegalHold.
    """
    outcome = get_outcome(conn, interaction_id, tenant)
    if outcome is None:
        return False
    legal_holds.require_free(conn, tenant, outcome.interaction.subject, [interaction_id])
    emptied, _ = erasure.empty(conn, tenant, [interaction_id], actor)
    if not emptied:  # somebody else deleted it at this instant
        return False
    _tell_deleted(conn, outcome, actor)
    return True


@functools.cache
def _one() -> sa.Select[Any]:
    """Made once: making it took longer than running it."""
    return _with_all(_mine(sa.bindparam("tenant")).where(interactions.c.id == sa.bindparam("interaction")))


@functools.cache
def _of_item() -> sa.Select[Any]:
    named = (review_items.c.id == sa.bindparam("item"), review_items.c.tenant == sa.bindparam("tenant"))
    return _with_all(_mine(sa.bindparam("tenant"))).where(*named)


def _mine(tenant: str | sa.BindParameter[Any]) -> sa.Select[Any]:
    return sa.select(interactions).where(interactions.c.tenant == tenant, interactions.c.deleted_at.is_(None))


def _outcomes(conn: Connection, query: sa.Select[Any], given: Mapping[str, Any] | None = None) -> list[Outcome]:
    """What a query made by `_with_all` finds."""
    outcomes, vault = [], vault_of(conn)
    for row in conn.execute(query, given):
        asked, decided, item, word = parts(row, _WHOLE)
        # judged first: what is not as it was written may be anything
        vouched = vouching.vouched(vault, asked.columns, decided.columns, item.columns, word.columns)
        outcomes.append(
            Outcome(
                interaction_from(asked, as_written=vouched is Vouched.OURS),
                decision_from(decided),
                None if item.id is None else item_from(item),
                None if word.id is None else verdict_from(word),
                vouched,
            )
        )
    return outcomes


def _with_all(query: sa.Select[Any]) -> sa.Select[Any]:
    """A query for interactions, with all that became of them: one statement however many they are."""
    final = sa.and_(verdicts.c.item_id == review_items.c.id, verdicts.c.final)
    tables = interactions.join(decisions).outerjoin(review_items).outerjoin(verdicts, final)
    return query.with_only_columns(*_WHOLE, maintain_column_froms=False).select_from(tables)


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
