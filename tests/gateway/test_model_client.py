"""A model's server that hangs, or says what is no text, is told apart from a caller's mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import orjson
import pytest

from gateway import json_peer, model_client
from gateway.errors import ApiError
from gateway.json_peer import parsed
from gateway.model_client import ServingClient
from tests.gateway.fake_serving import MODEL, TOKEN, FakeServing
from tests.gateway.running import Gateway


@pytest.fixture
def hanging(serving: FakeServing) -> Iterator[FakeServing]:
    serving.hangs = True
    yield serving
    serving.hangs = False


async def test_server_that_hangs_when_asked_what_it_serves_is_given_up_soon(
    hanging: FakeServing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_peer, "DESCRIPTION_SECONDS", 0.05)
    client = ServingClient(hanging.url, TOKEN, timeout_seconds=120.0)
    async with asyncio.timeout(20):  # far less than an answer may take
        with pytest.raises(ApiError) as caught:
            await client.model()
    assert (caught.value.status, caught.value.code) == (503, "serving_unreachable")
    await client.close()


async def test_known_model_is_believed_for_a_while_when_its_server_hangs(
    serving: FakeServing, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ServingClient(serving.url, TOKEN, timeout_seconds=120.0)
    monkeypatch.setattr(model_client, "MODEL_SECONDS", 0.0)
    await client.model()
    monkeypatch.setattr(json_peer, "DESCRIPTION_SECONDS", 0.05)
    monkeypatch.setattr(model_client, "MODEL_SECONDS", 600.0)
    serving.hangs = True
    try:
        assert (await client.model()).id == MODEL
    finally:
        serving.hangs = False
    await client.close()
    assert (await client.model()).id == MODEL  # without asking: the client is closed


@pytest.mark.parametrize("mark", ["[nul]", "[number]"])
def test_answer_that_is_no_text_is_the_models_fault(gateway: Gateway, mark: str) -> None:
    answer = gateway.ask(f"no text {mark} [0.97]")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "bad_answer")
    assert answer.headers["retry-after"]


@pytest.mark.parametrize("text", ["\\\\u0000", "\\u0000", "u0000"])
def test_letters_that_would_escape_a_nul_are_read(text: str) -> None:
    assert parsed(orjson.dumps({"text": text})) == {"text": text}
