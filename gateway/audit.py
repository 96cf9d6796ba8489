"""The audit API: what happened, newest first, by any of its marks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Connection

from gateway.audit_filters import Paged, wanted
from gateway.auth import auditor
from gateway.context import context_of
from gateway.openapi import ERRORS
from storage import audit_export, audit_query, subjects
from storage.records import AuditEvent, Key

router = APIRouter(prefix="/v1/audit/events", tags=["audit"], responses=ERRORS)


@router.get("")
async def query(request: Request, filters: Annotated[Paged, Query()], key: Key = Depends(auditor)) -> dict[str, Any]:
    """A page of the tenant's events."""
    marks, limit = wanted(filters), filters.limit

    def read(connection: Connection) -> tuple[list[AuditEvent], list[AuditEvent]]:
        # one more than asked for, to know whether more follow
        found = audit_query.query(connection, key.tenant, marks, after=filters.after, limit=limit + 1)
        return found, whole(connection, found[:limit])

    context = context_of(request)
    found, page = await context.recorder.read(read, tenant=key.tenant)
    await context.access.events(key, page)
    more = len(found) > limit
    cursor = audit_query.cursor_of(found[limit - 1]) if more else None
    return {"object": "list", "data": [dataclasses.asdict(event) for event in page], "has_more": more, "next": cursor}


@router.get("/{id}")
async def retrieve(request: Request, id: str, key: Key = Depends(auditor)) -> dict[str, Any]:
    """One event, with its private facts where they were not erased."""
    context = context_of(request)
    found = await context.recorder.read(
        lambda connection: whole(connection, [audit_query.get_event(connection, id, key.tenant)]), tenant=key.tenant
    )
    await context.access.events(key, found)
    return dataclasses.asdict(found[0])


def shown(connection: Connection, events: Sequence[AuditEvent]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(event) for event in whole(connection, events)]


def whole(connection: Connection, events: Sequence[AuditEvent]) -> list[AuditEvent]:
    """Events as an auditor sees them: with private facts, and with their place in the tree, null until sealed."""
    places = audit_export.leaf_indexes(connection, events)
    revealed = subjects.revealed(connection, events)
    return [dataclasses.replace(event, leaf_index=places.get(event.id)) for event in revealed]
