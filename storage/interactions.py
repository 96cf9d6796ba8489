"""Records what was asked, answered and decided, and finds it again for its tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import JSONB

from storage import audit_log, erasure, legal_holds, outbox, subjects
from storage.database import now
from storage.errors import InvalidValue, NotFound
from storage.records import Action, Decision, Interaction, ItemState, Outcome, ReviewItem
from storage.rows import (
    decision_from,
    decision_row,
    interaction_from,
    interaction_row,
    item_from,
    item_row,
    verdict_from,
)
from storage.storable import content_hash
from storage.tables import decisions, interactions, review_items, verdicts

_REVIEWED = (Action.HOLD, Action.FLAG)


def record(conn: Connection, interaction: Interaction, decision: Decision, item: ReviewItem | None) -> None:
    """Interaction, decision, review item, audit events and the note to the queue: all or nothing with the transaction.

    Raises InvalidValue, before anything is written, for text that cannot be stored and for records that contradict
    each other.
    """
    _require_consistent(interaction, decision, item)
    rows = (interaction_row(interaction), decision_row(decision, interaction.tenant))
    item_values = None if item is None else item_row(item, interaction)
    at = now(conn)
    subject = subjects.known(conn, interaction.tenant, subjects.name_of(interaction.params, interaction.key_id))
    conn.execute(interactions.insert(), rows[0] | {"subject": None if subject is None else subject.id})
    conn.execute(decisions.insert(), rows[1])
    who_asked, text_hash = _private_facts(interaction), {"content_hash": decision.content_hash}
    _note(conn, "interaction.recorded", interaction, {}, at=at, private=who_asked, subject=subject)
    facts = _decision_facts(interaction, decision)
    _note(conn, "decision", interaction, facts, item, at=at, private=text_hash, subject=subject)
    if item is not None and item_values is not None:
        conn.execute(review_items.insert(), item_values)
        facts = {"to": item.state.value, "version": item.version, "action": item.action.value}
        _note(conn, "review.created", interaction, {**facts, "reason": item.reason.value}, item, at=at)
        outbox.add(conn, outbox.REVIEW_ENQUEUE, {"item_id": item.id, "tenant": item.tenant}, at)


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
    _note(conn, "interaction.deleted", outcome.interaction, {}, outcome.item, actor)
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


def _require_consistent(interaction: Interaction, decision: Decision, item: ReviewItem | None) -> None:
    """What must hold before an answer may ever leave: the decision is about these very bytes."""
    text = interaction.answer.get("text")
    if not isinstance(text, str) or content_hash(text) != interaction.content_hash:
        raise InvalidValue("content_hash", "is not the SHA-256 of the answer's text.")
    if decision.interaction_id != interaction.id or decision.content_hash != interaction.content_hash:
        raise InvalidValue("decision", "is about another interaction or other content.")
    if decision.action is Action.RELEASE and decision.confidence is None:
        raise InvalidValue("decision.action", "is release with unknown confidence; it must be held.")
    if (item is not None) != (decision.action in _REVIEWED):
        raise InvalidValue("item", f"must be given for hold and flag only, and the action is {decision.action.value}.")
    if item is not None:
        same = (item.interaction_id, item.tenant) == (interaction.id, interaction.tenant)
        fresh = (item.state, item.version, item.fencing_token) == (ItemState.PENDING, 1, 0)
        if not same or not fresh or item.claimed_by is not None:
            raise InvalidValue("item", "must belong to this interaction and begin pending, version 1, token 0.")


def _decision_facts(interaction: Interaction, decision: Decision) -> dict[str, Any]:
    confidence = interaction.answer.get("confidence") or {}
    return {
        "decision_id": decision.id,
        "action": decision.action.value,
        "reason": decision.reason.value,
        "confidence": decision.confidence,
        "threshold": decision.threshold,
        "calibration": decision.calibration_id,
        "policy_id": decision.policy_id,
        "policy_version": decision.policy_version,
        "domain": confidence.get("domain"),
        "finish_reason": interaction.answer.get("finish_reason"),
    }


def _private_facts(interaction: Interaction) -> dict[str, Any]:
    """What could tell who asked, or let a short answer be guessed."""
    named = {name: interaction.params[name] for name in ("user", "safety_identifier") if interaction.params.get(name)}
    metadata = {"metadata": interaction.metadata} if interaction.metadata else {}
    return {"content_hash": interaction.content_hash, **named, **metadata}


def _note(
    conn: Connection,
    kind: str,
    interaction: Interaction,
    facts: dict[str, Any],
    item: ReviewItem | None = None,
    actor: str | None = None,
    at: float | None = None,
    private: dict[str, Any] | None = None,
    subject: subjects.Subject | None = None,
) -> None:
    who = {
        "key_id": interaction.key_id,
        "model": interaction.model,
        "served_model": interaction.served_model,
        "request_id": interaction.request_id,
    }
    audit_log.append(
        conn,
        kind,
        actor or f"key:{interaction.key_id}",
        interaction.tenant,
        interaction_id=interaction.id,
        item_id=None if item is None else item.id,
        trace_id=interaction.trace_id,
        data={**who, **facts},
        private=private,
        subject=subject or interaction.subject,
        at=at,
    )
