"""The audit API: what happened, newest first, by any of its marks."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway.auth import auditor
from gateway.context import context_of
from gateway.errors import bad_request
from gateway.openapi import ERRORS
from storage import audit_log, audit_query
from storage.records import Key

router = APIRouter(prefix="/v1/audit/events", tags=["audit"], responses=ERRORS)


class Filters(BaseModel):
    """Every mark that events can be found by; all of them must fit."""

    model_config = ConfigDict(extra="forbid")

    kinds: str | None = Field(None, description="Comma list of event kinds.")
    since: float | None = Field(None, description="Unix seconds, inclusive.")
    until: float | None = Field(None, description="Unix seconds, exclusive.")
    key_id: str | None = None
    model: str | None = None
    action: str | None = None
    reason: str | None = None
    reviewer: str | None = None
    verdict: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    interaction_id: str | None = None
    item_id: str | None = None
    trace_id: str | None = None
    after: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(50, ge=1, le=1000)


@router.get("")
async def query(request: Request, filters: Annotated[Filters, Query()], key: Key = Depends(auditor)) -> dict[str, Any]:
    """A page of the tenant's events."""
    marks = filters.model_dump(exclude={"kinds", "after", "limit"})
    refuse_odd_values({**marks, "after": filters.after})
    wanted = audit_query.Filters(kinds=kinds_of(filters.kinds), **marks)
    # one more than asked for, to know whether more follow
    found = await context_of(request).recorder.read(
        lambda connection: audit_query.query(
            connection, key.tenant, wanted, after=filters.after, limit=filters.limit + 1
        )
    )
    more = len(found) > filters.limit
    shown = found[: filters.limit]
    return {
        "object": "list",
        "data": [asdict(event) for event in shown],
        "has_more": more,
        "next": audit_query.cursor_of(shown[-1]) if more else None,
    }


@router.get("/{id}")
async def retrieve(request: Request, id: str, key: Key = Depends(auditor)) -> dict[str, Any]:
    return asdict(
        await context_of(request).recorder.read(lambda connection: audit_query.get_event(connection, id, key.tenant))
    )


def kinds_of(listed: str | None) -> list[str] | None:
    if listed is None:
        return None
    kinds = [kind.strip() for kind in listed.split(",") if kind.strip()]
    for kind in kinds:
        if kind not in audit_log.EVENT_KINDS:
            raise bad_request("kinds", f"kinds: '{kind[:60]}' is not one of {', '.join(audit_log.EVENT_KINDS)}.")
    return kinds


def refuse_odd_values(marks: dict[str, Any]) -> None:
    for name, value in marks.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise bad_request(name, f"{name}: must be a finite number.")
