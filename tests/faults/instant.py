"""A model's server that answers at once, each question in its own words, as sure as the question's mark says."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from aiohttp import web

from launch.ports import LOOPBACK
from serving.answer import Answer, Confidence, PromptTrace, Signal, TokenTrace, Usage, answer_to_json
from tests.serving.confidence.made import MODEL

TOKEN = "the-harness's-own"
_MARK = re.compile(r"\[(\d\.\d+|unknown)\]")


class InstantModel:
    """Speaks serving's HTTP contract. `asks` counts."""

    def __init__(self) -> None:
        self.asks = 0
        self.url = ""
        self._known: set[str] = set()
        self._runner: web.AppRunner | None = None

    async def start(self) -> InstantModel:
        app = web.Application()
        app.add_routes([web.get("/model", self._model), web.post("/ask", self._ask)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        self.url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _model(self, _: web.Request) -> web.Response:
        name = MODEL.split("@")[0]
        return web.json_response({"id": MODEL, "name": name, "context_length": 2048, "parameters": {}})

    async def _ask(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        calibration: dict[str, Any] | None = body.get("calibration")
        if calibration is not None and "body" in calibration:
            self._known.add(calibration["id"])
        elif calibration is not None and calibration["id"] not in self._known:
            error = {"message": "Send it in full.", "type": "conflict", "param": None, "code": "unknown_calibration"}
            return web.json_response({"error": error}, status=409)
        self.asks += 1
        answer = answer_to(body["messages"][-1]["content"], calibration["id"] if calibration else None, self.asks)
        return web.json_response(answer_to_json(answer))


def answer_to(question: str, calibration: str | None, ask: int) -> Answer:
    """Never the same words twice: two generations that were spliced would be seen."""
    marked = _MARK.search(question)
    value = None if marked is None or marked[1] == "unknown" or calibration is None else float(marked[1])
    text = f"Answer {ask} {hashlib.sha256(question.encode()).hexdigest()[:12]}"
    tokens = tuple(TokenTrace(word, 1, -0.1, ((word, -0.1),), 0.3, 2.0) for word in re.findall(r"\S+\s*", text))
    confidence = Confidence(
        value=value,
        calibration_id=calibration if value is not None else None,
        calibrated=value is not None,
        score=value,
        signals=(Signal("logprob_mean", -0.1),),
        domain="arithmetic",
        note=None if value is not None else "Nothing vouches for it.",
    )
    prompt, usage = PromptTrace(9, -1.2, -2.0), Usage(9, len(tokens))
    return Answer(text, "stop", tokens, prompt, confidence, usage, MODEL, "instant", {"decode": 0.1})
