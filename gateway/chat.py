"""POST /v1/chat/completions: authenticate, ask, decide, record, respond."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from hashlib import sha256
from time import monotonic

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response, StreamingResponse

from gateway.auth import caller, still_caller
from gateway.bodies import parse_object, read_body
from gateway.completion_shapes import location
from gateway.context import Context, context_of
from gateway.errors import ApiError, conflict, not_found
from gateway.idempotency import REPLAYED, Attempt, attempt_of, of_question, once, replayed
from gateway.model_client import Question, ServedModel
from gateway.openapi import CHAT
from gateway.outcomes import Asked, outcome_of
from gateway.policy import Ruling, Standing, decide
from gateway.preferences import applied, wait_seconds
from gateway.random_audit import drawn
from gateway.responding import await_verdict, respond, watch
from gateway.schemas import ChatRequest, chat_request
from gateway.standing import standing_of
from gateway.streaming import stream
from gateway.telemetry import tell_answer, trace_id_of, traceparent_of
from gateway.under_way import Answered
from gateway.waiting import is_open
from serving.answer import Answer
from storage import certificates, full_text
from storage.idempotency import Hold
from storage.recording import Recording
from storage.records import Key, Outcome, StoredCalibration, Vouched

router = APIRouter(tags=["chat"])


async def room(request: Request) -> None:
    context_of(request).places.require_room()


@router.post("/v1/chat/completions", dependencies=[Depends(room)], openapi_extra=CHAT.request, responses=CHAT.responses)
async def create(request: Request, key: Key = Depends(caller)) -> Response:
    """Asks the model; what it says leaves only when the key's policy or a reviewer lets it."""
    context = context_of(request)
    async with context.places.place(key.id):  # given back before anybody waits for a reviewer
        body = parse_object(await read_body(request))
        wanted = chat_request(body)
        attempt = attempt_of(request, key, body, context.settings)
        got = await once(request, context, attempt, lambda hold: answered(request, wanted, attempt, hold))
        if got.again:  # perhaps after a wait as long as an answer takes
            key = await still_caller(request)
    got = dataclasses.replace(got, outcome=of_question(got.outcome, key, messages_of(wanted)))
    try:
        response = await deliver(request, context, wanted, key, got)
    except ApiError as error:
        error.headers.update(REPLAYED if got.again else {})
        raise
    response.headers.update(REPLAYED if got.again else {})
    return response


async def served_model(context: Context, name: str) -> ServedModel:
    served = await context.model_client.model()
    if not served.answers_to(name):
        message = f"The model '{name[:100]}' does not exist here. GET /v1/models lists what does."
        raise ApiError(404, message, code="model_not_found", param="model")
    return served


async def answered(request: Request, wanted: ChatRequest, attempt: Attempt, hold: Hold | None) -> Answered:
    """Asks, decides by the policy that is in force when the answer is there, and records.

    Raises 401 when the key ended meanwhile: then nobody is there for whom anything could be recorded.
    """
    context, state = context_of(request), request.scope["state"]
    served = await served_model(context, wanted.model)
    with context.telemetry.chat(wanted.model, context.model_client.provider, request.headers) as span:
        known_by = None if attempt.name is not None else attempt.body_hash
        asked = Asked(
            wanted,
            attempt.key,
            state["request_id"],
            trace_id_of(span),
            traceparent_of(span),
            known_by,
            attempt.retry_count,
        )
        state["trace_id"] = asked.trace_id
        calibration, stands = await in_use(context, served.id)
        answer = await ask(context, question(asked, calibration))
        asked = dataclasses.replace(asked, key=await still_caller(request))
        ruling = decide(
            answer.confidence,
            asked.key.policy,
            answer.finish_reason,
            standing=stands,
            calibration_fits=calibration is not None and calibration.model == answer.model,
        )
        got = await record(context, asked, answer, ruling, attempt, hold)
        tell_answer(span, answer, ruling, got.outcome.item)
    return got


async def in_use(context: Context, model: str) -> tuple[StoredCalibration | None, Standing | None]:
    """The model's active calibration and the certificate that stands, of one moment."""
    calibration, certificate = await context.recorder.read(lambda connection: certificates.in_use(connection, model))
    return calibration, None if certificate is None else standing_of(certificate)


def messages_of(wanted: ChatRequest) -> tuple[dict[str, str], ...]:
    return tuple(message.plain() for message in wanted.messages)


def question(asked: Asked, calibration: StoredCalibration | None) -> Question:
    wanted = asked.wanted
    return Question(
        messages=messages_of(wanted),
        max_tokens=wanted.token_limit,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        seed=wanted.seed,
        stop=tuple(wanted.stop) if wanted.stop else None,
        calibration=calibration,
        traceparent=asked.traceparent,
        cache_salt=sha256(
            asked.key.tenant.encode()
        ).hexdigest(),  # the time an answer takes must not tell what another tenant asked
    )


async def ask(context: Context, question: Question) -> Answer:
    """The model's answer."""
    started = monotonic()
    answer = await context.model_client.ask(question)
    context.metrics.answered(answer, monotonic() - started)
    return answer


async def record(
    context: Context, asked: Asked, answer: Answer, ruling: Ruling, attempt: Attempt, hold: Hold | None
) -> Answered:
    """Commits interaction, decision, review item, audit events and outbox rows as one, unless that was done before."""

    tier, words, audited = asked.key.policy.tier, await words_of(context, asked, answer), drawn(ruling, context.draw)

    def make(at: float) -> Recording:
        outcome = outcome_of(asked, answer, ruling, at, audited=audited)
        sent = attempt.sent(outcome.interaction.id)
        return Recording(outcome.interaction, outcome.decision, outcome.item, sent, hold, tier, words)

    done = await context.recorder.record(make)
    got = done.recording
    if done.stands != got.interaction.id:
        return Answered(await replayed(context, done.stands, asked.key.tenant), again=True)
    context.metrics.decided(ruling)
    return Answered(Outcome(got.interaction, got.decision, got.item, None, Vouched.OURS), again=False)


async def words_of(context: Context, asked: Asked, answer: Answer) -> Sequence[str]:
    """What searches of the audit log find the question by; found here, since all others wait for who records."""
    if not context.settings.full_text:
        return ()
    return await asyncio.to_thread(full_text.words_in, messages_of(asked.wanted), {"text": answer.text})


async def deliver(request: Request, context: Context, wanted: ChatRequest, key: Key, got: Answered) -> Response:
    """The recorded outcome in the form the caller asked for, after the wait it prefers; sent again, it is a reading."""
    settings, outcome = context.settings, got.outcome
    reader = key if got.again else None
    preferred = wait_seconds(request, settings.max_wait_seconds)
    on_hold_error = wanted.review.on_hold == "error"
    if wanted.stream and not (on_hold_error and is_open(outcome)):
        seconds = settings.stream_wait_seconds if preferred is None else preferred
        await read_by(context, reader, outcome)
        return event_stream(request, wanted, outcome, seconds, preferred, reader)
    if preferred and is_open(outcome):
        waited = await await_verdict(request, outcome, preferred)
        if waited is None:
            raise not_found("completion", outcome.interaction.id)
        outcome = waited
    if on_hold_error and is_open(outcome):
        raise pending(outcome)
    await read_by(context, reader, outcome)
    if wanted.stream:
        return event_stream(request, wanted, outcome, 0, preferred)
    return respond(context, outcome, preferred)


async def read_by(context: Context, reader: Key | None, outcome: Outcome) -> None:
    """Records that a caller came back for the answer, by sending the request again."""
    if reader is not None:
        await context.access.completion(reader, outcome)


def event_stream(
    request: Request,
    wanted: ChatRequest,
    outcome: Outcome,
    seconds: float,
    preferred: float | None,
    reader: Key | None = None,
) -> Response:
    """The outcome as events; a held one waits `seconds` for its verdict, of which the caller asked for `preferred`.

    `reader`: who came back for it, recorded before a later verdict's text is shown.
    """
    context = context_of(request)
    watch(context, outcome)

    async def verdict(held: Outcome, seconds: float) -> Outcome | None:
        decided = await await_verdict(request, held, seconds)
        if decided is not None:
            watch(context, decided)
            await read_by(context, reader, decided)
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
