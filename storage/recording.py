"""Writes what was asked, answered and decided: the records of many questions in one statement a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from storage import audit_log, full_text, idempotency, outbox, retries, subjects, vouching
from storage.audit_log import NewEvent
from storage.bulk import insert_rows
from storage.database import now
from storage.errors import InvalidValue, Superseded
from storage.idempotency import Hold
from storage.records import Action, Decision, Interaction, ItemState, Reason, ReviewItem, Tier
from storage.retries import Sent
from storage.rows import decision_row, interaction_row, item_row
from storage.storable import content_hash, to_json
from storage.subjects import Subject
from storage.tables import decisions, interactions, review_items
from storage.tables import outbox as notes
from storage.vault import Vault, vault_of

Rows = tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]  # interaction, decision, review item
_REVIEWED = (Action.HOLD, Action.FLAG)


@dataclass(frozen=True, slots=True)
class Recording:
    """One question's records, and by what it is known when it was sent before."""

    interaction: Interaction
    decision: Decision
    item: ReviewItem | None = None
    sent: Sent | None = None  # without an Idempotency-Key
    hold: Hold | None = None  # with one
    tier: Tier = Tier.BASE  # of the policy that decided
    words: Sequence[str] = ()  # that are kept for searches of the audit log


def record(conn: Connection, interaction: Interaction, decision: Decision, item: ReviewItem | None) -> None:
    """`record_many` for one that was not sent before."""
    record_many(conn, [Recording(interaction, decision, item)])


def record_many(conn: Connection, recordings: Sequence[Recording]) -> list[str]:
    """Interactions, decisions, review items, audit events and notes to the queue: all or nothing with the transaction.

    Returns for each the id of the interaction that stands: its own, or where it was recorded before, that one's, and
    then nothing is written. To be called once in a transaction. Raises, before anything is written, InvalidValue for
    text that cannot be stored and for records that contradict each other; Superseded when another attempt took an
    Idempotency-Key over.
    """
    rows = {each.interaction.id: _rows(each) for each in recordings}
    stands = retries.standing(conn, [each.sent for each in recordings if each.sent is not None])
    fresh = [each for each in recordings if each.interaction.id not in stands]
    _finish(conn, fresh)
    at, vault = now(conn), vault_of(conn)
    known = subjects.known_many(conn, [_name(each) for each in fresh])
    owners = {each.interaction.id: known.get(_name(each)) for each in fresh}
    written = [rows[each.interaction.id] for each in fresh]
    subject_ids = [subject and subject.id for subject in owners.values()]
    insert_rows(conn, interactions, [row[0] | {"subject": id_} for row, id_ in zip(written, subject_ids, strict=True)])
    full_text.keep(conn, [(each.interaction, each.words) for each in fresh])
    insert_rows(conn, decisions, [row[1] | {"vouched": _vouched(vault, row)} for row in written])
    insert_rows(conn, review_items, [row[2] for row in written if row[2] is not None])
    insert_rows(conn, notes, [_note(each.item, at) for each in fresh if each.item is not None])
    audit_log.append_many(conn, [event for each in fresh for event in _events(each, owners[each.interaction.id], at)])
    return [stands.get(each.interaction.id, each.interaction.id) for each in recordings]


def who(interaction: Interaction) -> dict[str, Any]:
    """What every event about an interaction tells of it."""
    return {
        "key_id": interaction.key_id,
        "model": interaction.model,
        "served_model": interaction.served_model,
    }


def _vouched(vault: Vault | None, rows: Rows) -> str | None:
    interaction, decision, item = rows
    return None if vault is None else vouching.decision_mac(vault, interaction, decision, item)


def _rows(recording: Recording) -> Rows:
    interaction, decision, item = recording.interaction, recording.decision, recording.item
    _require_consistent(interaction, decision, item)
    item_values = None if item is None else item_row(item, interaction)
    return interaction_row(interaction), decision_row(decision, interaction.tenant), item_values


def _finish(conn: Connection, fresh: Sequence[Recording]) -> None:
    holds = {each.interaction.id: each.hold for each in fresh if each.hold is not None}
    for interaction_id in idempotency.finish_many(conn, holds):
        raise Superseded(holds[interaction_id].name)


def _name(recording: Recording) -> tuple[str, str]:
    """Whose question it is: tenant and name."""
    interaction = recording.interaction
    return interaction.tenant, subjects.name_of(interaction.params, interaction.key_id)


def _note(item: ReviewItem, at: float) -> dict[str, Any]:
    payload = to_json("payload", {"item_id": item.id, "tenant": item.tenant})
    return {"topic": outbox.REVIEW_ENQUEUE, "payload": payload, "created_at": at}


def _events(recording: Recording, subject: Subject | None, at: float) -> Iterator[NewEvent]:
    interaction, decision, item = recording.interaction, recording.decision, recording.item

    def event(kind: str, facts: dict[str, Any], private: dict[str, Any] | None, about: ReviewItem | None) -> NewEvent:
        return NewEvent(
            kind=kind,
            actor=f"key:{interaction.key_id}",
            tenant=interaction.tenant,
            interaction_id=interaction.id,
            item_id=None if about is None else about.id,
            trace_id=interaction.trace_id,
            data={**who(interaction), **facts},
            private=private,
            subject=subject,
            at=at,
        )

    yield event("interaction.recorded", {}, _private_facts(interaction), None)
    yield event("decision", _decision_facts(recording), {"content_hash": decision.content_hash}, item)
    if item is not None:
        facts = {"to": item.state.value, "version": item.version, "action": item.action.value}
        yield event("review.created", {**facts, "reason": item.reason.value, "tier": item.tier.value}, None, item)


def _require_consistent(interaction: Interaction, decision: Decision, item: ReviewItem | None) -> None:
    """What must hold before an answer may ever leave: the decision is about these very bytes."""
    text = interaction.answer.get("text")
    if not isinstance(text, str) or content_hash(text) != interaction.content_hash:
        raise InvalidValue("content_hash", "is not the SHA-256 of the answer's text.")
    if decision.interaction_id != interaction.id or decision.content_hash != interaction.content_hash:
        raise InvalidValue("decision", "is about another interaction or other content.")
    if decision.action is Action.RELEASE and decision.confidence is None:
        raise InvalidValue("decision.action", "is release with unknown confidence; it must be held.")
    if (decision.action is not Action.RELEASE) and decision.audit_share is not None:
        raise InvalidValue("decision.audit_share", f"is for release only, and the action is {decision.action.value}.")
    audited = item is not None and item.reason is Reason.RANDOM_AUDIT and bool(decision.audit_share)
    if (item is not None) != (decision.action in _REVIEWED or audited):
        action = decision.action.value
        raise InvalidValue("item", f"must be given for hold, flag and random audits only, and the action is {action}.")
    if item is not None:
        if item.action is not decision.action:
            raise InvalidValue("item.action", "is another one than its decision's.")
        same = (item.interaction_id, item.tenant) == (interaction.id, interaction.tenant)
        fresh = (item.state, item.version, item.fencing_token) == (ItemState.PENDING, 1, 0)
        if not same or not fresh or item.claimed_by is not None:
            raise InvalidValue("item", "must belong to this interaction and begin pending, version 1, token 0.")


def _decision_facts(recording: Recording) -> dict[str, Any]:
    interaction, decision = recording.interaction, recording.decision
    confidence = interaction.answer.get("confidence") or {}
    return {
        "decision_id": decision.id,
        "action": decision.action.value,
        "reason": decision.reason.value,
        "confidence": decision.confidence,
        "threshold": decision.threshold,
        "calibration": decision.calibration_id,
        "certificate": decision.certificate_id,
        "audit_share": decision.audit_share,
        "policy_id": decision.policy_id,
        "policy_version": decision.policy_version,
        "tier": recording.tier.value,
        "domain": decision.domain or confidence.get("domain"),
        "finish_reason": interaction.answer.get("finish_reason"),
    }


def _private_facts(interaction: Interaction) -> dict[str, Any]:
    """What could tell who asked, or let a short answer be guessed."""
    named = {name: interaction.params[name] for name in ("user", "safety_identifier") if interaction.params.get(name)}
    metadata = {"metadata": interaction.metadata} if interaction.metadata else {}
    # a caller may send a request id of its own, with whatever in it
    return {"content_hash": interaction.content_hash, "request_id": interaction.request_id, **named, **metadata}
