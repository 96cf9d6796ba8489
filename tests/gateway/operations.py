"""Every operation of the HTTP API, with a body that it takes: what the suites over the whole surface go through."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.app import create_app
from gateway.settings import Settings

QUESTION: dict[str, Any] = {"model": "countersign-reference", "messages": [{"role": "user", "content": "x [0.97]"}]}
HOLDING: dict[str, Any] = {"fencing_token": 1}
# Operations that take a body, with one that they accept. An operation that is missing here fails the suites.
BODIES: dict[str, dict[str, Any]] = {
    "POST /v1/chat/completions": QUESTION,
    "POST /v1/reviews/claim": {},
    "PUT /v1/reviews/{id}/draft": {**HOLDING, "text": "so far"},
    "POST /v1/reviews/{id}/extend": HOLDING,
    "POST /v1/reviews/{id}/release": HOLDING,
    "POST /v1/reviews/{id}/verdict": {**HOLDING, "verdict": "approve"},
    "POST /v1/signin": {"link": "csl_unknown"},
    "POST /v1/keys": {"name": "new", "roles": ["caller"]},
    "POST /v1/keys/{id}/skills": {"skills": ["arithmetic"]},
    "PATCH /v1/policies/{id}": {"threshold": 0.5},
    "POST /v1/audit/subjects/erase": {"subject": "nobody"},
    "POST /v1/audit/holds": {"scope": "interaction", "target": "unknown", "reason": "asked"},
}
WITHOUT_BODY = (
    "GET /health/live",
    "GET /health/ready",
    "GET /v1/audit/checkpoint",
    "GET /v1/audit/checkpoints",
    "GET /v1/audit/consistency",
    "GET /v1/audit/events",
    "GET /v1/audit/events/{id}",
    "GET /v1/audit/events/{id}/proof",
    "GET /v1/audit/export",
    "GET /v1/audit/holds",
    "DELETE /v1/audit/holds/{id}",
    "GET /v1/chat/completions",
    "GET /v1/chat/completions/{id}",
    "DELETE /v1/chat/completions/{id}",
    "GET /v1/chat/completions/{id}/messages",
    "GET /v1/keys",
    "DELETE /v1/keys/{id}",
    "GET /v1/models",
    "GET /v1/models/{name}",
    "GET /v1/monitoring",
    "GET /v1/monitoring/capacity",
    "GET /v1/monitoring/confidence",
    "GET /v1/policies/{id}",
    "GET /v1/reviews",
    "GET /v1/reviews/{id}",
    "POST /v1/reviews/{id}/claim",
    "GET /v1/whoami",
    "DELETE /v1/whoami",
)


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    path_names: tuple[str, ...]
    query: dict[str, dict[str, Any]]  # name → schema
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the body: name → schema
    needed: dict[str, str] = field(default_factory=dict)  # parameters that the query must have, with a value

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def at(self, value: str = "unknown") -> str:
        """Its address with every part of the path replaced by `value`."""
        address = self.path
        for name in self.path_names:
            address = address.replace(f"{{{name}}}", value)
        return address


def operations() -> list[Operation]:
    document = create_app(Settings(home=Path("nowhere"))).openapi()
    return [
        operation(method.upper(), path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]


def operation(method: str, path: str, described: dict[str, Any]) -> Operation:
    parameters = described.get("parameters", [])
    content = described.get("requestBody", {}).get("content", {}).get("application/json", {})
    return Operation(
        method,
        path,
        tuple(each["name"] for each in parameters if each["in"] == "path"),
        {each["name"]: each["schema"] for each in parameters if each["in"] == "query"},
        content.get("schema", {}).get("properties", {}),
        {each["name"]: "1" for each in parameters if each["in"] == "query" and each.get("required")},
    )


OPERATIONS = operations()
