"""Answers HTTP with an outcome: whole, held, or after waiting for a reviewer's word."""

from __future__ import annotations

import orjson
from starlette.responses import Response

from gateway.completion_shapes import completion, location
from gateway.context import Context
from gateway.errors import ApiError
from gateway.preferences import applied
from gateway.waiting import is_open, until_decided
from storage import interactions
from storage.records import Outcome


def respond(context: Context, outcome: Outcome, waited: float | None) -> Response:
    """200 with the whole completion, or 202 while a reviewer's word is still to come."""
    headers = {"location": location(outcome.interaction.id), **applied(waited)}
    status = 200
    if is_open(outcome):
        status = 202
        headers["retry-after"] = str(context.settings.retry_after_seconds)
    return Response(orjson.dumps(completion(outcome)), status, headers, media_type="application/json")


async def await_verdict(context: Context, outcome: Outcome, seconds: float) -> Outcome | None:
    """The outcome once decided, or as it stands after `seconds`; None when it was deleted meanwhile."""
    known = outcome

    async def look() -> Outcome | None:
        try:
            return await find(context, outcome.interaction.id, outcome.interaction.tenant)
        except ApiError:  # a database that is away does not end the wait: the answer stays held
            return known

    return await until_decided(context.bell, outcome.interaction.id, look, seconds, context.settings.poll_seconds)


async def find(context: Context, interaction_id: str, tenant: str) -> Outcome | None:
    return await context.recorder.read(lambda connection: interactions.get_outcome(connection, interaction_id, tenant))
