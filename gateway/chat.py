"""POST /v1/chat/completions: authenticate, ask, decide, record, respond."""

from __future__ import annotations

import asyncio
from time import monotonic

from fastapi import APIRouter, Depends, Request
from sqlalchemy import Connection
from starlette.responses import Response, StreamingResponse

from gateway.auth import caller
from gateway.bodies import parse_object, read_body
from gateway.completion_shapes import location
from gateway.context import Context, context_of
from gateway.errors import ApiError, conflict
from gateway.model_client import Question, ServedModel
from gateway.openapi import CHAT
from gateway.outcomes import Asked, outcome_of
from gateway.policy import Ruling, decide
from gateway.preferences import applied, wait_seconds
from gateway.responding import await_verdict, respond, watch
from gateway.schemas import ChatRequest, chat_request
from gateway.streaming import stream
from gateway.telemetry import tell_answer, trace_id_of, traceparent_of
from gateway.waiting import is_open
from serving.answer import Answer
from storage import calibrations, interactions
from storage.database import now
from storage.records import Key, Outcome, StoredCalibration

router = APIRouter(tags=["chat"])


@router.post("/v1/chat/completions", openapi_extra=CHAT.request, responses=CHAT.responses)
async def create(request: Request, key: Key = Depends(caller)) -> Response:
    """Asks the model; what it says leaves only when the key's policy or a reviewer lets it."""
    context = context_of(request)
    wanted = chat_request(parse_object(await read_body(request)))
    served = await served_model(context, wanted.model)
    with context.telemetry.chat(wanted.model, context.model_client.provider, request.headers) as span:
        asked = Asked(wanted, key, request.scope["state"]["request_id"], trace_id_of(span), traceparent_of(span))
        request.scope["state"]["trace_id"] = asked.trace_id
        calibration = await active_calibration(context, served.id)
        answer = await ask(request, context, question(asked, calibration))
        fits = calibration is not None and calibration.model == answer.model
        ruling = decide(answer.confidence, key.policy, answer.finish_reason, calibration_fits=fits)
        outcome = await record(context, asked, answer, ruling)
        tell_answer(span, answer, ruling, outcome.item)
    return await deliver(request, context, wanted, outcome)


async def served_model(context: Context, name: str) -> ServedModel:
    served = await context.model_client.model()
    if not served.answers_to(name):
        message = f"The model '{name[:100]}' does not exist here. GET /v1/models lists what does."
        raise ApiError(404, message, code="model_not_found", param="model")
    return served


async def active_calibration(context: Context, model: str) -> StoredCalibration | None:
    return await context.recorder.read(lambda connection: calibrations.active(connection, model))


def question(asked: Asked, calibration: StoredCalibration | None) -> Question:
    wanted = asked.wanted
    return Question(
        messages=tuple(message.plain() for message in wanted.messages),
        max_tokens=wanted.token_limit,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        seed=wanted.seed,
        stop=tuple(wanted.stop) if wanted.stop else None,
        calibration=calibration,
        traceparent=asked.traceparent,
    )


async def ask(request: Request, context: Context, question: Question) -> Answer:
    """The model's answer; a caller who goes away meanwhile cancels its generation."""
    started = monotonic()
    asking = asyncio.ensure_future(context.model_client.ask(question))
    gone = asyncio.ensure_future(until_gone(request))
    try:
        await asyncio.wait({asking, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            raise ApiError(499, "The caller went away before the answer.", code="caller_gone")
        answer = asking.result()
    finally:
        asking.cancel()
        gone.cancel()
        await asyncio.gather(asking, gone, return_exceptions=True)
    context.metrics.answered(answer, monotonic() - started)
    return answer


async def until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def record(context: Context, asked: Asked, answer: Answer, ruling: Ruling) -> Outcome:
    """Commits interaction, decision, review item, audit events and outbox rows as one."""

    def write(connection: Connection) -> Outcome:
        outcome = outcome_of(asked, answer, ruling, now(connection))
        interactions.record(connection, outcome.interaction, outcome.decision, outcome.item)
        return outcome

    outcome = await context.recorder.write(write)
    context.metrics.decided(ruling)
    return outcome


async def deliver(request: Request, context: Context, wanted: ChatRequest, outcome: Outcome) -> Response:
    """The recorded outcome in the form the caller asked for, after the wait it prefers."""
    settings = context.settings
    preferred = wait_seconds(request, settings.max_wait_seconds)
    on_hold_error = wanted.review.on_hold == "error"
    if wanted.stream and not (on_hold_error and is_open(outcome)):
        seconds = settings.stream_wait_seconds if preferred is None else preferred
        return event_stream(request, wanted, outcome, seconds, preferred)
    if preferred and is_open(outcome):
        outcome = await await_verdict(request, outcome, preferred) or outcome
    if on_hold_error and is_open(outcome):
        raise pending(outcome)
    if wanted.stream:
        return event_stream(request, wanted, outcome, 0, preferred)
    return respond(context, outcome, preferred)


def event_stream(
    request: Request, wanted: ChatRequest, outcome: Outcome, seconds: float, preferred: float | None
) -> Response:
    """The outcome as events; a held one waits `seconds` for its verdict, of which the caller asked for `preferred`."""
    context = context_of(request)

    async def verdict(held: Outcome, seconds: float) -> Outcome | None:
        decided = await await_verdict(request, held, seconds)
        if decided is not None:
            watch(context, decided)
        return decided

    events = stream(
        outcome,
        include_usage=wanted.stream_options is not None and wanted.stream_options.include_usage,
        verdict=verdict,
        stopping=lambda: context.bell.closed,
        seconds=seconds,
        keep_alive=context.settings.keep_alive_seconds,
    )
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no", "location": location(outcome.interaction.id)}
    return StreamingResponse(events, 200, {**headers, **applied(preferred)}, media_type="text/event-stream")


def pending(outcome: Outcome) -> ApiError:
    where = location(outcome.interaction.id)
    error = conflict(f"The answer is held for human review. Retrieve it from {where}.", "review_pending")
    error.headers["location"] = where
    return error
