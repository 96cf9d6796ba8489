"""Knows what an Idempotency-Key stands for: an attempt under way, then the interaction that it recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from storage.database import now
from storage.errors import Superseded
from storage.records import Key
from storage.tables import idempotency
from storage.vault import Vault, vault_of

SWEPT = 1000  # entries removed in one go


@dataclass(frozen=True, slots=True)
class Hold:
    """The right of one attempt to record what an Idempotency-Key stands for."""

    key_id: str
    name: str  # the header's value
    owner: str  # the attempt


@dataclass(frozen=True, slots=True)
class Replay:
    """The request was recorded before."""

    interaction_id: str


@dataclass(frozen=True, slots=True)
class InFlight:
    """Another attempt is at work on it."""


@dataclass(frozen=True, slots=True)
class OtherBody:
    """The name was used for another request."""


def begin(
    conn: Connection, key: Key, name: str, body_hash: str, owner: str, lease_seconds: float, keep_seconds: float
) -> Hold | Replay | InFlight | OtherBody:
    """Takes `name` for the attempt `owner`, or says why not. An attempt whose lease ended is superseded.

    An entry ends `keep_seconds` after it began; then the name is free for anything.
    """
    at = now(conn)
    row = {
        "key_id": key.id,
        "name": kept(vault_of(conn), key.id, name),
        "tenant": key.tenant,
        "body_hash": body_hash,
        "owner": owner,
        "lease_expires_at": at + lease_seconds,
        "interaction_id": None,
        "created_at": at,
        "expires_at": at + keep_seconds,
    }
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    entry = idempotency.c
    left = sa.and_(entry.interaction_id.is_(None), entry.lease_expires_at <= at, entry.body_hash == body_hash)
    taken = insert(idempotency).values(row).on_conflict_do_update(
        index_elements=["key_id", "name"], set_=row, where=sa.or_(left, entry.expires_at <= at)
    )  # fmt: skip
    if conn.execute(taken.returning(entry.owner)).first() is not None:
        return Hold(key.id, name, owner)
    found = conn.execute(sa.select(idempotency).where(*_named(conn, key.id, name))).first()
    if found is None:  # abandoned between the two statements: the next try takes it
        return InFlight()
    if found.body_hash not in (body_hash, ""):  # blank: of an interaction that was deleted, which replaying says
        return OtherBody()
    return InFlight() if found.interaction_id is None else Replay(found.interaction_id)


def renew(conn: Connection, hold: Hold, lease_seconds: float) -> bool:
    """Whether the attempt may go on, for `lease_seconds` from now."""
    renewed = sa.update(idempotency).where(*_mine(conn, hold)).values(lease_expires_at=now(conn) + lease_seconds)
    return conn.execute(renewed).rowcount == 1


def finish(conn: Connection, hold: Hold, interaction_id: str) -> None:
    """The name stands for this interaction from now on; to be called in the transaction that records it.

    Raises Superseded when another attempt took over: then nothing may be recorded.
    """
    if (
        conn.execute(sa.update(idempotency).where(*_mine(conn, hold)).values(interaction_id=interaction_id)).rowcount
        != 1
    ):
        raise Superseded(hold.name)


def finish_many(conn: Connection, holds: Mapping[str, Hold]) -> set[str]:
    """As `finish` for each interaction id; returns those that were superseded and must not be recorded."""
    lost = set()
    for interaction_id, hold in sorted(holds.items(), key=lambda held: (held[1].key_id, held[1].name)):
        try:
            finish(conn, hold, interaction_id)
        except Superseded:
            lost.add(interaction_id)
    return lost


def abandon(conn: Connection, hold: Hold) -> None:
    """Frees the name after a failure, so that a retry works; what was recorded stays."""
    conn.execute(sa.delete(idempotency).where(*_mine(conn, hold)))


def sweep(conn: Connection) -> int:
    """Removes entries past their end; returns how many."""
    old = sa.select(idempotency.c.key_id, idempotency.c.name).where(idempotency.c.expires_at <= now(conn)).limit(SWEPT)
    named = sa.tuple_(idempotency.c.key_id, idempotency.c.name)
    return conn.execute(sa.delete(idempotency).where(named.in_(old))).rowcount


def _named(conn: Connection, key_id: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (idempotency.c.key_id == key_id, idempotency.c.name == kept(vault_of(conn), key_id, name))


def kept(vault: Vault | None, key_id: str, name: str) -> str:
    """How a name is stored: it may tell of a person, who may be erased before the entry ends, so only its MAC is."""
    return name if vault is None else vault.vouch(f"countersign/idempotency-name/1\x00{key_id}\x00{name}".encode())


def _mine(conn: Connection, hold: Hold) -> tuple[sa.ColumnElement[bool], ...]:
    unfinished = idempotency.c.interaction_id.is_(None)
    return (*_named(conn, hold.key_id, hold.name), idempotency.c.owner == hold.owner, unfinished)
