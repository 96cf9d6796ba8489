"""Policies: read one, and make its next version."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway.auth import admin
from gateway.bodies import read_as
from gateway.context import context_of
from gateway.errors import bad_request
from gateway.names import Seen
from gateway.openapi import ERRORS, body_of
from storage import policies
from storage.certified import AUDIT_SHARE
from storage.records import Action, Key, Policy, Tier

router = APIRouter(prefix="/v1/policies", tags=["keys"], responses=ERRORS)
LONGEST_SECONDS = 10 * 366 * 86_400.0


class PolicyFields(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PolicyRequest(PolicyFields):
    """How the key's answers are gated; what is left out takes the product's default."""

    name: Seen | None = Field(None, min_length=1, max_length=100, description="None: the key's name.")
    threshold: float = Field(0.85, ge=0, le=1, strict=True)  # false is no threshold: it would release everything
    below: Literal["hold", "flag", "release"] = "hold"
    review_seconds: float = Field(86_400.0, gt=0, le=LONGEST_SECONDS, strict=True)
    tier: Literal["base", "pro", "ultra"] = Field("base", description="How much a mistake costs: urgency follows it.")
    four_eyes: bool = Field(False, strict=True, description="Two people must agree on a text before it is released.")
    without_certificate: Literal["hold", "release"] = Field(
        "hold", description="What no certificate bounds; `release`: the threshold alone is enough."
    )
    audit_share: float = Field(
        AUDIT_SHARE,
        ge=0,
        le=1,
        strict=True,
        description="Probability that a released answer is drawn for review.",
    )


class PolicyChange(PolicyFields):
    """The next version of a policy; what is left out stays as it is."""

    name: Seen | None = Field(None, min_length=1, max_length=100)
    threshold: float | None = Field(None, ge=0, le=1, strict=True)
    below: Literal["hold", "flag", "release"] | None = None
    review_seconds: float | None = Field(None, gt=0, le=LONGEST_SECONDS, strict=True)
    tier: Literal["base", "pro", "ultra"] | None = None
    four_eyes: bool | None = Field(None, strict=True)
    without_certificate: Literal["hold", "release"] | None = None
    audit_share: float | None = Field(None, ge=0, le=1, strict=True)


@router.get("/{id}")
async def retrieve(request: Request, id: str, key: Key = Depends(admin)) -> dict[str, Any]:
    """The newest version."""
    read = context_of(request).recorder.read
    found = await read(lambda connection: policies.get_policy(connection, id, key.tenant), tenant=key.tenant)
    return described(found)


@router.patch("/{id}", openapi_extra=body_of(PolicyChange))
async def change(request: Request, id: str, key: Key = Depends(admin)) -> dict[str, Any]:
    """A new version, by which answers are decided from now on; items that wait keep the rules they were made with."""
    wanted = await read_as(request, PolicyChange)
    fields = stored_fields(wanted)
    if not fields:
        raise bad_request(None, "Name at least one field of the policy that is to change.", "nothing_to_change")
    made = await context_of(request).recorder.write(
        lambda connection: policies.update_policy(connection, id, key.tenant, actor=f"key:{key.id}", **fields),
        tenant=key.tenant,
    )
    return described(made)


def stored_fields(wanted: PolicyRequest | PolicyChange) -> dict[str, Any]:
    """What was named, as storage takes it."""
    fields = wanted.model_dump(exclude_none=True)
    kinds = {"below": Action, "tier": Tier, "without_certificate": Action}
    return {name: kinds[name](value) if name in kinds else value for name, value in fields.items()}


def described(policy: Policy) -> dict[str, Any]:
    return {
        "id": policy.id,
        "object": "policy",
        "version": policy.version,
        "name": policy.name,
        "threshold": policy.threshold,
        "below": policy.below.value,
        "review_seconds": policy.review_seconds,
        "tier": policy.tier.value,
        "four_eyes": policy.four_eyes,
        "without_certificate": policy.without_certificate.value,
        "audit_share": policy.audit_share,
    }
