"""Answers HTTP with an outcome: whole, held, or after waiting for a reviewer's word."""

from __future__ import annotations

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response

from gateway.auth import authenticate
from gateway.completion_shapes import completion, location
from gateway.context import Context, context_of
from gateway.errors import ApiError
from gateway.preferences import applied
from gateway.under_way import unless_gone
from gateway.waiting import is_open, until_decided
from storage import interactions
from storage.records import Outcome, Vouched

log = structlog.get_logger("responding")


def respond(context: Context, outcome: Outcome, waited: float | None) -> Response:
    """200 with the whole completion, or 202 while a reviewer's word is still to come."""
    watch(context, outcome)
    headers = {"location": location(outcome.interaction.id), **applied(waited)}
    status = 200
    if is_open(outcome):
        status = 202
        headers["retry-after"] = str(context.settings.retry_after_seconds)
    return Response(orjson.dumps(completion(outcome)), status, headers, media_type="application/json")


def watch(context: Context, outcome: Outcome) -> None:
    """Raises the alarm about stored records that are not what was written here, or decided on: they are withheld."""
    if outcome.vouched is not Vouched.OURS:
        context.metrics.not_vouched.labels(outcome.vouched.value).inc()
        log.error(
            "stored records are not vouched for",
            interaction_id=outcome.interaction.id,
            why=outcome.vouched.value,
            item=None if outcome.item is None else outcome.item.id,
        )
    if outcome.content_changed:
        context.metrics.content_changed.inc()
        log.error("stored content does not match its decision", interaction_id=outcome.interaction.id)


async def await_verdict(request: Request, outcome: Outcome, seconds: float) -> Outcome | None:
    """The outcome once decided, or as it stands after `seconds`; None when it was deleted meanwhile.

    Raises 499 when the caller goes away before: a reading is recorded for nobody.
    Raises 401 when it was decided and the caller's key has ended: a key opens nothing that came after its end.
    """
    context, known = context_of(request), outcome

    async def look() -> Outcome | None:
        try:
            return await find(context, outcome.interaction.id, outcome.interaction.tenant)
        except ApiError:  # a database that is away does not end the wait: the answer stays held
            return known

    waiting = until_decided(context.bell, outcome.interaction.id, look, seconds)
    found = await unless_gone(request, waiting)
    if is_open(outcome) and found is not None and not is_open(found):
        await authenticate(request)
    return found


async def find(context: Context, interaction_id: str, tenant: str) -> Outcome | None:
    return await context.recorder.read(
        lambda connection: interactions.get_outcome(connection, interaction_id, tenant), tenant=tenant
    )
