"""Takes one held answer through claim and verdict to retrieval over HTTP, and checks every shape on the way."""

from __future__ import annotations

from typing import Any

import httpx2

from launch.access import Access
from launch.conversation import Asked, Conversation
from launch.errors import CannotStart


def walk(access: Access, conversation: Conversation, held: Asked) -> Asked:
    """Claims and approves `held`, and retrieves it as its caller. Raises CannotStart naming what differs."""
    _require(held.text is None, "a held answer carried its text")
    _require(held.status == "pending" and bool(held.review_id), "a held answer was not pending review")
    with httpx2.Client(
        base_url=access.url, headers={"Authorization": f"Bearer {access.reviewer_key}"}, timeout=30, trust_env=False
    ) as desk:
        item = _expect(desk.post(f"/v1/reviews/{held.review_id}/claim"), 200, "claim")
        _require(item["state"] == "claimed", "a claimed item is not in the state claimed")
        answer = str(item["answer"]["text"])
        verdict = {"fencing_token": item["claim"]["fencing_token"], "verdict": "approve", "reason": "", "content": None}
        decided = _expect(desk.post(f"/v1/reviews/{held.review_id}/verdict", json=verdict), 200, "verdict")
        _require(decided["state"] == "approved", "an approved item is not in the state approved")
        _expect(desk.post(f"/v1/reviews/{held.review_id}/verdict", json=verdict), 409, "second verdict")
    retrieved = conversation.retrieve(held.completion_id)
    _require(not retrieved.held and retrieved.status == "approved", "an approved answer was not released")
    _require(retrieved.text == answer, "the released text is not the one that was reviewed")
    return retrieved


def _expect(response: httpx2.Response, status: int, what: str) -> dict[str, Any]:
    _require(response.status_code == status, f"{what} was answered {response.status_code}: {response.text[:200]}")
    body: dict[str, Any] = response.json()
    return body


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CannotStart(f"The check failed: {otherwise}.")
