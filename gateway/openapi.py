"""Describes requests and responses that are read and written by hand, so that /openapi.json knows them too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from gateway.schemas import ChatRequest


class Error(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every refusal and failure; the header x-request-id names the request."""

    error: Error


class Review(BaseModel):
    """What was decided about an answer, and where its review stands."""

    id: str | None
    status: Literal["none", "pending", "approved", "edited", "rejected", "expired", "quarantined", "withdrawn"]
    action: Literal["release", "flag", "hold", "escalate"]
    reason: str
    confidence: float | None
    threshold: float
    calibration: str | None
    expires_at: int | None
    url: str


class Completion(BaseModel):
    """OpenAI's ChatCompletion with the `review` extension; a held one has `content: null` and a refusal."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any]
    review: Review


@dataclass(frozen=True, slots=True)
class Description:
    request: dict[str, Any]
    responses: dict[int | str, dict[str, Any]]


def body_of(shape: type[BaseModel]) -> dict[str, Any]:
    """The request body's schema, for endpoints that read it themselves."""
    schema = shape.model_json_schema(ref_template=f"#/components/schemas/{shape.__name__}/$defs/{{model}}")
    schema = inlined(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """The schema with its references replaced by what they refer to; ours do not refer to themselves."""
    if isinstance(node, list):
        return [inlined(entry, definitions) for entry in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return inlined(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
    return {name: inlined(value, definitions) for name, value in node.items()}


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": what}
    for status, what in {
        400: "A parameter is missing, ill-formed or unsupported; `param` names it.",
        401: "No valid key.",
        403: "The key lacks the role.",
        404: "There is no such thing for this tenant.",
        409: "It was decided, claimed or changed by someone else.",
        413: "The body is too large.",
        422: "This Idempotency-Key was used for another body.",
        429: "The key has its share of questions under way, or the model is busy; Retry-After says when to try again.",
        503: "Nothing can be recorded or asked now; Retry-After says when to try again.",
    }.items()
}
HELD: dict[int | str, dict[str, Any]] = {
    200: {"model": Completion, "description": "Released, or decided by a reviewer."},
    202: {"model": Completion, "description": "Held for human review."},
}
CHAT = Description(body_of(ChatRequest), {**HELD, **ERRORS})
