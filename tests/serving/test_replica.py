"""A replica of another family answers by it; one whose generations stand still is replaced though its ranks live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from serving.answer import answer_from_json
from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import local_engine
from tests.serving.model.speech import write_speech
from tests.serving.tiny_checkpoint import CONTEXT, write_tiny_checkpoint
from tests.serving_process import RunningServing, running_serving, stopped_ranks, until

QUESTION = {"messages": [{"role": "user", "content": "2 + 2?"}], "max_tokens": 8, "temperature": 0}
STALL_SECONDS = 3.0  # longer than a step takes on a busy machine, and waited for once


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_tiny_checkpoint(tmp_path_factory.mktemp("other") / "checkpoint", family="deepseek_v3")
    write_speech(directory, "deepseek_v3")
    return directory


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Iterator[RunningServing]:
    home = tmp_path_factory.mktemp("replica")
    with running_serving(home, checkpoint=checkpoint, stall_seconds=STALL_SECONDS) as running:
        yield running


@pytest.fixture
def client(serving: RunningServing) -> Iterator[httpx2.Client]:
    with serving.client() as client:
        yield client


def test_the_application_serves_another_family_and_says_which(client: httpx2.Client, checkpoint: Path) -> None:
    model, response = client.get("/model").json(), client.post("/ask", json=QUESTION)
    assert model["architecture"] == "deepseek_v3"
    assert [len(rank["expert_ids"]["1"]) for rank in model["parameters"]["by_rank"]] == [4, 4]
    assert response.status_code == 200
    answer = answer_from_json(response.json())
    with local_engine(checkpoint, ranks=1, kv_tokens=2 * CONTEXT, step_tokens=40) as engine:
        request = GenerationRequest("one", (Message("user", "2 + 2?"),), max_tokens=8, temperature=0.0)
        alone = engine.submit(request).result(60)
    assert answer.tokens[0].logprob == pytest.approx(alone.tokens[0].logprob, abs=1e-4)
    assert answer.usage.prompt_tokens == alone.usage.prompt_tokens


def test_a_stalled_replica_is_replaced_by_another(serving: RunningServing, client: httpx2.Client) -> None:
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
