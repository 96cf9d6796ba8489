"""Keys and their policies, for admins of a tenant."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from gateway.auth import admin
from gateway.bodies import read_as
from gateway.context import context_of
from gateway.openapi import ERRORS, body_of
from storage import keys, policies
from storage.database import now
from storage.records import Action, Key, Role

router = APIRouter(prefix="/v1/keys", tags=["keys"], responses=ERRORS)
LONGEST_SECONDS = 10 * 366 * 86_400.0


class PolicyRequest(BaseModel):
    """How the key's answers are gated; what is left out takes the product's default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(None, min_length=1, max_length=100, description="None: the key's name.")
    threshold: float = Field(0.85, ge=0, le=1, strict=True)  # false is no threshold: it would release everything
    below: Literal["hold", "flag", "release"] = "hold"
    review_seconds: float = Field(86_400.0, gt=0, le=LONGEST_SECONDS, strict=True)


class KeyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    roles: list[Role] = Field(min_length=1, max_length=4)
    policy: PolicyRequest | None = Field(None, description="None: the tenant's default policy.")
    expires_in: float | None = Field(None, gt=0, le=LONGEST_SECONDS, strict=True, description="Seconds from now.")


@router.post("", openapi_extra=body_of(KeyRequest))
async def create(request: Request, key: Key = Depends(admin)) -> dict[str, Any]:
    """A key of the admin's own tenant; its secret is shown this once."""
    context = context_of(request)
    wanted = await read_as(request, KeyRequest)
    made, secret = await context.recorder.write(lambda connection: make(connection, wanted, key))
    return {**described(made), "key": secret}


@router.get("")
async def list_keys(request: Request, key: Key = Depends(admin)) -> dict[str, Any]:
    found = await context_of(request).recorder.read(lambda connection: keys.list_keys(connection, key.tenant))
    return {"object": "list", "data": [described(each) for each in found]}


@router.delete("/{id}")
async def revoke(request: Request, id: str, key: Key = Depends(admin)) -> dict[str, Any]:
    """Ends the key and every sign-in on it at once."""
    revoked = await context_of(request).recorder.write(
        lambda connection: keys.revoke(connection, id, key.tenant, f"key:{key.id}")
    )
    return {**described(revoked), "revoked": True}


def make(connection: Connection, wanted: KeyRequest, by: Key) -> tuple[Key, str]:
    actor, policy_id = f"key:{by.id}", None
    if wanted.policy is not None:
        name, below = wanted.policy.name or wanted.name, Action(wanted.policy.below)
        fields = {**wanted.policy.model_dump(), "name": name, "below": below}
        policy_id = policies.create_policy(connection, by.tenant, actor=actor, **fields).id
    expires_at = None if wanted.expires_in is None else now(connection) + wanted.expires_in
    return keys.create(connection, by.tenant, wanted.name, wanted.roles, policy_id, expires_at, actor)


def described(key: Key) -> dict[str, Any]:
    policy = key.policy
    return {
        "id": key.id,
        "object": "key",
        "name": key.name,
        "tenant": key.tenant,
        "roles": sorted(role.value for role in key.roles),
        "policy": {
            "id": policy.id,
            "version": policy.version,
            "name": policy.name,
            "threshold": policy.threshold,
            "below": policy.below.value,
            "review_seconds": policy.review_seconds,
        },
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
