"""Bad input: the OpenAI error shape with the parameter's name, and a request id on every response."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from gateway.model_client import ServedModel
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for

GOOD: dict[str, Any] = {"model": "countersign-reference", "messages": [{"role": "user", "content": "hi [0.97]"}]}


def check_shape(response: Any, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"]
    if param is not None:
        assert error["param"] == param
    if code is not None:
        assert error["code"] == code
    return error


def send(gateway: Gateway, body: bytes | dict[str, Any], who: str | None = "caller") -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with gateway.http(who) as http:
        return http.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"functions": [{}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -0.1}, "presence_penalty"),
        ({"store": False}, "store"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"colour": "red"}, "colour"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "name": "bob"}]}, "messages[0].name"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content",
        ),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": 2**70}, "seed"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [""]}, "stop[0]"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 6}, "top_logprobs"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"user": 5}, "user"),
        ({"review": {"on_hold": "maybe"}}, "review.on_hold"),
        ({"review": {"skip": True}}, "review.skip"),
        ({"model": 5}, "model"),
    ],
)
def test_refused_parameter_is_named(gateway: Gateway, serving: FakeServing, change: dict[str, Any], param: str) -> None:
    before = len(serving.asks)
    error = check_shape(send(gateway, {**GOOD, **change}), 400, param)
    assert error["type"] == "invalid_request_error"
    assert len(serving.asks) == before


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_missing_parameter_is_named(gateway: Gateway, missing: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != missing}
    check_shape(send(gateway, body), 400, missing, "missing_required_parameter")


@pytest.mark.parametrize(
    "neutral",
    [
        {"n": 1},
        {"tools": []},
        {"logit_bias": {}},
        {"frequency_penalty": 0, "presence_penalty": 0.0},
        {"response_format": {"type": "text"}},
        {"modalities": ["text"]},
        {"store": True},
        {"service_tier": "auto"},
        {"user": "u-1", "safety_identifier": "s", "prompt_cache_key": "p"},
        {"temperature": None, "stop": None, "tools": None, "metadata": None},
        {"metadata": {"team": "maths"}},
    ],
)
def test_neutral_values_are_accepted(gateway: Gateway, neutral: dict[str, Any]) -> None:
    assert send(gateway, {**GOOD, **neutral}).status_code == 200


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"", None, "invalid_json"),
        (b"{", None, "invalid_json"),
        (b"[]", None, "invalid_json"),
        (b'"x"', None, "invalid_json"),
        (b"\xff\xfe{}", None, "invalid_json"),
        (json.dumps(GOOD).encode("utf-16"), None, "invalid_json"),
        (json.dumps(GOOD).encode("utf-16-le"), None, "invalid_json"),
        (json.dumps(GOOD).encode("utf-32"), None, "invalid_json"),
        (b'{"model": "m", "temperature": NaN}', "temperature", None),
        (b'{"model": "m", "temperature": -Infinity}', "temperature", None),
        (b'{"model": "m", "temperature": 1e999}', "temperature", None),
        (b'{"messages": [{"role": "user", "content": "a\\u0000b"}]}', "messages[0].content", None),
        (b'{"messages": [{"role": "user", "content": "a\\ud800b"}]}', "messages[0].content", None),
        (b'{"metadata": {"a\\udfff": "b"}}', None, None),
        (b'{"metadata": ' + b'{"a":' * 60 + b"1" + b"}" * 60 + b"}", "metadata", "too_deep"),
        (b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None, "too_deep"),
    ],
)
def test_hostile_json_is_refused(gateway: Gateway, body: bytes, param: str | None, code: str | None) -> None:
    check_shape(send(gateway, body), 400, param, code)


def test_oversized_body_is_413_and_is_not_read_to_its_end(gateway: Gateway) -> None:
    check_shape(send(gateway, b"x" * (gateway.settings.max_body_bytes + 1)), 413, None, "body_too_large")


def test_oversized_body_without_a_length_is_413(gateway: Gateway) -> None:
    def endless() -> Any:
        for _ in range(64):
            yield b"x" * 65_536

    with gateway.http() as http:
        check_shape(http.post("/v1/chat/completions", content=endless()), 413, None, "body_too_large")


def test_unknown_model_is_404_as_openai_says_it(gateway: Gateway) -> None:
    check_shape(send(gateway, {**GOOD, "model": "gpt-9"}), 404, "model", "model_not_found")


@pytest.mark.parametrize("who", [None, "csk_wrong", "x" * 5000])
def test_bad_key_is_401(gateway: Gateway, who: str | None) -> None:
    error = check_shape(send(gateway, GOOD, who), 401, None, "invalid_api_key")
    assert error["type"] == "authentication_error"


def test_key_without_the_role_is_403(gateway: Gateway) -> None:
    check_shape(send(gateway, GOOD, "ada"), 403, None, "missing_role")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PUT", "/v1/models", 405), ("GET", "/v1/models/", 404), ("DELETE", "/v1/reviews", 405)],
)
def test_wrong_address_or_method_has_the_error_shape(gateway: Gateway, method: str, path: str, status: int) -> None:
    with gateway.http() as http:
        check_shape(http.request(method, path), status)


@pytest.mark.parametrize("path", ["/health/live", "/v1/models", "/metrics", "/openapi.json"])
def test_request_id_is_on_good_responses_too(gateway: Gateway, path: str) -> None:
    with gateway.http() as http:
        assert http.get(path).raise_for_status().headers["x-request-id"].startswith("req_")


def test_callers_own_request_id_is_kept_when_harmless(gateway: Gateway) -> None:
    with gateway.http() as http:
        assert http.get("/health/live", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
        evil = http.get("/health/live", headers={"x-request-id": 'a" b'}).headers["x-request-id"]
    assert evil.startswith("req_")


@pytest.mark.parametrize(
    ("mark", "status", "code", "retry_after"),
    [("[busy]", 429, "overloaded", "3"), ("[starting]", 503, "starting", "7")],
)
def test_busy_model_is_told_with_retry_after(
    gateway: Gateway, mark: str, status: int, code: str, retry_after: str
) -> None:
    response = gateway.ask(f"now {mark}")
    check_shape(response, status, None, code)
    assert response.headers["retry-after"] == retry_after


def test_models_own_refusal_names_the_parameter(gateway: Gateway) -> None:
    check_shape(gateway.ask("x [too long]"), 400, "messages", "context_length_exceeded")


class Broken:
    """A model client with a fault in it."""

    provider = "broken"

    async def model(self) -> ServedModel:
        raise RuntimeError("canary: the inside of the program")

    check = model

    async def close(self) -> None: ...


def test_fault_inside_is_a_500_that_says_nothing_of_the_inside(
    home: Path, serving: FakeServing, valkey_url: str
) -> None:
    settings = settings_for(home, serving.url, valkey_url)
    with running(settings, model_client=Broken()) as gateway:
        answer = gateway.ask("hello [0.97]")
        check_shape(answer, 500, None, "internal")
        assert "canary" not in answer.text
        with gateway.http(None) as http:
            assert http.get("/health/live").status_code == 200


def test_model_that_nobody_serves_is_503_and_not_ready(home: Path, valkey_url: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with running(settings_for(home, url, valkey_url)) as gateway:
            answer = gateway.ask("hello [0.97]")
            check_shape(answer, 503, None, "serving_unreachable")
            assert answer.headers["retry-after"]
            with gateway.http(None) as http:
                ready = http.get("/health/ready")
    assert (ready.status_code, ready.json()["model"]) == (503, "serving_unreachable")


def test_query_that_does_not_fit_names_its_parameter(gateway: Gateway) -> None:
    with gateway.http() as http:
        check_shape(http.get("/v1/chat/completions?limit=0"), 400, "limit")
        check_shape(http.get("/v1/chat/completions?order=up"), 400, "order")
        check_shape(http.get("/v1/chat/completions?after=unknown"), 400, "after")
    with gateway.http("auditor") as http:
        check_shape(http.get("/v1/audit/events?kinds=nonsense"), 400, "kinds")
        check_shape(http.get("/v1/audit/events?after=%00"), 400, "after")
        check_shape(http.get("/v1/audit/events?colour=red"), 400, "colour")
        check_shape(http.get("/v1/audit/events?min_confidence=nan"), 400, "min_confidence")
    with gateway.http("ada") as http:
        check_shape(http.get("/v1/reviews?state=lost"), 400, "state")
        check_shape(http.get("/v1/reviews?after=zzz"), 400, "after")


@pytest.mark.parametrize(
    ("method", "path", "param"),
    [
        ("GET", "/v1/chat/completions/%00", "id"),
        ("DELETE", "/v1/chat/completions/%00", "id"),
        ("GET", "/v1/chat/completions/%00/messages", "id"),
        ("GET", "/v1/chat/completions?model=%00", "model"),
        ("GET", "/v1/chat/completions?after=%00", "after"),
        ("GET", "/v1/chat/completions?metadata[a]=%00", "metadata[a]"),
        ("GET", "/v1/chat/completions?metadata[%00]=a", "metadata[\\0]"),
        ("GET", "/v1/reviews/%00", "id"),
        ("POST", "/v1/reviews/%00/claim", "id"),
        ("GET", "/v1/audit/events/%00", "id"),
        ("GET", "/v1/audit/events?model=%00", "model"),
        ("DELETE", "/v1/keys/%00", "id"),
    ],
)
def test_nul_in_an_address_is_400_on_every_database(gateway: Gateway, method: str, path: str, param: str) -> None:
    with gateway.http("admin") as http:
        check_shape(http.request(method, path), 400, param)


def test_schemas_of_requests_and_answers_are_published(gateway: Gateway) -> None:
    with gateway.http(None) as http:
        document = http.get("/openapi.json").json()
    chat = document["paths"]["/v1/chat/completions"]["post"]
    schema = chat["requestBody"]["content"]["application/json"]["schema"]
    assert {"model", "messages", "review"} <= set(schema["properties"])
    assert set(chat["responses"]) >= {"200", "202", "400", "401", "409", "413", "503"}
    assert {"ErrorBody", "Completion", "Review"} <= set(document["components"]["schemas"])
