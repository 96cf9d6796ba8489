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
    """A page of the tenant's events.

    Where marks seldom meet a page is short, even empty, although more follow: `has_more` and `next` tell.
    """
    context = context_of(request)
    marks, limit = wanted(filters, words_kept=context.settings.full_text), filters.limit

    if marks.text is not None:
        await context.access.search(key, marks.text)

    def read(connection: Connection) -> tuple[list[AuditEvent], str | None]:
        found = audit_query.page(connection, key.tenant, marks, after=filters.after, limit=limit)
        return whole(connection, found.events), found.next

    page, cursor = await context.recorder.read(read, tenant=key.tenant)
    await context.access.events(key, page)
    events = [dataclasses.asdict(event) for event in page]
    return {"object": "list", "data": events, "has_more": cursor is not None, "next": cursor}


@router.get("/{id}")
async def retrieve(request: Request, id: str, key: Key = Depends(auditor)) -> dict[str, Any]:
    """One event, with its private facts where they were not erased."""
    context = context_of(request)
    found = await context.recorder.read(
        lambda connection: whole(connection, [audit_query.get_event(connection, id, key.tenant)]), tenant=key.tenant
    )
    await context.access.events(key, found)
    return dataclasses.asdict(found[0])


def whole(connection: Connection, events: Sequence[AuditEvent]) -> list[AuditEvent]:
    """Events as an auditor sees them: with private facts, and with their place in the tree, null until sealed."""
    places = audit_export.leaf_indexes(connection, events)
    revealed = subjects.revealed(connection, events)
    return [dataclasses.replace(event, leaf_index=places.get(event.id)) for event in revealed]
