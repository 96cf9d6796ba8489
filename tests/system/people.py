"""The people of the system tests: callers with the openai client, and reviewers who speak to the review API."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai

from launch.access import Access

_numbers = itertools.count(11)
MODEL = "countersign-reference"
EASY = "What is 7 + 5?"


def foreign_question() -> str:
    """A new one each time; nothing in the model's training is like it, so its answer is held."""
    return f"Who was the poet laureate in the year {1700 + next(_numbers)}, and what did critics say?"


@contextmanager
def caller_of(access: Access) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=access.chat_url, api_key=access.key, max_retries=0, timeout=60) as client:
        yield client


def ask(client: openai.OpenAI, question: str, **options: Any) -> Any:
    messages: Any = [{"role": "user", "content": question}]
    return client.chat.completions.create(model=MODEL, messages=messages, **options)


def held(client: openai.OpenAI) -> Any:
    """A completion that waits for a reviewer."""
    completion = ask(client, foreign_question())
    assert review(completion)["status"] == "pending", review(completion)
    return completion


def review(completion: Any) -> dict[str, Any]:
    """The extension, which the client keeps though it does not know it."""
    extension: dict[str, Any] = completion.model_extra["review"]
    return extension


class Reviewer:
    """Someone at the desk, without the desk."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False)

    def __enter__(self) -> Reviewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def claim(self, item_id: str) -> dict[str, Any]:
        return self._ok(self.http.post(f"/v1/reviews/{item_id}/claim"))

    def claim_next(self) -> dict[str, Any] | None:
        response = self.http.post("/v1/reviews/claim")
        return None if response.status_code == 204 else self._ok(response)

    def decide(
        self, item: dict[str, Any], verdict: str, reason: str = "", content: str | None = None
    ) -> httpx2.Response:
        body = {
            "fencing_token": item["claim"]["fencing_token"],
            "verdict": verdict,
            "reason": reason,
            "content": content,
        }
        return self.http.post(f"/v1/reviews/{item['id']}/verdict", json=body)

    def events(self, **filters: str) -> list[dict[str, Any]]:
        return list(self._ok(self.http.get("/v1/audit/events", params=filters))["data"])

    def empty_the_queue(self) -> None:
        """Reject whatever waits, so that the next item is the one a test makes."""
        while item := self.claim_next():
            assert self.decide(item, "reject", "left by another test").status_code == 200

    def _ok(self, response: httpx2.Response) -> dict[str, Any]:
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body
