"""GET /v1/monitoring and below it: the tenant's figures for the desk's dashboards."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Connection

from gateway import capacity_figures, confidence_figures
from gateway.auth import watcher
from gateway.capacity_figures import Wanted
from gateway.context import Context, context_of
from gateway.errors import ApiError
from gateway.openapi import ERRORS
from storage import calibrations, monitoring
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


@router.get("/v1/monitoring/confidence")
async def confidence(
    request: Request, hours: float = Query(720.0, gt=0, le=24 * 366), key: Key = Depends(watcher)
) -> dict[str, Any]:
    """Whether confidence means what it says: the tenant's reviewed answers, and the model's certificate and watch."""
    context = context_of(request)
    served = await served_model(context)

    def read(connection: Connection) -> dict[str, Any]:
        since = now(connection) - hours * 3600
        return confidence_figures.figures(connection, key.tenant, served or only_model(connection), since)

    return await context.recorder.read(read, tenant=key.tenant)


@router.get("/v1/monitoring/capacity")
async def advise(
    request: Request,
    reviewer_hours: float = Query(gt=0, le=1e6, description="A day, of all reviewers together."),
    minutes_per_item: float = Query(gt=0, ge=1e-3, le=1e6),
    error_budget: float | None = Query(None, ge=0, le=1, description="None: the certificate's alpha."),
    asks_per_day: float | None = Query(None, ge=0, le=1e12, description="None: as over the last 30 days."),
    key: Key = Depends(watcher),
) -> dict[str, Any]:
    """The threshold that keeps to the error budget and the reviewers' hours, or why none does."""
    context = context_of(request)
    served = await served_model(context)
    wanted = Wanted(reviewer_hours, minutes_per_item, error_budget, asks_per_day)

    def read(connection: Connection) -> dict[str, Any]:
        return capacity_figures.advice(connection, key.tenant, served or only_model(connection), wanted)

    return await context.recorder.read(read, tenant=key.tenant)


async def served_model(context: Context) -> str | None:
    """None while the model's server does not answer: figures are read also then."""
    try:
        return (await context.model_client.model()).id
    except ApiError:
        return None


def only_model(connection: Connection) -> str | None:
    """The one that has a calibration, where there is no other."""
    active = calibrations.list_active(connection)
    return active[0].model if len(active) == 1 else None
