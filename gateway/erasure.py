"""What the law asks of the log, for admins: erase a person, and keep what is under a legal hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway.auth import admin
from gateway.bodies import read_as
from gateway.context import context_of
from gateway.names import Seen
from gateway.openapi import ERRORS, body_of
from storage import erasure, legal_holds
from storage.legal_holds import MAX_REASON, LegalHold, Scope
from storage.records import Key

router = APIRouter(prefix="/v1/audit", tags=["audit"], responses=ERRORS)


class ErasureRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # not schemas.EndUser: here a key is named too
    subject: Seen = Field(
        min_length=1,
        max_length=512,
        description="The end user as requests named them, `key:<key id>` for a key itself, or a subject's id.",
    )


class HoldRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    scope: Scope
    target: Seen | None = Field(
        None, min_length=1, max_length=512, description="The subject, or the interaction's id; none for the tenant."
    )
    reason: Annotated[Seen, Field(min_length=1, max_length=MAX_REASON, description="For whoever may lift it.")]


@router.post("/subjects/erase", openapi_extra=body_of(ErasureRequest))
async def erase(request: Request, key: Key = Depends(admin)) -> dict[str, Any]:
    """Destroys what is known of a person; the log keeps its events, and still verifies."""
    wanted = await read_as(request, ErasureRequest)
    erased = await context_of(request).recorder.write(
        lambda connection: erasure.erase_subject(connection, key.tenant, wanted.subject, f"key:{key.id}"),
        tenant=key.tenant,
    )
    return {"object": "audit.erasure", **asdict(erased)}


@router.post("/holds", openapi_extra=body_of(HoldRequest))
async def place(request: Request, key: Key = Depends(admin)) -> dict[str, Any]:
    """Keeps the tenant, a person or an interaction from being erased, deleted or purged."""
    wanted = await read_as(request, HoldRequest)
    hold = await context_of(request).recorder.write(
        lambda connection: legal_holds.place(
            connection, key.tenant, wanted.scope, wanted.target, wanted.reason, f"key:{key.id}"
        ),
        tenant=key.tenant,
    )
    return described(hold)


@router.get("/holds")
async def list_holds(
    request: Request,
    key: Key = Depends(admin),
    lifted: Annotated[bool, Query(description="Also those that stand no more.")] = False,
) -> dict[str, Any]:
    """The tenant's holds, oldest first."""
    found = await context_of(request).recorder.read(
        lambda connection: legal_holds.list_holds(connection, key.tenant, lifted=lifted), tenant=key.tenant
    )
    return {"object": "list", "data": [described(hold) for hold in found]}


@router.delete("/holds/{id}")
async def lift(request: Request, id: str, key: Key = Depends(admin)) -> dict[str, Any]:
    """Ends a hold; what it kept may be destroyed again."""
    hold = await context_of(request).recorder.write(
        lambda connection: legal_holds.lift(connection, key.tenant, id, f"key:{key.id}"), tenant=key.tenant
    )
    return described(hold)


def described(hold: LegalHold) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(hold).items() if name != "tenant"}
    return {"object": "audit.hold", **shown}
