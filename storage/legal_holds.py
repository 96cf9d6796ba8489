"""Keeps what a court or an authority may ask for: nothing under a legal hold is deleted, erased or purged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log, subjects
from storage.audit_tables import legal_holds
from storage.database import now
from storage.errors import InvalidValue, NotFound, UnderLegalHold
from storage.ids import new_ordered_id
from storage.rows import fields_of
from storage.storable import checked_text
from storage.tables import interactions

MAX_REASON = 2000  # characters
_ADVISORY_LOCK = 0x686F6C64  # any number that is ours: who places a hold waits for who is destroying


class Scope(StrEnum):
    """What a hold keeps."""

    TENANT = "tenant"  # everything of the tenant
    SUBJECT = "subject"  # everything of one person
    INTERACTION = "interaction"  # one question and its answer


@dataclass(frozen=True, slots=True)
class LegalHold:
    """An order to keep; it stands until somebody lifts it."""

    id: str
    tenant: str
    scope: Scope
    target: str  # an interaction's id, a subject's id, or the tenant
    reason: str  # for whoever may lift it; not part of the audit log, since it may name people; empty once erased
    placed_by: str
    placed_at: float
    lifted_by: str | None = None
    lifted_at: float | None = None


def place(conn: Connection, tenant: str, scope: Scope, target: str | None, reason: str, actor: str) -> LegalHold:
    """`target`: an interaction's id, or a subject's name or id; None for the whole tenant.

    Raises NotFound for a target that the tenant does not have, InvalidValue.
    """
    if not reason.strip() or len(reason) > MAX_REASON:
        raise InvalidValue("reason", f"say why, in at most {MAX_REASON} characters.")
    if (target is None) != (scope is Scope.TENANT):
        raise InvalidValue("target", "names a subject or an interaction, and is left out for the whole tenant.")
    _lock(conn, shared=False)
    hold = LegalHold(
        id=new_ordered_id("hold"),
        tenant=tenant,
        scope=scope,
        target=_found(conn, tenant, scope, target),
        reason=checked_text("reason", reason),
        placed_by=checked_text("actor", actor),
        placed_at=now(conn),
    )
    conn.execute(legal_holds.insert(), {**fields_of(hold), "scope": scope.value})
    _note(conn, "hold.placed", actor, hold, hold.placed_at)
    return hold


def lift(conn: Connection, tenant: str, hold_id: str, actor: str) -> LegalHold:
    """Ends the hold; again is no error. Raises NotFound."""
    mine = (legal_holds.c.id == hold_id, legal_holds.c.tenant == tenant)
    at = now(conn)
    update = sa.update(legal_holds).where(*mine, legal_holds.c.lifted_at.is_(None))
    ended = conn.execute(update.values(lifted_by=checked_text("actor", actor), lifted_at=at)).rowcount
    row = conn.execute(sa.select(legal_holds).where(*mine)).one_or_none()
    if row is None:
        raise NotFound("legal hold", hold_id)
    hold = _hold_from(row)
    if ended:
        _note(conn, "hold.lifted", actor, hold, at)
    return hold


def list_holds(conn: Connection, tenant: str, *, lifted: bool = False) -> list[LegalHold]:
    """Those that stand, oldest first; `lifted`: also those that do no more."""
    query = sa.select(legal_holds).where(legal_holds.c.tenant == tenant)
    if not lifted:
        query = query.where(legal_holds.c.lifted_at.is_(None))
    return [_hold_from(row) for row in conn.execute(query.order_by(legal_holds.c.placed_at, legal_holds.c.id))]


def standing(conn: Connection) -> list[LegalHold]:
    """All tenants' holds; none can be placed until the transaction ends. For whoever purges."""
    _lock(conn, shared=True)
    return [_hold_from(row) for row in conn.execute(sa.select(legal_holds).where(legal_holds.c.lifted_at.is_(None)))]


def require_free(conn: Connection, tenant: str, subject: str | None, interaction_ids: Collection[str]) -> None:
    """Call before destroying. Raises UnderLegalHold when a hold keeps the subject or any of the interactions.

    No hold is placed on them until the transaction ends.
    """
    _lock(conn, shared=True)
    held = sa.select(legal_holds.c.id, legal_holds.c.scope, legal_holds.c.target)
    wanted = {subject, *interaction_ids}
    for row in conn.execute(held.where(legal_holds.c.tenant == tenant, legal_holds.c.lifted_at.is_(None))):
        if row.scope == Scope.TENANT or row.target in wanted:
            raise UnderLegalHold(row.id)


def forget_reasons(conn: Connection, tenant: str, targets: Sequence[str]) -> None:
    """Empties the reasons of lifted holds on these subjects and interactions: a reason may name whom it is about."""
    table = legal_holds.c
    lifted = (table.tenant == tenant, table.scope != Scope.TENANT.value, table.lifted_at.is_not(None))
    conn.execute(sa.update(legal_holds).where(*lifted, table.target.in_(targets)).values(reason=""))


def _found(conn: Connection, tenant: str, scope: Scope, target: str | None) -> str:
    if target is None:
        return tenant
    if scope is Scope.SUBJECT:
        found = subjects.find(conn, tenant, target)
    else:
        mine = (interactions.c.id == target, interactions.c.tenant == tenant)
        found = conn.execute(sa.select(interactions.c.id).where(*mine)).scalar()
    if found is None:
        raise NotFound(scope.value, target)
    return found


def _lock(conn: Connection, *, shared: bool) -> None:
    if conn.dialect.name == "postgresql":
        function = sa.func.pg_advisory_xact_lock_shared if shared else sa.func.pg_advisory_xact_lock
        conn.execute(sa.select(function(_ADVISORY_LOCK)))


def _note(conn: Connection, kind: str, actor: str, hold: LegalHold, at: float) -> None:
    data = {"hold": hold.id, "scope": hold.scope.value, "target": hold.target}
    interaction_id = hold.target if hold.scope is Scope.INTERACTION else None
    audit_log.append(conn, kind, actor, hold.tenant, interaction_id=interaction_id, data=data, at=at)


def _hold_from(row: sa.Row[Any]) -> LegalHold:
    return LegalHold(**{**row._mapping, "scope": Scope(row.scope)})
