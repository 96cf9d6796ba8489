"""Vouches, once, for decisions and verdicts of before there were MACs, where the audit log tells the same of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log, sealed_events, signed_tree, subjects, vouching
from storage.audit_log import OPERATIONS_TENANT
from storage.audit_query import event_from
from storage.audit_tables import audit_events
from storage.checkpoints import Signer
from storage.database import Database
from storage.errors import AlreadyVouched
from storage.records import AuditEvent, VerdictKind
from storage.rows import Part
from storage.schema_errors import NothingOfBefore
from storage.storable import content_hash, from_json
from storage.tables import decisions, verdicts
from storage.vault import Vault, vault_of
from storage.vouched_records import Case, all_cases

KIND = "records.vouched"
_DELETED = "interaction.deleted"
_DECIDED = "decision"
_TOLD = (_DECIDED, _DELETED, *(kind for kind in audit_log.EVENT_KINDS if kind.startswith("review.")))
_REFERRED = "review.referred"
_ENDED = {
    VerdictKind.APPROVE.value: "review.approved",
    VerdictKind.EDIT.value: "review.edited",
    VerdictKind.REJECT.value: "review.rejected",
}
_WORDS = frozenset({_REFERRED, *_ENDED.values()})
Events = dict[str, list[AuditEvent]]  # by interaction


def vouch_for_earlier(database: Database, actor: str, signer: Signer, *, again: bool = False) -> tuple[int, list[str]]:
    """How many interactions it vouched for, and the ids of those it did not; all in one transaction, with an event.

    `signer`: whose tree the sealed events must be in. `again`: also when it was done before, and for records of a
    version that knew MACs, whose tables lost them by a downgrade.

    Raises AlreadyVouched and NothingOfBefore without `again`: whoever writes to the database can take MACs away at any
    time; TreeDamaged and KeysUnfit for a log that `signer` did not sign.
    """
    done, left = 0, list[str]()
    with database.transaction() as conn:
        if conn.dialect.name == "postgresql":  # so that what is looked through is what was found to be signed
            conn.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        vault = vault_of(conn)
        if vault is None:
            raise ValueError("vault: the database was opened without one, so there is nothing to vouch with.")
        signed_tree.require_signed(conn, signer)
        if not again:
            _require_first_time(conn, vault)
        for cases in all_cases(conn):
            earlier = [case for case in cases if case.decision.vouched is None and case.interaction.deleted_at is None]
            told = _events(conn, vault, [case.id for case in earlier])
            for case in earlier:
                if _as_told(case, told.get(case.id, []), again) and _vouch(conn, vault, case):
                    done += 1
                else:
                    left.append(case.id)
        data = {"interactions": done, "left": len(left)}
        audit_log.append(conn, KIND, actor, OPERATIONS_TENANT, data=data)
    return done, left


def _require_first_time(conn: Connection, vault: Vault) -> None:
    """Raises AlreadyVouched; NothingOfBefore where no event of the log can be of a version without MACs."""
    before = sa.select(audit_events.c.id).where(audit_events.c.kind == KIND).limit(1)
    if conn.execute(before).first() is not None:
        raise AlreadyVouched
    decided = sealed_events.with_seals().where(audit_events.c.kind == _DECIDED, audit_events.c.tier.is_(None))
    if not any(
        sealed_events.is_the_logs(vault, row) and not _of_this_version(event_from(row)) for row in conn.execute(decided)
    ):
        raise NothingOfBefore


def _of_this_version(decided: AuditEvent) -> bool:
    """Whether only versions write such an event of a decision that vouch for what they write: those name its tier."""
    return "tier" in decided.data


def _events(conn: Connection, vault: Vault, interaction_ids: Sequence[str]) -> Events:
    """What the log tells of these interactions, with private facts; what the sealer would refuse is not the log's."""
    table = audit_events.c
    rows = conn.execute(
        sealed_events.with_seals().where(table.interaction_id.in_(interaction_ids), table.kind.in_(_TOLD))
    )
    told: Events = {}
    for event in subjects.revealed(conn, [event_from(row) for row in rows if sealed_events.is_the_logs(vault, row)]):
        told.setdefault(event.interaction_id or "", []).append(event)
    return told


def _as_told(case: Case, told: Sequence[AuditEvent], again: bool) -> bool:
    """Whether the log tells of the decision, of each word and of the item's state what their rows say."""
    decided = [event for event in told if event.kind == _DECIDED]
    since = any(_of_this_version(event) for event in decided)
    whole = _text(case.interaction.answer)
    if whole is None or content_hash(whole) != case.decision.content_hash or (since and not again):
        return False
    gone = any(event.kind == _DELETED for event in told)
    return not gone and _is_decided(case, decided) and _are_said(case, told) and _stands(case, told)


def _is_decided(case: Case, decided: Sequence[AuditEvent]) -> bool:
    asked, item, row = case.interaction, case.item, case.decision.columns
    facts = {name: row[name] for name in ("action", "reason", "confidence", "threshold", "policy_id", "policy_version")}
    facts |= {"decision_id": row["id"], "calibration": row["calibration_id"]}
    since = {"domain": row["domain"], "audit_share": row["audit_share"], "certificate": row["certificate_id"]}
    facts |= {name: value for name, value in since.items() if value is not None}  # of a downgrade they are gone
    facts |= {"key_id": asked.key_id, "model": asked.model, "served_model": asked.served_model}
    about = item.id is None or (item.asked_by, item.action, item.tenant) == (asked.key_id, row["action"], asked.tenant)
    tenants = {asked.tenant, row["tenant"], *(event.tenant for event in decided), *(word.tenant for word in case.words)}
    return about and len(tenants) == 1 and any(_tells(event, facts, row["content_hash"]) for event in decided)


def _are_said(case: Case, told: Sequence[AuditEvent]) -> bool:
    """Whether the log has the rows' words and no other, each as what it did: ended the item, or not."""
    said = {event.data.get("verdict_id"): event for event in told if event.kind in _WORDS}
    return said.keys() == {word.id for word in case.words} and all(_is_said(said[word.id], word) for word in case.words)


def _is_said(event: AuditEvent, word: Part) -> bool:
    kind = _ENDED.get(word.kind) if word.final else _REFERRED
    facts = {"verdict_id": word.id, "verdict": word.kind, "reviewer": word.reviewer_id}
    return event.kind == kind and _tells(event, facts, word.content_hash)


def _stands(case: Case, told: Sequence[AuditEvent]) -> bool:
    """Whether the item is where its last move left it."""
    moves = {event.data["version"]: event.data["to"] for event in told if {"version", "to"} <= event.data.keys()}
    if case.item.id is None:
        return not moves
    return bool(moves) and (case.item.version, case.item.state) == max(moves.items())


def _tells(event: AuditEvent, facts: dict[str, Any], hash_: str | None) -> bool:
    known = {**event.data, **(event.private or {})}
    return {**facts, "content_hash": hash_}.items() <= {"content_hash": None, **known}.items()


def _text(answer: Any) -> str | None:
    """The stored answer's text; None where what is stored is no answer."""
    try:
        found = from_json(answer)
    except (TypeError, ValueError):
        return None
    text = found.get("text") if isinstance(found, dict) else None
    return text if isinstance(text, str) else None


def _vouch(conn: Connection, vault: Vault, case: Case) -> bool:
    """False where a column holds what the program never writes."""
    try:
        decided = vouching.decision_mac(vault, case.interaction.columns, case.decision.columns, case.item.columns)
        words = [(word.id, vouching.verdict_mac(vault, word.columns, case.id)) for word in case.words]
    except (TypeError, UnicodeEncodeError):  # SQLite keeps bytes in a column of text
        return False
    conn.execute(sa.update(decisions).where(decisions.c.id == case.decision.id).values(vouched=decided))
    for word_id, mac in words:
        conn.execute(sa.update(verdicts).where(verdicts.c.id == word_id).values(vouched=mac))
    return True
