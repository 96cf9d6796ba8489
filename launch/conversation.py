"""Asks the running gateway as any caller would, and reads whether the answer came or is held."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx2

from launch.access import Access
from launch.errors import CannotStart

_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One question and what became of it."""

    question: str
    completion_id: str
    held: bool
    text: str | None  # the answer that left, or None
    refusal: str | None  # why nothing left
    action: str
    status: str  # of the review: none, pending, approved, …
    reason: str
    confidence: float | None
    review_id: str | None
    seconds: float
    body: dict[str, Any]


class Conversation:
    """A caller of one gateway. Use as a context manager."""

    def __init__(self, access: Access) -> None:
        self._served: str | None = None
        self._client = httpx2.Client(
            base_url=access.url, headers={"Authorization": f"Bearer {access.key}"}, timeout=_SECONDS, trust_env=False
        )

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def model(self) -> str:
        """The name of the model that the gateway offers."""
        if self._served is None:
            self._served = str(self._request("GET", "/v1/models").json()["data"][0]["id"])
        return self._served

    def ask(self, question: str, wait: float = 0.0) -> Asked:
        """`wait`: seconds to wait for the verdict on a held answer. Raises CannotStart when the gateway refuses."""
        body = {"model": self.model(), "messages": [{"role": "user", "content": question}]}
        headers = {"Prefer": f"wait={wait:g}"} if wait else {}
        begun = time.monotonic()
        response = self._request("POST", "/v1/chat/completions", json=body, headers=headers, timeout=_SECONDS + wait)
        return _read(question, response, time.monotonic() - begun)

    def retrieve(self, completion_id: str, wait: float = 0.0) -> Asked:
        headers = {"Prefer": f"wait={wait:g}"} if wait else {}
        begun = time.monotonic()
        path = f"/v1/chat/completions/{completion_id}"
        response = self._request("GET", path, headers=headers, timeout=_SECONDS + wait)
        return _read("", response, time.monotonic() - begun)

    def _request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        try:
            response = self._client.request(method, path, **options)
        except httpx2.HTTPError as error:
            raise CannotStart(f"The gateway at {self._client.base_url} did not answer: is ./run up running?") from error
        if response.status_code not in (200, 202):
            raise CannotStart(f"The gateway answered {response.status_code}: {_message(response)}")
        return response


def _read(question: str, response: httpx2.Response, seconds: float) -> Asked:
    body = response.json()
    message, review = body["choices"][0]["message"], body.get("review") or {}
    return Asked(
        question=question,
        completion_id=str(body["id"]),
        held=response.status_code == 202,
        text=message.get("content"),
        refusal=message.get("refusal"),
        action=str(review.get("action", "")),
        status=str(review.get("status", "")),
        reason=str(review.get("reason", "")),
        confidence=review.get("confidence"),
        review_id=review.get("id"),
        seconds=seconds,
        body=body,
    )


def _message(response: httpx2.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
