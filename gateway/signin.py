"""Signs reviewers in through one-use links, says who a key is, and signs out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway.auth import authenticate, bearer
from gateway.bodies import read_as
from gateway.context import context_of
from gateway.errors import ApiError
from gateway.openapi import ERRORS, body_of
from storage import keys
from storage.errors import NotFound
from storage.records import Key

router = APIRouter(prefix="/v1", tags=["sign-in"], responses=ERRORS)
MOST_BYTES = 4_096  # of a body with a link, however it is written: anybody may send one, and many at once


class SignIn(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    link: str = Field(min_length=1, max_length=256, description="The secret part of a one-use link.")


@router.post("/signin", openapi_extra=body_of(SignIn))
async def sign_in(request: Request) -> dict[str, Any]:
    """Trades a link, once, for a key of its own that expires."""
    context = context_of(request)
    wanted = await read_as(request, SignIn, MOST_BYTES)
    try:
        key, secret = await context.recorder.write(lambda connection: keys.redeem_signin_link(connection, wanted.link))
    except NotFound:
        message = "This sign-in link is not known here. Ask for a new one."
        raise ApiError(401, message, code="invalid_link", param="link") from None
    return {"key": secret, **described(key)}


@router.get("/whoami")
async def who_am_i(key: Key = Depends(authenticate)) -> dict[str, Any]:
    return described(key)


@router.delete("/whoami")
async def sign_out(request: Request, key: Key = Depends(authenticate)) -> dict[str, Any]:
    """Ends the sign-in that this key belongs to; a key that was made by hand stays."""
    secret = bearer(request)
    ended = await context_of(request).recorder.write(lambda connection: keys.sign_out(connection, secret))
    if not ended:
        raise ApiError(409, "This key was not made by signing in; revoke it instead.", code="not_signed_in",
                       headers={"x-should-retry": "false"})  # fmt: skip
    return {"id": key.id, "signed_out": True}


def described(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "roles": sorted(role.value for role in key.roles),
        "skills": None if key.skills is None else sorted(key.skills),
        "expires_at": key.expires_at,
    }
