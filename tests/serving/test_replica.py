"""A replica whose generations stand still is replaced, although its process and its ranks are alive."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import httpx2

from tests.serving_process import running_serving, stopped_ranks, until

QUESTION = {"messages": [{"role": "user", "content": "What is 12 + 30?"}]}


def test_a_stalled_replica_is_replaced_by_another(tmp_path: Path) -> None:
    with running_serving(tmp_path, stall_seconds=1) as serving, serving.client() as client:
        stalled = client.get("/health").json()["replica"]
        with stopped_ranks(serving):
            ask_in_vain(client)
            until(lambda: answering(client) not in (None, stalled))

        answer = client.post("/ask", json=QUESTION)

    assert answer.status_code == 200
    assert answer.json()["replica"] != stalled


def ask_in_vain(client: httpx2.Client) -> None:
    """It ends without an answer: the replica that holds it goes away."""
    with suppress(httpx2.TransportError):
        assert client.post("/ask", json=QUESTION).status_code >= 500


def answering(client: httpx2.Client) -> str | None:
    """The id of a replica that is ready, as HAProxy reaches it."""
    try:
        response = client.get("/health")
    except httpx2.TransportError:
        return None
    return str(response.json()["replica"]) if response.status_code == 200 else None
