"""Knows whose private facts events hold: each subject has a key, is found by its name's HMAC, and can be forgotten."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from storage.audit_tables import audit_events, subjects
from storage.database import now
from storage.errors import InvalidValue, WrongMasterKey
from storage.ids import new_id
from storage.records import AuditEvent, PrivateState
from storage.storable import checked_text, from_json
from storage.tables import interactions
from storage.vault import Vault, new_key, open_sealed, vault_of

SUBJECT = "sub_"  # begins every id
ERASED_NAME = "(erased)"  # what a key is called once whoever stands behind it is erased


@dataclass(frozen=True, slots=True)
class Subject:
    """A person, or whoever stands behind a key, as a tenant knows them."""

    id: str
    key: bytes | None = field(repr=False)  # None: erased, or wrapped by a master key that is not ours


def name_of(params: Mapping[str, Any], key_id: str) -> str:
    """Whose question it is: the end user that the request names, else the key it came with."""
    named = params.get("safety_identifier") or params.get("user")
    return str(named) if named else name_of_key(key_id)


def name_of_key(key_id: str) -> str:
    return f"key:{key_id}"


def known(conn: Connection, tenant: str, name: str) -> Subject | None:
    """The subject of that name, made when it is new; None without a vault."""
    return known_many(conn, [(tenant, name)]).get((tenant, name))


def known_many(conn: Connection, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Subject]:
    """Subjects by (tenant, name), made where they are new; one or two statements. Empty without a vault.

    They stay locked against erasure until the transaction ends: what is sealed now is found by who erases.
    Raises InvalidValue for a name that is no text.
    """
    vault = vault_of(conn)
    if vault is None:
        return {}
    macs = {(tenant, name): vault.name_mac(tenant, checked_text("user", name)) for tenant, name in names}
    rows = _by_macs(conn, macs.values())
    missing = [(tenant, macs[tenant, name]) for tenant, name in macs if macs[tenant, name] not in rows]
    if missing:
        _insert(conn, vault, missing)
        rows |= _by_macs(conn, [mac for _, mac in missing])
    return {each: _subject(vault, rows[mac]) for each, mac in macs.items()}


def by_ids(conn: Connection, ids: Collection[str]) -> dict[str, Subject]:
    """Also erased ones, which have no key any more; locked as by `known_many`. Empty without a vault."""
    vault = vault_of(conn)
    if vault is None or not ids:
        return {}
    query = sa.select(subjects).where(subjects.c.id.in_(sorted(ids))).order_by(subjects.c.id)
    return {row.id: _subject(vault, row) for row in conn.execute(query.with_for_update(read=True, key_share=True))}


def of_interaction(conn: Connection, interaction_id: str) -> Subject | None:
    """Whose question it was; None without a vault.

    An interaction of before there were subjects, or recorded without a vault, counts as its key's.
    """
    table = interactions.c
    query = sa.select(table.subject, table.tenant, table.key_id).where(table.id == interaction_id)
    row = conn.execute(query).one()
    if row.subject is None:
        return known(conn, row.tenant, name_of_key(row.key_id))
    return by_ids(conn, {row.subject}).get(row.subject)


def find(conn: Connection, tenant: str, name_or_id: str) -> str | None:
    """The id of the subject of this name or id; None: the tenant knows none, or erased it.

    Raises InvalidValue for the id of one that is the name of another, as versions before took.
    """
    vault = vault_of(conn)
    table = subjects.c
    same = table.id == name_or_id
    if vault is not None:
        same = sa.or_(same, table.name_mac == vault.name_mac(tenant, checked_text("subject", name_or_id)))
    query = sa.select(table.id).where(table.tenant == tenant, table.erased_at.is_(None), same)
    found = conn.execute(query).scalars().all()
    if len(found) > 1:
        raise InvalidValue(
            "subject", f"is the id of one person and the name of another: {' and '.join(sorted(found))}."
        )
    return found[0] if found else None


def revealed(conn: Connection, events: Sequence[AuditEvent]) -> list[AuditEvent]:
    """The events with their private facts, and for each whether it has any that can be read: `private_state`."""
    with_facts = [event for event in events if event.commitment is not None]
    if not with_facts:
        return [dataclasses.replace(event, private_state=PrivateState.NONE) for event in events]
    table = audit_events.c
    within = table.at.between(min(event.at for event in with_facts), max(event.at for event in with_facts))
    query = sa.select(table.id, table.subject, table.sealed, subjects.c.wrapped_key)
    query = query.join_from(audit_events, subjects, table.subject == subjects.c.id, isouter=True)
    rows = {row.id: row for row in conn.execute(query.where(within, table.id.in_([each.id for each in with_facts])))}
    return [_revealed(vault_of(conn), event, rows.get(event.id)) for event in events]


def require_own_master(conn: Connection) -> None:
    """Raises WrongMasterKey when subjects' keys were wrapped by another master key than the vault's."""
    vault = vault_of(conn)
    if vault is None:
        return
    others = sa.select(subjects.c.master_id).where(subjects.c.wrapped_key.is_not(None))
    other = conn.execute(others.where(subjects.c.master_id != vault.id).limit(1)).scalar()
    if other is not None:
        raise WrongMasterKey(other, vault.id)


def _revealed(vault: Vault | None, event: AuditEvent, row: Any) -> AuditEvent:
    if event.commitment is None:
        return dataclasses.replace(event, private_state=PrivateState.NONE)
    if row is None or row.sealed is None:
        return dataclasses.replace(event, private_state=PrivateState.ERASED)
    key = None if vault is None or row.wrapped_key is None else vault.unwrap(row.wrapped_key, row.subject)
    facts = None if key is None else open_sealed(key, base64.b64decode(row.sealed), event.id)
    if facts is None:
        return dataclasses.replace(event, private_state=PrivateState.UNREADABLE)
    return dataclasses.replace(event, private=from_json(facts), private_state=PrivateState.OPEN)


def _by_macs(conn: Connection, macs: Collection[str]) -> dict[str, sa.Row[Any]]:
    query = sa.select(subjects).where(subjects.c.name_mac.in_(sorted(set(macs)))).order_by(subjects.c.id)
    # PostgreSQL: erasing changes name_mac, which waits for this lock; SQLite has one writer, which is lock enough
    return {row.name_mac: row for row in conn.execute(query.with_for_update(read=True, key_share=True))}


def _insert(conn: Connection, vault: Vault, missing: Iterable[tuple[str, str]]) -> None:
    at = now(conn)
    rows = []
    for tenant, mac in sorted(missing):  # one order for all, so that two transactions never wait for each other
        subject_id = new_id(SUBJECT.removesuffix("_"))
        made = {"id": subject_id, "tenant": tenant, "name_mac": mac, "master_id": vault.id, "created_at": at}
        rows.append({**made, "wrapped_key": vault.wrap(new_key(), subject_id)})
    insert = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    # another transaction may make the same subject at this instant: then that one is read afterwards
    conn.execute(insert(subjects).on_conflict_do_nothing(), rows)


def _subject(vault: Vault, row: sa.Row[Any]) -> Subject:
    return Subject(row.id, None if row.wrapped_key is None else vault.unwrap(row.wrapped_key, row.id))
