"""The marks by which audit events are found, the same for pages, exports and the command line."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.errors import bad_request
from storage import audit_log, audit_query


class Marks(BaseModel):
    """Every mark that events can be found by; all of them must fit."""

    model_config = ConfigDict(extra="forbid")

    kinds: str | None = Field(None, description="Comma list of event kinds.")
    since: float | None = Field(None, description="Unix seconds, inclusive.")
    until: float | None = Field(None, description="Unix seconds, exclusive.")
    key_id: str | None = None
    model: str | None = None
    action: str | None = None
    reason: str | None = None
    reviewer: str | None = None
    verdict: str | None = None
    tier: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    interaction_id: str | None = None
    item_id: str | None = None
    trace_id: str | None = None


class Paged(Marks):
    """A page of them."""

    after: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(50, ge=1, le=1000)


def wanted(marks: Marks) -> audit_query.Filters:
    """Raises ApiError 400 naming the mark that makes no sense."""
    given = {name: getattr(marks, name) for name in Marks.model_fields if name != "kinds"}
    refuse_odd_values(given)
    return audit_query.Filters(kinds=kinds_of(marks.kinds), **given)


def kinds_of(listed: str | None) -> list[str] | None:
    if listed is None:
        return None
    kinds = [kind.strip() for kind in listed.split(",") if kind.strip()]
    for kind in kinds:
        if kind not in audit_log.EVENT_KINDS:
            raise bad_request("kinds", f"kinds: '{kind[:60]}' is not one of {', '.join(audit_log.EVENT_KINDS)}.")
    return kinds


def refuse_odd_values(marks: dict[str, Any]) -> None:
    for name, value in marks.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise bad_request(name, f"{name}: must be a finite number.")
