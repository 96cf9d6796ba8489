"""Any OpenAI-compatible server in place of ours: confidence is computed here, and without log-probabilities held."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from serving.confidence.calibration import calibration_from_json, calibration_to_json
from storage import calibrations, interactions
from tests.gateway.running import Gateway, running, settings_for
from tests.serving.confidence.made import TEXT, calibration, cascading

KEY = "sk-upstream"
MODEL = "small-model"


class Upstream:
    """Answers chat completions with log-probabilities of one character a token."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.samples: list[str] = []  # what further asks without log-probabilities are answered; then TEXT
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.url = ""
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", self._chat)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _chat(self, request: web.Request) -> web.Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return web.json_response({"error": {"message": "no", "code": "invalid_api_key"}}, status=401)
        body = await request.json()
        self.bodies.append(body)
        question = body["messages"][-1]["content"]
        logprob = float(question.split()[1])
        rows = [
            {"token": each, "logprob": logprob, "top_logprobs": [{"token": each, "logprob": logprob}]} for each in TEXT
        ]
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": TEXT},
            "finish_reason": "stop",
            "logprobs": {"content": rows},
        }
        if "[bare]" in question:
            choice["logprobs"] = None
        if "[swapped]" in question:
            choice["message"]["content"] = "Something else"
        if "[odd]" in question:
            choice["finish_reason"] = "tool_calls"
        if "[nul]" in question:
            choice["message"]["content"] = "a\x00b"
        if "[nul token]" in question:
            rows[0]["top_logprobs"][0]["token"] = "\x00"
        if "logprobs" not in body:  # a sample
            choice["logprobs"] = None
            choice["message"]["content"] = self.samples.pop(0) if self.samples else TEXT
            if choice["message"]["content"] == "[fails]":
                return web.json_response({"error": {"message": "no more", "code": "busy"}}, status=429)
        if "[parts]" in question:
            choice["message"]["content"] = [{"type": "text", "text": TEXT}]
        usage = {"prompt_tokens": 5, "completion_tokens": len(TEXT), "total_tokens": 5 + len(TEXT)}
        model = question.split("as=")[1] if "as=" in question else MODEL
        reply = {"model": model, "choices": [] if "[empty]" in question else [choice], "usage": usage}
        return web.Response(body=json.dumps(reply), content_type="application/json")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    found = Upstream()
    yield found
    found.stop()


def without_prompt(model: str) -> dict[str, Any]:
    """A calibration that needs nothing an upstream does not tell."""
    body = calibration_to_json(calibration(model))
    body["shapes"] = [shape for shape in body["shapes"] if not shape["signal"].startswith("prompt")]
    del body["id"]
    return body


@pytest.fixture
def gateway(upstream: Upstream, home: Path, valkey_url: str) -> Iterator[Gateway]:
    settings = settings_for(
        home, "http://127.0.0.1:9", valkey_url, upstream_url=upstream.url, upstream_key=KEY, upstream_model=MODEL
    )
    with running(settings) as found:
        with found.database.transaction() as connection:
            body = calibration_to_json(calibration_from_json(without_prompt(MODEL)))
            calibrations.activate(connection, calibrations.store(connection, body).id, "test")
        yield found


@pytest.fixture
def cascading_gateway(gateway: Gateway, upstream: Upstream) -> Gateway:
    upstream.samples.clear()
    upstream.bodies.clear()
    body = calibration_to_json(cascading(MODEL))
    for stage in (body, *body["stages"]):
        stage["shapes"] = [shape for shape in stage["shapes"] if not shape["signal"].startswith("prompt")]
    del body["id"]
    body["recogniser"], body["maps"], body["cascade"] = None, {}, {**body["cascade"], "low": 0.2, "high": 0.85}
    with gateway.database.transaction() as connection:
        read = calibration_to_json(calibration_from_json(body))
        calibrations.activate(connection, calibrations.store(connection, read).id, "test")
    return gateway


def ask(gateway: Gateway, question: str, **body: Any) -> dict[str, Any]:
    return dict(gateway.ask(question, **{"model": MODEL, **body}).json())


def test_sure_tokens_release_and_unsure_ones_hold(gateway: Gateway) -> None:
    sure, unsure = ask(gateway, "say -0.001"), ask(gateway, "say -2.0")
    assert sure["choices"][0]["message"]["content"] == TEXT
    assert sure["review"]["action"] == "release"
    assert unsure["review"]["action"] == "hold"
    assert unsure["review"]["confidence"] < 0.85 <= sure["review"]["confidence"]
    assert sure["review"]["calibration"].startswith("cal_")


@pytest.mark.parametrize("mark", ["[bare]", "[swapped]", "[odd]"])
def test_answer_that_its_logprobs_do_not_vouch_for_is_held(gateway: Gateway, mark: str) -> None:
    held = ask(gateway, f"say -0.001 {mark}")
    assert held["review"]["action"] == "hold"
    assert held["choices"][0]["message"]["content"] is None


@pytest.mark.parametrize("told", ["another-model", "\x07"])
def test_answer_of_another_model_is_held_under_the_name_it_gave(gateway: Gateway, told: str) -> None:
    held = ask(gateway, f"say -0.001 as={told}")
    assert (held["review"]["action"], held["review"]["reason"]) == ("hold", "uncalibrated")
    assert held["system_fingerprint"] == (told if told.isprintable() else "untold")
    assert held["choices"][0]["message"]["content"] is None


def test_parameters_are_passed_on_and_logprobs_always_asked_for(gateway: Gateway, upstream: Upstream) -> None:
    ask(gateway, "say -0.001", max_tokens=50, temperature=0.2, stop=["\n"], seed=4)
    sent = upstream.bodies[-1]
    assert (sent["logprobs"], sent["top_logprobs"], sent["model"]) == (True, 5, MODEL)
    assert (sent["max_completion_tokens"], sent["temperature"], sent["stop"], sent["seed"]) == (50, 0.2, ["\n"], 4)


@pytest.mark.parametrize("mark", ["[empty]", "[nul]", "[nul token]", "[parts]"])
def test_unreadable_answer_is_503_and_shows_nothing(gateway: Gateway, mark: str) -> None:
    response = gateway.ask(f"say -0.001 {mark}", model=MODEL)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "bad_answer")
    assert response.headers["retry-after"]


def recorded(gateway: Gateway, interaction_id: str) -> dict[str, Any]:
    """The answer as the record keeps it."""
    with gateway.database.transaction() as connection:
        outcome = interactions.get_outcome(connection, interaction_id, "acme")
    assert outcome is not None
    return dict(outcome.interaction.answer)


UNSURE = "say -0.08"


def test_inside_the_band_further_samples_are_asked_of_the_upstream(
    cascading_gateway: Gateway, upstream: Upstream
) -> None:
    reply = ask(cascading_gateway, UNSURE, seed=4, temperature=0.2)
    first, *samples = upstream.bodies
    assert first["logprobs"]
    assert 1 <= len(samples) <= 2
    for sample in samples:
        assert "logprobs" not in sample
        assert (sample["temperature"], sample["messages"]) == (1.0, first["messages"])
    assert len({body["seed"] for body in upstream.bodies}) == len(upstream.bodies)
    assert reply["usage"]["completion_tokens"] == len(TEXT)
    kept = recorded(cascading_gateway, reply["id"])
    assert kept["confidence"]["samples"] == len(samples)
    assert kept["sampled"]["completion_tokens"] == len(samples) * len(TEXT)
    assert kept["timings_ms"]["samples"] > 0


def test_samples_that_agree_make_surer_than_others(cascading_gateway: Gateway, upstream: Upstream) -> None:
    agreed = ask(cascading_gateway, UNSURE)["review"]["confidence"]
    upstream.samples[:] = ["Answer: 5", "Answer: 6"]
    differing = ask(cascading_gateway, UNSURE)["review"]["confidence"]
    assert differing < agreed


def test_a_sample_that_fails_leaves_the_answer_with_what_was_reached(
    cascading_gateway: Gateway, upstream: Upstream
) -> None:
    upstream.samples[:] = ["[fails]"]
    reply = ask(cascading_gateway, UNSURE)
    assert 0.1 < reply["review"]["confidence"] < 0.85
    assert recorded(cascading_gateway, reply["id"])["confidence"]["samples"] == 0
    assert len(upstream.bodies) == 2


@pytest.mark.parametrize("question", ["say -0.0001", "say -9.0"])
def test_outside_the_band_the_upstream_is_asked_once(
    cascading_gateway: Gateway, upstream: Upstream, question: str
) -> None:
    ask(cascading_gateway, question)
    assert len(upstream.bodies) == 1


def test_extra_samples_are_counted_among_the_metrics(cascading_gateway: Gateway, upstream: Upstream) -> None:
    ask(cascading_gateway, UNSURE)
    drawn = len(upstream.bodies) - 1
    with cascading_gateway.http(None) as http:
        told = http.get("/metrics").text
    assert f"countersign_samples_sum {float(drawn)}" in told
    assert f'gen_ai_client_token_usage_total{{gen_ai_token_type="sample_output"}} {float(drawn * len(TEXT))}' in told
