"""A stand-in for the serving application: speaks its HTTP contract, says what the question's marks tell it to.

Marks in the last message: [0.61] the confidence; [unknown] none; [cut] finish reason length; [lost], [broken] and
[proxy] fail the first ask; [busy] 429; [starting] 503; [slow] waits until released; [too long] 400; [nul] and
[number] say what is no text.
"""

import asyncio
import re
import threading
from typing import Any

from aiohttp import web

from serving.answer import Answer, Confidence, PromptTrace, Signal, Step, TokenTrace, Usage, answer_to_json

MODEL = "countersign-reference@0123456789ab"
NAME = "countersign-reference"
TOKEN = "serving-secret"
NO_TEXTS: dict[str, Any] = {"[nul]": "a\x00b", "[number]": 42}
SECRET_TEXT = "The answer is forty-two"


class FakeServing:
    """Runs in a thread of its own; `asks` is what it was asked."""

    def __init__(self) -> None:
        self.asks: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.known: set[str] = set()
        self.hangs = False  # when asked what it serves
        self.cancelled = threading.Event()
        self.asked = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._slow = asyncio.Event()
        self.url = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()

    def start(self) -> "FakeServing":
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def let_slow_answers_go(self) -> None:
        self._loop.call_soon_threadsafe(self._slow.set)

    def hold_slow_answers(self) -> None:
        self._loop.call_soon_threadsafe(self._slow.clear)

    def times_asked(self, question: str) -> int:
        """How often; the calibration it had to be told first does not count."""
        alike = [ask["calibration"] for ask in self.asks if ask["messages"][-1]["content"] == question]
        return len(alike) - sum(bool(calibration and "body" in calibration) for calibration in alike)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.add_routes([web.get("/model", self._model), web.post("/ask", self._ask)])
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _model(self, request: web.Request) -> web.Response:
        if self.hangs:
            await asyncio.Event().wait()
        return web.json_response({"id": MODEL, "name": NAME, "context_length": 2048, "parameters": {}})

    async def _ask(self, request: web.Request) -> web.Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return failure(401, "invalid_token")
        body = await request.json()
        self.asks.append(body)
        self.headers.append(dict(request.headers))
        self.asked.set()
        question = body["messages"][-1]["content"]
        first = sum(ask["messages"] == body["messages"] for ask in self.asks) == 1
        if "[lost]" in question and first:
            return failure(503, "rank_lost")
        if "[broken]" in question and first:
            assert request.transport is not None
            request.transport.abort()
        if "[proxy]" in question and first:
            return web.Response(status=500, text="<html>no server</html>", content_type="text/html")
        if "[busy]" in question:
            return failure(429, "overloaded", retry_after="3")
        if "[starting]" in question:
            return failure(503, "starting", retry_after="7")
        if "[too long]" in question:
            return failure(400, "context_length_exceeded", "messages", "2,048 tokens at most.")
        calibration = body["calibration"]
        if calibration is not None:
            if "body" in calibration:
                self.known.add(calibration["id"])
            elif calibration["id"] not in self.known:
                return failure(409, "unknown_calibration")
        if "[slow]" in question:
            try:
                await self._slow.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        answer = answer_to_json(answer_to(question, calibration["id"] if calibration else None))
        odd = next((text for mark, text in NO_TEXTS.items() if mark in question), None)
        return web.json_response(answer if odd is None else {**answer, "text": odd})


def failure(
    status: int, code: str, param: str | None = None, message: str = "No.", retry_after: str | None = None
) -> web.Response:
    headers = {"retry-after": retry_after} if retry_after else {}
    body = {"error": {"message": message, "type": "server_error", "param": param, "code": code}}
    return web.json_response(body, status=status, headers=headers)


def answer_to(question: str, calibration: str | None) -> Answer:
    marked = re.search(r"\[(\d\.\d+|unknown)\]", question)
    value = None if marked is None or marked[1] == "unknown" or calibration is None else float(marked[1])
    tokens = tuple(
        TokenTrace(letter, ord(letter), -0.1, ((letter, -0.1), ("x", -2.5)), 0.3, 2.0) for letter in SECRET_TEXT
    )
    return Answer(
        text=SECRET_TEXT,
        finish_reason="length" if "[cut]" in question else "stop",
        tokens=(*tokens, TokenTrace("", 2, -0.01)),
        prompt=PromptTrace(9, -1.2, -2.0),
        confidence=Confidence(
            value=value,
            calibration_id=calibration if value is not None else None,
            calibrated=value is not None,
            score=None if value is None else value * 4,
            signals=(Signal("logprob_mean", -0.1), Signal("logprob_min", None)),
            domain="arithmetic",
            note=None if value is not None else "Nothing vouches for it.",
            samples=2 if "[checked]" in question else 0,
        ),
        usage=Usage(9, len(tokens) + 1),
        model=MODEL,
        replica="fake",
        timings_ms={"decode": 1.0},
        steps=(Step(0, 3, "invalid", "4 is 3 + 1"), Step(3, 5, "unknown", "")) if "[checked]" in question else (),
    )
