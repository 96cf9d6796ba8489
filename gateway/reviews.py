"""The review API that the desk uses: claim, draft, verdict, release of a claim."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import structlog
from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from gateway.auth import reviewer
from gateway.bodies import parse_object, read_as, read_body, validated
from gateway.claims import claim as claim_item
from gateway.claims import claim_most_urgent
from gateway.context import Context, context_of
from gateway.desk import Opened, desk_of, opened, shown_now, summaries_of
from gateway.errors import ApiError, bad_request, not_found
from gateway.openapi import ERRORS, body_of
from gateway.review_shapes import ClaimNext, DraftRequest, Holding, VerdictRequest, detail
from gateway.telemetry import tell_verdict, traceparent_of
from storage import audit_log, interactions, review_reads, reviews
from storage.errors import Conflict, ContentChanged, NotVouched, NotVouchedYet, StorageError, VouchedElsewhere
from storage.records import ItemState, Key, ReviewItem, Verdict

router = APIRouter(prefix="/v1/reviews", tags=["reviews"], responses=ERRORS)
log = structlog.get_logger("reviews")
NOT_WRITTEN_HERE = frozenset({NotVouched.code, NotVouchedYet.code, ContentChanged.code, VouchedElsewhere.code})


@router.post("/claim", openapi_extra=body_of(ClaimNext), responses={204: {"description": "Nothing waits."}})
async def claim_next(request: Request, key: Key = Depends(reviewer)) -> Any:
    """Claims the most urgent item that this reviewer may decide."""
    context = context_of(request)
    body = await read_body(request)
    wanted = validated(ClaimNext, parse_object(body)) if body else ClaimNext(domain=None)
    desk = await claim_most_urgent(context, key, wanted.domain)
    return Response(status_code=204) if desk is None else detail(desk, key)


@router.post("/{id}/claim")
async def claim(request: Request, id: str, key: Key = Depends(reviewer)) -> dict[str, Any]:
    """Claims this item; its present holder gets a fresh lease."""
    return detail(await claim_item(context_of(request), key, id), key)


@router.get("")
async def list_reviews(
    request: Request,
    key: Key = Depends(reviewer),
    state: str = "pending,claimed",
    after: str | None = None,
    limit: int = Query(50, ge=1, le=100),
) -> dict[str, Any]:
    """The tenant's items in order of urgency, with how many are in each state."""
    states = states_of(state)

    def read(connection: Any) -> dict[str, Any]:
        found = review_reads.list_items(connection, key.tenant, states=states, after=after, limit=limit + 1)
        more = len(found) > limit
        return {
            "object": "list",
            "data": summaries_of(connection, found[:limit], key),
            "has_more": more,
            "next": review_reads.cursor_of(found[limit - 1]) if more else None,
            "counts": review_reads.counts(connection, key.tenant),
        }

    context = context_of(request)
    page = await context.recorder.read(read, tenant=key.tenant)
    await context.access.questions(key, [case["id"] for case in page["data"]])
    return page


@router.get("/{id}")
async def retrieve(request: Request, id: str, key: Key = Depends(reviewer)) -> dict[str, Any]:
    """The whole case."""
    return await shown(context_of(request), id, key)


@router.put("/{id}/draft", openapi_extra=body_of(DraftRequest))
async def save_draft(request: Request, id: str, key: Key = Depends(reviewer)) -> dict[str, Any]:
    """Keeps what the reviewer typed so far."""
    context = context_of(request)
    wanted = await read_as(request, DraftRequest)
    draft = await context.recorder.write(
        lambda connection: reviews.save_draft(connection, id, key, wanted.fencing_token, wanted.text, wanted.note),
        tenant=key.tenant,
    )
    return {"saved_at": draft.saved_at}


@router.post("/{id}/extend", openapi_extra=body_of(Holding))
async def extend(request: Request, id: str, key: Key = Depends(reviewer)) -> dict[str, Any]:
    """A lease from now on, under the same fencing token."""
    context = context_of(request)
    wanted = await read_as(request, Holding)
    seconds = context.settings.claim_seconds
    claimed = await context.recorder.write(
        lambda connection: reviews.extend_claim(connection, id, key, wanted.fencing_token, seconds), tenant=key.tenant
    )
    return {"expires_at": claimed.expires_at}


@router.post("/{id}/release", status_code=204, openapi_extra=body_of(Holding))
async def release(request: Request, id: str, key: Key = Depends(reviewer)) -> Response:
    """Puts the item back for anyone."""
    context = context_of(request)
    wanted = await read_as(request, Holding)
    await context.recorder.write(
        lambda connection: reviews.release_claim(connection, id, key, wanted.fencing_token), tenant=key.tenant
    )
    return Response(status_code=204)


@router.post("/{id}/verdict", openapi_extra=body_of(VerdictRequest))
async def decide(request: Request, id: str, key: Key = Depends(reviewer)) -> dict[str, Any]:
    """The reviewer's word. One that comes too late is answered 409 and recorded as an audit event."""
    context = context_of(request)
    wanted = (await read_as(request, VerdictRequest)).checked()
    item, asked_in = await context.recorder.read(
        lambda connection: item_and_trace(connection, id, key), tenant=key.tenant
    )
    case = await give_verdict(request, context, item, asked_in, key, wanted)
    context.bell.ring(item.interaction_id)  # after the commit: whoever wakes reads the database
    return detail(shown_now(context, case, key), key) if case is not None else await shown(context, id, key)


def item_and_trace(connection: Any, id: str, key: Key) -> tuple[ReviewItem, str | None]:
    """The item and the traceparent of its question, which may be deleted: a verdict on it is refused and recorded."""
    item = review_reads.get_item(connection, id, key.tenant)
    if item is None:
        raise not_found("review item", id)
    return item, interactions.traceparent_of(connection, item.interaction_id, key.tenant)


async def give_verdict(
    request: Request, context: Context, item: ReviewItem, asked_in: str | None, key: Key, wanted: VerdictRequest
) -> Opened | None:
    """The case afterwards; None when the verdict stands but the case could not be read beside it."""
    token = wanted.fencing_token
    with context.telemetry.verdict(item, asked_in, request.headers) as span:
        mine = traceparent_of(span)
        try:
            after, verdict, case = await context.recorder.write(
                lambda connection: judge(context, connection, item.id, key, wanted, mine), tenant=key.tenant
            )
        except Conflict as refusal:
            why = refusal.code
            context.metrics.refused_verdicts.labels(why).inc()
            await context.recorder.write(
                lambda connection: refuse(connection, item.id, key, token, why), tenant=key.tenant
            )
            if why in NOT_WRITTEN_HERE:
                context.metrics.not_vouched.labels(why).inc()
                log.error(
                    "stored records are not vouched for", interaction_id=item.interaction_id, why=why, item=item.id
                )
            raise
        tell_verdict(span, verdict)
    if after.state is ItemState.QUARANTINED:
        log.error("review item quarantined: nobody could end it", item=after.id, claims=after.claims)
    context.metrics.judged(verdict, item.created_at)
    return case


def refuse(connection: Connection, item_id: str, key: Key, token: int, why: str) -> None:
    """Records that a verdict was refused; an item whose records were altered is nobody's to decide."""
    reviews.refused_verdict(connection, item_id, key, token, why)
    if why in NOT_WRITTEN_HERE:
        with suppress(Conflict):  # somebody moved it at this instant: who claims it next is refused, and sets it aside
            reviews.quarantine_unvouched(connection, item_id, key.tenant)


def judge(
    context: Context, connection: Connection, item_id: str, key: Key, wanted: VerdictRequest, traceparent: str
) -> tuple[ReviewItem, Verdict, Opened | None]:
    """The verdict, and the case as it then is, in one commit; what cannot be shown does not undo the verdict."""
    with audit_log.together(connection):
        after, verdict = reviews.decide(
            connection,
            item_id,
            key,
            wanted.fencing_token,
            wanted.verdict,
            wanted.reason,
            wanted.content,
            traceparent,
            context.settings.max_opinions,
        )
        try:
            return after, verdict, opened(context, connection, item_id, key)
        except (ApiError, StorageError):  # of what was read, not of the database: the transaction goes on
            return after, verdict, None


async def shown(context: Context, id: str, key: Key) -> dict[str, Any]:
    facts = context.facts
    desk = await context.recorder.read(lambda connection: desk_of(connection, facts, id, key), tenant=key.tenant)
    await context.access.case(key, desk.outcome.interaction, desk.item)
    return detail(desk, key)


def states_of(listed: str) -> list[ItemState]:
    try:
        return [ItemState(name.strip()) for name in listed.split(",") if name.strip()]
    except ValueError:
        known = ", ".join(state.value for state in ItemState)
        raise bad_request("state", f"state: a comma list of {known}.") from None
