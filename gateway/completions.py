"""Stored completions: how a held answer is fetched, listed and deleted."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from gateway.auth import caller
from gateway.completion_shapes import NOT_VOUCHED, completion
from gateway.context import context_of
from gateway.errors import bad_request, conflict, not_found
from gateway.openapi import ERRORS, HELD
from gateway.preferences import wait_seconds
from gateway.responding import await_verdict, find, respond, watch
from storage import interactions
from storage.errors import NotFound
from storage.records import Key, Outcome, Vouched

router = APIRouter(prefix="/v1/chat/completions", tags=["chat"], responses=ERRORS)
MOST_METADATA_FILTERS = 16


@router.get("/{id}", responses=HELD)
async def retrieve(request: Request, id: str, key: Key = Depends(caller)) -> Response:
    """The completion as it stands; `Prefer: wait=N` waits for a held one's verdict."""
    context = context_of(request)
    outcome = await known(request, id, key)
    preferred = wait_seconds(request, context.settings.max_wait_seconds)
    if preferred:
        waited = await await_verdict(request, outcome, preferred)
        if waited is None:
            raise not_found("completion", id)
        outcome = waited
    await context.access.completion(key, outcome)
    return respond(context, outcome, preferred)


@router.get("")
async def list_completions(
    request: Request,
    key: Key = Depends(caller),
    after: str | None = None,
    limit: int = Query(20, ge=1, le=100),
    order: Literal["asc", "desc"] = "asc",
    model: str | None = None,
) -> dict[str, Any]:
    """The tenant's completions, filtered by model and `metadata[name]=value`."""
    metadata = metadata_filter(request)
    # one more than asked for, to know whether more follow
    context = context_of(request)
    try:
        found = await context.recorder.read(
            lambda connection: interactions.list_outcomes(
                connection, key.tenant, after=after, limit=limit + 1, order=order, model=model, metadata=metadata
            ),
            tenant=key.tenant,
        )
    except NotFound:
        raise bad_request("after", "after: no completion has this id.") from None
    for outcome in found[:limit]:
        watch(context, outcome)
    await context.access.completions(key, found[:limit])
    shown = [completion(outcome) for outcome in found[:limit]]
    return page(shown, has_more=len(found) > limit)


@router.get("/{id}/messages")
async def list_messages(
    request: Request,
    id: str,
    key: Key = Depends(caller),
    after: str | None = None,
    limit: int = Query(20, ge=1, le=100),
    order: Literal["asc", "desc"] = "asc",
) -> dict[str, Any]:
    """The messages that were asked, in order."""
    outcome = await known(request, id, key)
    if outcome.vouched is not Vouched.OURS:
        raise conflict(NOT_VOUCHED[outcome.vouched], outcome.vouched.value)
    rows = [
        {"id": f"{id}-{index}", "name": None, "content_parts": None, "refusal": None, **message}
        for index, message in enumerate(outcome.interaction.messages)
    ]
    rows = rows if order == "asc" else rows[::-1]
    names = [row["id"] for row in rows]
    if after is not None and after not in names:
        raise bad_request("after", "after: no message has this id.")
    await context_of(request).access.completion(key, outcome, "messages")
    rest = rows[names.index(after) + 1 if after else 0 :]
    return page(rest[:limit], has_more=len(rest) > limit)


@router.delete("/{id}")
async def delete(request: Request, id: str, key: Key = Depends(caller)) -> dict[str, Any]:
    """Removes the content and withdraws an open review item; the audit events stay."""
    context = context_of(request)
    deleted = await context.recorder.write(
        lambda connection: interactions.delete(connection, id, key.tenant, f"key:{key.id}"), tenant=key.tenant
    )
    if not deleted:
        raise not_found("completion", id)
    context.bell.ring(id)
    return {"object": "chat.completion.deleted", "id": id, "deleted": True}


async def known(request: Request, id: str, key: Key) -> Outcome:
    """This tenant's outcome; raises 404 for another tenant's id as for one that never was."""
    outcome = await find(context_of(request), id, key.tenant)
    if outcome is None:
        raise not_found("completion", id)
    return outcome


def metadata_filter(request: Request) -> dict[str, str] | None:
    found = {
        name[len("metadata[") : -1]: value
        for name, value in request.query_params.items()
        if name.startswith("metadata[") and name.endswith("]")
    }
    if len(found) > MOST_METADATA_FILTERS:
        raise bad_request("metadata", f"metadata: at most {MOST_METADATA_FILTERS} filters.")
    return found or None


def page(rows: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
    return {"object": "list", "data": rows, "first_id": first, "last_id": last, "has_more": has_more}
