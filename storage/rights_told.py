"""Compares keys, policies and certificates, which decide what may be done, with the events that tell of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import sealed_events, subjects
from storage.audit_log import OPERATIONS_TENANT
from storage.audit_query import event_from
from storage.audit_tables import audit_events
from storage.database import Database
from storage.records import AuditEvent
from storage.storable import from_json
from storage.tables import certificates, keys, policies
from storage.vault import vault_of

_CREATED, _UPDATED, _REVOKED, _PURGED = "key.created", "key.updated", "key.revoked", "audit.purged"
_POLICY = ("policy.created", "policy.updated")
_RULES = ("threshold", "below", "review_seconds", "tier", "four_eyes", "without_certificate", "audit_share")
_STORED, _ACTIVATED, _SUSPENDED = "certificate.stored", "certificate.activated", "certificate.suspended"
_MAY_BE = {  # after the last event of it
    _STORED: ("stored",),
    _ACTIVATED: ("in_force", "superseded"),
    _SUSPENDED: ("suspended", "superseded"),
}
Rights = dict[str, Any]


def otherwise(database: Database) -> list[str]:
    """A sentence for each key, policy and certificate that is not as its events say. Raises DatabaseUnreachable.

    Of what was made before the last purge, whose events may be gone, only what the log still tells is compared.
    """
    with database.read() as conn:
        return on(conn)


def on(conn: Connection) -> list[str]:
    """`otherwise`, as one transaction sees it."""
    told = _told(conn)
    purged = max((event.data["cutoff"] for event in told if event.kind == _PURGED), default=float("-inf"))
    compared = (*_keys(conn, told), *_policies(conn, told), *_certificates(conn, told))
    return [what for created_at, what in compared if created_at is None or created_at >= purged]


def _told(conn: Connection) -> list[AuditEvent]:
    """The log's events of keys, policies, certificates and purges, oldest first, with private facts."""
    vault, table = vault_of(conn), audit_events.c
    if vault is None:
        raise ValueError("vault: the database was opened without one, so nobody can tell which events are the log's.")
    kinds = (_CREATED, _UPDATED, _REVOKED, *_POLICY, *_MAY_BE, _PURGED)
    rows = conn.execute(sealed_events.with_seals().where(table.kind.in_(kinds)).order_by(table.id)).all()
    events = [event_from(row) for row in rows if sealed_events.is_the_logs(vault, row)]
    return subjects.revealed(
        conn, [each for each in events if each.kind != _PURGED or each.tenant == OPERATIONS_TENANT]
    )


def _keys(conn: Connection, told: Sequence[AuditEvent]) -> Iterator[tuple[float | None, str]]:
    """What is not as told, each with when its row says that it was made, where nothing tells of it."""
    of = _grouped(told, (_CREATED, _UPDATED, _REVOKED), lambda event: event.data.get("key_id"))
    for row in conn.execute(sa.select(keys).order_by(keys.c.id)):
        mine = of.get(row.id, [])
        first = next((event for event in mine if event.kind == _CREATED), None)
        if first is None:
            yield row.created_at, f"key {row.id} is there, and the log tells of no {_CREATED} of it"
            continue
        skills = [event.data["skills"] for event in mine if "skills" in event.data]
        revoked = any(event.kind == _REVOKED for event in mine)
        private = first.private or {}
        said: Rights = {name: first.data[name] for name in ("policy_id", "expires_at") if name in first.data}
        said |= {"tenant": first.tenant, "roles": ",".join(first.data.get("roles", ())), "revoked": revoked}
        said |= {"skills": skills[-1]} if skills else {}
        said |= {"secret_hash": private["secret_hash"]} if "secret_hash" in private else {}
        found = {**row._mapping, "revoked": row.revoked_at is not None}
        found["skills"] = None if row.skills is None else from_json(row.skills)
        yield from _different(f"key {row.id}", said, found)


def _policies(conn: Connection, told: Sequence[AuditEvent]) -> Iterator[tuple[float | None, str]]:
    of = _grouped(told, _POLICY, lambda event: (event.data.get("policy_id"), event.data.get("policy_version")))
    for row in conn.execute(sa.select(policies).order_by(policies.c.id, policies.c.version)):
        named, mine = f"policy {row.id}, version {row.version},", of.get((row.id, row.version), [])
        if not mine:
            yield row.created_at, f"{named} is there, and the log tells of no such version"
            continue
        said = {name: mine[0].data[name] for name in _RULES if name in mine[0].data}
        yield from _different(named, {**said, "tenant": mine[0].tenant}, row._mapping)


def _certificates(conn: Connection, told: Sequence[AuditEvent]) -> Iterator[tuple[float | None, str]]:
    of = _grouped(told, tuple(_MAY_BE), lambda event: event.data.get("certificate"))
    activated = [event.data for event in told if event.kind == _ACTIVATED]
    latest = {data.get("model"): data.get("certificate") for data in activated}
    for row in conn.execute(sa.select(certificates).order_by(certificates.c.id)):
        mine = of.get(row.id, [])
        if not mine or mine[0].kind != _STORED:
            yield row.created_at, f"certificate {row.id} is there, and the log tells of no {_STORED} of it"
        elif row.state not in _MAY_BE[mine[-1].kind]:
            yield None, f"certificate {row.id} is {row.state}, and the log last tells {mine[-1].kind} of it"
        elif row.state == "in_force" and latest.get(row.model) != row.id:
            yield None, f"certificate {row.id} is in force, and the log tells that another one took its place"


def _different(named: str, said: Rights, found: Any) -> Iterator[tuple[float | None, str]]:
    """Without a time: the log does tell of it, so nothing of it was purged."""
    names = sorted(name for name in said if said[name] != found[name])
    if names:
        yield None, f"{named} has not the {', '.join(names)} that the log tells of"


def _grouped(
    events: Sequence[AuditEvent], kinds: Sequence[str], by: Callable[[AuditEvent], Any]
) -> dict[Any, list[AuditEvent]]:
    found: dict[Any, list[AuditEvent]] = {}
    for event in events:
        if event.kind in kinds:
            found.setdefault(by(event), []).append(event)
    return found
