"""Destroys what is known of a person or an interaction, so that the audit log still verifies and says that it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log, full_text, legal_holds, subjects, tenancy
from storage import tables as t
from storage.audit_tables import audit_events
from storage.audit_tables import subjects as subject_rows
from storage.database import now
from storage.errors import NotFound
from storage.records import OPEN_STATES
from storage.reviews import withdraw

_AT_ONCE = 500  # interactions in one statement
_KEY_KINDS = tuple(kind for kind in audit_log.EVENT_KINDS if kind.startswith("key."))  # about no interaction


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure destroyed."""

    subject: str  # id; nobody can tell any more whose it was
    events: int  # that lost their private facts
    interactions: int  # that lost their content


def erase_subject(conn: Connection, tenant: str, name_or_id: str, actor: str) -> Erased:
    """Destroys the subject's key and name, the private facts of its events and the content of its interactions.

    `name_or_id`: the end user as requests named them, `key:<key id>` for a key itself, or a subject's id. Open review
    items are withdrawn. Asking again under that name begins a new subject. Raises NotFound, UnderLegalHold.
    """
    subject = _wanted(conn, tenant, name_or_id)
    with tenancy.as_system(conn):
        _destroy_key(conn, subject)  # first: who is recording for this subject is waited for, and found below
        ids = _interactions_of(conn, tenant, subject, name_or_id)
        legal_holds.require_free(conn, tenant, subject, ids)
        legal_holds.forget_reasons(conn, tenant, [subject])
        emptied, events = empty(conn, tenant, ids, actor)
        events += _bare(conn, tenant, subject)
        _rename_key(conn, tenant, name_or_id)
    data = {"subject": subject, "events": events, "interactions": emptied}
    audit_log.append(conn, "subject.erased", actor, tenant, data=data, subject=subject)
    return Erased(subject, events, emptied)


def empty(conn: Connection, tenant: str, interaction_ids: Sequence[str], actor: str) -> tuple[int, int]:
    """Destroys the content of these interactions; (how many had any, how many events lost private facts).

    Withdraws open review items. The caller has made sure that no legal hold keeps them, and appends the event that says
    so. Decisions, verdicts and events stay, without hashes from which a short text could be guessed.
    """
    emptied = events = 0
    with tenancy.as_system(conn):
        for start in range(0, len(interaction_ids), _AT_ONCE):
            ids = interaction_ids[start : start + _AT_ONCE]
            _empty_reviews(conn, tenant, ids, actor)
            legal_holds.forget_reasons(conn, tenant, ids)
            emptied += _empty_rows(conn, tenant, ids)
            about = (audit_events.c.interaction_id.in_(ids), audit_events.c.tenant == tenant)
            events += _without_facts(conn, *about)
    return emptied, events


def _wanted(conn: Connection, tenant: str, name_or_id: str) -> str:
    found = subjects.find(conn, tenant, name_or_id)
    if found is None and conn.execute(_unassigned(conn, tenant, name_or_id).limit(1)).first() is not None:
        made = subjects.known(conn, tenant, name_or_id)  # so that the erasure has a subject to name
        found = None if made is None else made.id
    if found is None:
        raise NotFound("subject", name_or_id)
    return found


def _destroy_key(conn: Connection, subject: str) -> None:
    gone = {"name_mac": None, "wrapped_key": None, "erased_at": now(conn)}
    known = (subject_rows.c.id == subject, subject_rows.c.erased_at.is_(None))
    if conn.execute(sa.update(subject_rows).where(*known).values(gone)).rowcount != 1:
        raise NotFound("subject", subject)  # somebody else erased it at this instant


def _interactions_of(conn: Connection, tenant: str, subject: str, name: str) -> list[str]:
    table = t.interactions.c
    mine = sa.select(table.id).where(table.tenant == tenant, table.subject == subject)
    return [*conn.execute(mine).scalars(), *conn.execute(_unassigned(conn, tenant, name)).scalars()]


def _unassigned(conn: Connection, tenant: str, name: str) -> sa.Select[str]:
    """Interactions of that name from before subjects were kept."""
    table = t.interactions.c
    # SQLite's functions read JSON out of text, where a cast would make a number of it
    params = (
        sa.cast(table.params, sa.JSON) if conn.dialect.name == "postgresql" else sa.type_coerce(table.params, sa.JSON)
    )
    users = [sa.func.nullif(params[field].as_string(), "") for field in ("safety_identifier", "user")]
    asked_by = sa.func.coalesce(*users, sa.literal(subjects.name_of_key("")) + table.key_id)
    open_ones = (table.tenant == tenant, table.subject.is_(None), table.deleted_at.is_(None))
    return sa.select(table.id).where(*open_ones, asked_by == name)


def _empty_reviews(conn: Connection, tenant: str, ids: Sequence[str], actor: str) -> None:
    items = t.review_items.c
    found = sa.select(items.id, items.state).where(items.interaction_id.in_(ids), items.tenant == tenant)
    # kept: a word or draft that somebody writes meanwhile is waited for, and emptied too
    rows = conn.execute(found.order_by(items.id).with_for_update(key_share=True)).all()
    for row in rows:
        if row.state in OPEN_STATES:
            withdraw(conn, row.id, actor, tenant)
    item_ids = [row.id for row in rows]
    conn.execute(sa.delete(t.drafts).where(t.drafts.c.item_id.in_(item_ids)))
    conn.execute(sa.update(t.review_items).where(items.id.in_(item_ids)).values(domain=None))  # as the caller named it
    without_hash = sa.case((t.verdicts.c.content_hash.is_not(None), ""))
    blank = {"content": None, "reason": "", "content_hash": without_hash, "vouched": None}  # nothing leaves any more
    conn.execute(sa.update(t.verdicts).where(t.verdicts.c.item_id.in_(item_ids)).values(blank))


def _empty_rows(conn: Connection, tenant: str, ids: Sequence[str]) -> int:
    table = t.interactions.c
    nothing = {"messages": "[]", "params": "{}", "answer": "{}", "metadata": "{}", "content_hash": ""}
    gone = {**nothing, "body_hash": None, "request_id": "", "deleted_at": now(conn)}
    filled = (table.id.in_(ids), table.tenant == tenant, table.deleted_at.is_(None))
    blank = {"content_hash": "", "vouched": None}
    emptied = conn.execute(sa.update(t.interactions).where(*filled).values(gone)).rowcount
    conn.execute(sa.update(t.decisions).where(t.decisions.c.interaction_id.in_(ids)).values(blank))
    full_text.forget(conn, ids)
    conn.execute(sa.update(t.idempotency).where(t.idempotency.c.interaction_id.in_(ids)).values(body_hash=""))
    return emptied


def _bare(conn: Connection, tenant: str, subject: str) -> int:
    """Of the subject's events that are about no interaction; found by their kinds, which have an index."""
    table = audit_events.c
    return _without_facts(conn, table.tenant == tenant, table.kind.in_(_KEY_KINDS), table.subject == subject)


def _without_facts(conn: Connection, *which: sa.ColumnElement[bool]) -> int:
    """The commitment stays, and with it the event's hash."""
    sealed = sa.update(audit_events).where(*which, audit_events.c.sealed.is_not(None))
    return conn.execute(sealed.values(salt=None, sealed=None)).rowcount


def _rename_key(conn: Connection, tenant: str, name: str) -> None:
    prefix = subjects.name_of_key("")
    if name.startswith(prefix):
        mine = (t.keys.c.id == name.removeprefix(prefix), t.keys.c.tenant == tenant)
        own = sa.select(t.keys.c.policy_id, t.keys.c.name).where(*mine)  # a policy made with a key has the key's name
        named = sa.tuple_(t.policies.c.id, t.policies.c.name).in_(own)
        conn.execute(
            sa.update(t.policies).where(named, t.policies.c.tenant == tenant).values(name=subjects.ERASED_NAME)
        )
        conn.execute(sa.update(t.keys).where(*mine).values(name=subjects.ERASED_NAME))
