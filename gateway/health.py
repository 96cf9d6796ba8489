"""Says whether this process lives, whether it can do its work, and what it counted."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import orjson
import structlog
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from gateway.context import Context, context_of
from gateway.errors import ApiError
from storage import certificates, proofs, review_alarms, review_reads, sealing
from storage.database import now
from storage.errors import QueueUnreachable

router = APIRouter(tags=["health"])
log = structlog.get_logger("health")
OPEN = ("pending", "claimed", "referred")


@router.get("/health/live")
async def live() -> dict[str, str]:
    """200 while the process answers at all."""
    return {"status": "ok"}


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """200 when questions can be asked and recorded. Valkey away is told, but does not stop the work."""
    context = context_of(request)
    database, model, queue = await asyncio.gather(database_state(context), model_state(context), queue_state(context))
    fine = database == "ok" and model == "ok"
    body = {"status": "ok" if fine else "unavailable", "database": database, "model": model, "queue": queue}
    headers = {} if fine else {"retry-after": "1"}
    return Response(orjson.dumps(body), 200 if fine else 503, headers, media_type="application/json")


async def database_state(context: Context) -> str:
    try:
        await context.recorder.read(now, always=True)
    except ApiError as error:
        return error.code
    return "ok"


async def model_state(context: Context) -> str:
    try:
        await context.model_client.check()
    except ApiError as error:
        return error.code
    return "ok"


async def queue_state(context: Context) -> str:
    try:
        await asyncio.to_thread(context.queue.ping)
    except QueueUnreachable:
        return "unreachable"
    return "ok"


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Prometheus' text format; the queue's figures are read from the database at this moment."""
    context = context_of(request)
    try:
        await context.recorder.read(lambda connection: measure_queue(context, connection))
    except ApiError:
        context.metrics.items.clear()  # better no figure than an old one
        context.metrics.ended.counts = None
        own = (context.metrics.overdue, context.metrics.without_reviewer, context.metrics.suspended)
        for gauge in (*own, *context.metrics.of_the_log):
            gauge.set(math.nan)
    return Response(context.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def measure_queue(context: Context, connection: Any) -> None:
    counts = review_reads.counts(connection, None)
    for state in OPEN:
        context.metrics.items.labels(state).set(counts.get(state, 0))
    context.metrics.ended.counts = counts
    oldest = review_reads.oldest_waiting(connection, None)
    context.metrics.oldest.set(max(0.0, now(connection) - oldest) if oldest is not None else 0.0)
    context.metrics.unsealed.set(sealing.unsealed(connection))
    context.metrics.seal_lag.set(sealing.lag_seconds(connection))
    last = proofs.latest_note(connection)
    context.metrics.tree_size.set(last[0] if last is not None else 0)
    late = review_alarms.overdue(connection)
    context.metrics.overdue.set(late)
    context.metrics.without_reviewer.set(sum(review_alarms.without_reviewer(connection).values()))
    suspended = certificates.suspended(connection)
    context.metrics.suspended.set(suspended)
    if suspended:
        log.error("certificates are suspended: nothing of these models is released", models=suspended)
    if late:
        log.error("review items are open past their deadline: no worker ends them", items=late)
