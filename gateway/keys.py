"""Keys and their policies, for admins of a tenant."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from gateway.auth import admin
from gateway.bodies import read_as
from gateway.context import context_of
from gateway.names import Seen
from gateway.openapi import ERRORS, body_of
from gateway.policies import LONGEST_SECONDS, PolicyRequest, stored_fields
from gateway.policies import described as described_policy
from storage import keys, policies
from storage.database import now
from storage.keys import MAX_SKILL
from storage.records import Key, Role

router = APIRouter(prefix="/v1/keys", tags=["keys"], responses=ERRORS)
Skills = Annotated[
    list[Annotated[Seen, Field(min_length=1, max_length=MAX_SKILL)]], Field(min_length=1, max_length=100)
]


class KeyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Seen = Field(min_length=1, max_length=100)
    roles: list[Role] = Field(min_length=1, max_length=4)
    policy: PolicyRequest | None = Field(None, description="None: the tenant's default policy.")
    expires_in: float | None = Field(None, gt=0, le=LONGEST_SECONDS, strict=True, description="Seconds from now.")
    skills: Skills | None = Field(None, description="Domains that a reviewer may decide; None: every one.")


class SkillsRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    skills: Skills | None = Field(description="Domains that a reviewer may decide; null: every one.")


@router.post("", openapi_extra=body_of(KeyRequest))
async def create(request: Request, key: Key = Depends(admin)) -> dict[str, Any]:
    """A key of the admin's own tenant; its secret is shown this once."""
    context = context_of(request)
    wanted = await read_as(request, KeyRequest)
    made, secret = await context.recorder.write(lambda connection: make(connection, wanted, key), tenant=key.tenant)
    return {**described(made), "key": secret}


@router.get("")
async def list_keys(request: Request, key: Key = Depends(admin)) -> dict[str, Any]:
    read = context_of(request).recorder.read
    found = await read(lambda connection: keys.list_keys(connection, key.tenant), tenant=key.tenant)
    return {"object": "list", "data": [described(each) for each in found]}


@router.delete("/{id}")
async def revoke(request: Request, id: str, key: Key = Depends(admin)) -> dict[str, Any]:
    """Ends the key and every sign-in on it at once."""
    revoked = await context_of(request).recorder.write(
        lambda connection: keys.revoke(connection, id, key.tenant, f"key:{key.id}"), tenant=key.tenant
    )
    return {**described(revoked), "revoked": True}


@router.post("/{id}/skills", openapi_extra=body_of(SkillsRequest))
async def set_skills(request: Request, id: str, key: Key = Depends(admin)) -> dict[str, Any]:
    """What a reviewer may decide, for claims from now on."""
    wanted = await read_as(request, SkillsRequest)
    changed = await context_of(request).recorder.write(
        lambda connection: keys.set_skills(connection, id, key.tenant, wanted.skills, f"key:{key.id}"),
        tenant=key.tenant,
    )
    return described(changed)


def make(connection: Connection, wanted: KeyRequest, by: Key) -> tuple[Key, str]:
    actor, policy_id = f"key:{by.id}", None
    if wanted.policy is not None:
        fields = {"name": wanted.name, **stored_fields(wanted.policy)}
        policy_id = policies.create_policy(connection, by.tenant, actor=actor, **fields).id
    expires_at = None if wanted.expires_in is None else now(connection) + wanted.expires_in
    return keys.create(connection, by.tenant, wanted.name, wanted.roles, policy_id, expires_at, actor, wanted.skills)


def described(key: Key) -> dict[str, Any]:
    policy = {name: value for name, value in described_policy(key.policy).items() if name != "object"}
    return {
        "id": key.id,
        "object": "key",
        "name": key.name,
        "tenant": key.tenant,
        "roles": sorted(role.value for role in key.roles),
        "skills": None if key.skills is None else sorted(key.skills),
        "policy": policy,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
