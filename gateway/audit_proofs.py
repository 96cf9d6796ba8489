"""Hands out what proves the audit log: signed checkpoints, that an event is in the log, and that the log only grew."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from gateway.auth import auditor
from gateway.context import context_of
from gateway.errors import ApiError, bad_request
from gateway.openapi import ERRORS
from storage import proofs
from storage.records import Key

router = APIRouter(prefix="/v1/audit", tags=["audit"], responses=ERRORS)
MOST = 2**63 - 1  # what a column of sizes can hold


class Page(BaseModel):
    """Which checkpoints; smallest first."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(0, ge=0, le=MOST, description="Size of the last checkpoint that is known.")
    limit: int = Field(100, ge=1, le=1000)


class Sizes(BaseModel):
    """Two sizes of the log."""

    model_config = ConfigDict(extra="forbid")

    first: int = Field(ge=1, le=MOST, description="The smaller size, in events.")
    second: int = Field(ge=1, le=MOST, description="The larger size, at most that of the last checkpoint.")


class Against(BaseModel):
    """Which checkpoint an event is proved against."""

    model_config = ConfigDict(extra="forbid")

    tree_size: int | None = Field(None, ge=1, le=MOST, description="Size of a checkpoint; the last one by default.")


@router.get("/checkpoint")
async def latest(request: Request, key: Key = Depends(auditor)) -> dict[str, Any]:
    """The last checkpoint. Keep it elsewhere: it holds whoever has the signing key to this history."""
    size, note = await context_of(request).recorder.read(last_of)
    return checkpoint(size, note)


@router.get("/checkpoints")
async def checkpoints(request: Request, page: Annotated[Page, Query()], key: Key = Depends(auditor)) -> dict[str, Any]:
    """Checkpoints larger than `after`."""
    found = await context_of(request).recorder.read(lambda conn: proofs.notes(conn, page.after, page.limit + 1))
    shown = [checkpoint(size, note) for size, note in found[: page.limit]]
    more = len(found) > page.limit
    return {"object": "list", "data": shown, "has_more": more, "next": shown[-1]["size"] if more else None}


@router.get("/events/{id}/proof")
async def event_proof(
    request: Request, id: str, against: Annotated[Against, Query()], key: Key = Depends(auditor)
) -> dict[str, Any]:
    """One event as stored, and the hashes that lead from it to a signed checkpoint."""
    recorder = context_of(request).recorder
    event = await recorder.read(lambda conn: proofs.stored_event(conn, id, key.tenant), tenant=key.tenant)
    return await recorder.read(lambda conn: proof_of(conn, event, against.tree_size))


@router.get("/consistency")
async def consistency(
    request: Request, sizes: Annotated[Sizes, Query()], key: Key = Depends(auditor)
) -> dict[str, Any]:
    """The hashes that show that the log of `second` events begins with that of `first`."""
    if sizes.first > sizes.second:
        raise bad_request("first", "first: must not be larger than second.")
    return await context_of(request).recorder.read(lambda conn: growth(conn, sizes.first, sizes.second))


def last_of(conn: Connection) -> tuple[int, str]:
    found = proofs.latest_note(conn)
    if found is None:
        raise not_sealed("Nothing is sealed yet.")
    return found


def proof_of(conn: Connection, event: dict[str, Any], tree_size: int | None) -> dict[str, Any]:
    place = proofs.leaf_index(conn, event["id"])
    if place is None:
        raise not_sealed(f"The event '{event['id']}' is recorded, but not sealed yet.")
    size, note = last_of(conn)
    if tree_size is not None:
        size, note = tree_size, note_at(conn, "tree_size", tree_size)
    if place >= size:
        raise bad_request("tree_size", f"tree_size: the event is sealed at {place}, after the first {size}.")
    path = proofs.inclusion(conn, place, size)
    return {
        "object": "audit.proof",
        "event": event,
        "leaf_index": place,
        "tree_size": size,
        "inclusion": [each.hex() for each in path],
        "checkpoint": note,
    }


def growth(conn: Connection, first: int, second: int) -> dict[str, Any]:
    size, _ = last_of(conn)
    if second > size:
        raise bad_request("second", f"second: only {size} events are sealed.")
    return {
        "object": "audit.consistency",
        "first": first,
        "second": second,
        "consistency": [each.hex() for each in proofs.consistency(conn, first, second)],
        "first_checkpoint": proofs.note_of(conn, first),
        "second_checkpoint": proofs.note_of(conn, second),
    }


def note_at(conn: Connection, field: str, size: int) -> str:
    note = proofs.note_of(conn, size)
    if note is None:
        raise bad_request(field, f"{field}: there is no checkpoint of {size} events; /v1/audit/checkpoints lists them.")
    return note


def checkpoint(size: int, note: str) -> dict[str, Any]:
    """Exactly what a line of a file of checkpoints holds, so that an answer can be appended to one."""
    return {"size": size, "note": note}


def not_sealed(message: str) -> ApiError:
    return ApiError(409, f"{message} Ask again in a second.", code="not_sealed", headers={"retry-after": "1"})
