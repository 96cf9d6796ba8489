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
from tests.gateway.certified import put_in_use
from tests.gateway.running import Gateway, running, settings_for
from tests.serving.confidence.made import TEXT, calibration

KEY = "sk-upstream"
MODEL = "small-model"


class Upstream:
    """Answers chat completions with log-probabilities of one character a token."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
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
            put_in_use(connection, body)
        yield found


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
