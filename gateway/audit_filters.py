"""The marks by which audit events are found, the same for pages, exports and the command line."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.errors import bad_request
from storage import audit_log, audit_query, full_text


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
    text: str | None = Field(
        None,
        max_length=1000,
        description="Words, all of which question and answer hold; only where COUNTERSIGN_FULL_TEXT is on.",
    )


class Paged(Marks):
    """A page of them."""

    after: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(50, ge=1, le=1000)


def wanted(marks: Marks, *, words_kept: bool) -> audit_query.Filters:
    """`words_kept`: whether events can be found by text.

    Raises ApiError 400 naming the mark that makes no sense, InvalidValue for a text without words.
    """
    given = {name: getattr(marks, name) for name in Marks.model_fields if name != "kinds"}
    refuse_odd_values(given)
    if marks.text is not None:
        if not words_kept:
            raise bad_request("text", "text: the words of questions are not kept here; COUNTERSIGN_FULL_TEXT=on does.")
        full_text.asked_words(marks.text)
    return audit_query.Filters(kinds=kinds_of(marks.kinds), **given)


def told(asked: dict[str, Any]) -> dict[str, Any]:
    """What the log may tell of a search for good: not the words, which may name or quote somebody."""
    return {name: True if name == "text" else value for name, value in asked.items()}


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
