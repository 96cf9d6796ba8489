"""GET /v1/monitoring: the tenant's figures for the desk's dashboards."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Connection

from gateway.auth import watcher
from gateway.context import context_of
from gateway.openapi import ERRORS
from storage import monitoring
from storage.database import now
from storage.records import Key

router = APIRouter(tags=["monitoring"], responses=ERRORS)


@router.get("/v1/monitoring")
async def figures(
    request: Request, hours: float = Query(24.0, gt=0, le=24 * 366), key: Key = Depends(watcher)
) -> dict[str, Any]:
    """Decisions, confidence, the review queue and verdicts of the last `hours`."""

    def read(connection: Connection) -> dict[str, Any]:
        return monitoring.figures(connection, key.tenant, now(connection) - hours * 3600)

    return await context_of(request).recorder.read(read, tenant=key.tenant)
