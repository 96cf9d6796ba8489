"""Wires the gateway: every shared resource is made, started and closed here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from gateway import (
    audit,
    audit_export,
    audit_proofs,
    chat,
    completions,
    erasure,
    health,
    keys,
    models,
    monitoring,
    policies,
    reviews,
    signin,
)
from gateway.access_log import AccessLog
from gateway.addresses import refuse_odd
from gateway.case_facts import CaseFacts
from gateway.context import Context
from gateway.errors import ApiError, handle
from gateway.hints import Hints
from gateway.limits import Places
from gateway.metrics import Metrics
from gateway.model_client import ModelClient, ServingClient
from gateway.operations import signer_of, vault_of
from gateway.random_audit import Draw, draw_secretly
from gateway.recorder import Recorder
from gateway.request_log import RequestLog
from gateway.sealer import Sealer
from gateway.settings import Settings
from gateway.telemetry import Telemetry
from gateway.under_way import UnderWay
from gateway.upstream_client import UpstreamClient
from gateway.waiting import Bell, look_out
from gateway.worker import Worker
from storage.database import Database, open_database
from storage.errors import StorageError
from storage.review_queue import ReviewQueue

ROUTERS = (
    chat,
    completions,
    models,
    reviews,
    signin,
    audit,
    audit_export,
    audit_proofs,
    erasure,
    monitoring,
    keys,
    policies,
    health,
)


def create_app(
    settings: Settings,
    *,
    model_client: ModelClient | None = None,
    database: Database | None = None,
    queue: ReviewQueue | None = None,
    draw: Draw = draw_secretly,
) -> FastAPI:
    """The application. What is handed over is used in place of what the settings name, and closed with it.

    `draw`: the chance by which released answers are audited.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        context = Context(
            settings=settings,
            database=(used := database or open_database(settings.database, vault_of(settings))),
            recorder=(recorder := recorder_of(settings, used)),
            access=AccessLog(recorder, settings.access_log_seconds),
            facts=CaseFacts(),
            queue=(orders := queue or ReviewQueue(settings.redis, settings.queue_prefix)),
            hints=Hints(orders),
            model_client=model_client or client_of(settings),
            telemetry=Telemetry(settings),
            metrics=metrics,
            bell=Bell(),
            places=places_of(settings),
            under_way=UnderWay(),
            draw=draw,
        )
        app.state.context = context
        context.recorder.start()
        workers = workers_of(context)
        looking = asyncio.create_task(look_out(context.bell, recorder, settings.poll_seconds))
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            for each in workers:
                await asyncio.to_thread(each.stop)
            await context.model_client.close()
            context.recorder.close()  # what was promised is committed before the process ends
            context.telemetry.close()
            context.queue.close()
            context.database.close()

    app = FastAPI(
        title="Countersign",
        description="An LLM gateway in which no answer leaves on the model's word alone.",
        lifespan=lifespan,
        dependencies=[Depends(refuse_odd)],
        redirect_slashes=False,  # a redirect would repeat whatever Host the caller sent
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # gateway/telemetry.py knows every name
    )
    for module in ROUTERS:
        app.include_router(module.router)
    handled: tuple[type[Exception], ...] = (ApiError, StorageError, HTTPException, RequestValidationError)
    for kind in handled:
        app.add_exception_handler(kind, handle)
    app.add_middleware(RequestLog, metrics=metrics)
    return app


def recorder_of(settings: Settings, database: Database) -> Recorder:
    return Recorder(
        database,
        waiting=settings.recorder_queue,
        batch=settings.recorder_batch,
        readers=settings.reader_threads,
    )


def places_of(settings: Settings) -> Places:
    share = settings.max_questions_per_key or max(1, settings.max_questions // 2)
    return Places(settings.max_questions, share, settings.max_waiting_questions)


def client_of(settings: Settings) -> ModelClient:
    """Our serving application, or the upstream that the settings name in its place."""
    if settings.upstream_url:
        return UpstreamClient(
            settings.upstream_url,
            settings.upstream_key.get_secret_value(),
            settings.upstream_model,
            settings.ask_timeout_seconds,
        )
    return ServingClient(settings.serving_url, settings.serving_token.get_secret_value(), settings.ask_timeout_seconds)


def sealer_of(settings: Settings, database: Database, metrics: Metrics) -> Sealer:
    """Raises KeysUnfit when the signing key cannot be read or made."""
    return Sealer(database, metrics, signer_of(settings), settings.checkpoints)


def workers_of(context: Context) -> tuple[Worker | Sealer, ...]:
    """The embedded worker and the sealer, started; none when they run elsewhere."""
    if context.settings.worker == "off":
        return ()
    loop = asyncio.get_running_loop()

    def changed(interaction_id: str) -> None:
        loop.call_soon_threadsafe(context.bell.ring, interaction_id)

    worker = Worker(context.settings, context.database, context.queue, context.metrics, changed)
    sealer = sealer_of(context.settings, context.database, context.metrics)
    for each in (worker, sealer):
        each.start()
    return worker, sealer
