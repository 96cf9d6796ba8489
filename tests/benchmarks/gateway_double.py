"""A gateway of a few lines that speaks the product's HTTP: it holds every question that contains "hard"."""

from __future__ import annotations

from typing import Any

from aiohttp import web

KEY = "csk_test"
REVIEWER_KEY = "csk_reviewer"


class GatewayDouble:
    """Answers "ok: <question>"; the first `busy` asks are told to come back at once."""

    def __init__(self, busy: int = 0, page: int = 2, forgets: bool = False) -> None:
        self.busy, self.page, self.forgets = busy, page, forgets
        self.asked: list[str] = []
        self.most_at_once = self.at_once = 0

    def app(self) -> web.Application:
        app = web.Application(middlewares=[_keyed])
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/v1/audit/events", self.events)
        app.router.add_get("/v1/reviews/{id}", self.review)
        return app

    async def chat(self, request: web.Request) -> web.Response:
        question = (await request.json())["messages"][-1]["content"]
        if self.busy > 0:
            self.busy -= 1
            return web.json_response({"error": {"message": "busy"}}, status=429, headers={"Retry-After": "0"})
        if "broken" in question:
            return web.json_response({"error": {"message": "no such thing"}}, status=400)
        self.asked.append(question)
        number, held = len(self.asked) - 1, "hard" in question
        content = None if held else f"ok: {question}"
        body = {
            "id": f"chatcmpl-{number}",
            "choices": [{"message": {"content": content}}],
            "review": {"id": f"rev_{number}" if held else None},
        }
        return web.json_response(body, status=202 if held else 200)

    async def events(self, request: web.Request) -> web.Response:
        newest_first = list(range(len(self.asked)))[::-1]
        if self.forgets:
            newest_first = newest_first[1:]
        start = int(request.query.get("after", 0))
        page = newest_first[start : start + self.page]
        more = start + self.page < len(newest_first)
        rows = [{"interaction_id": f"chatcmpl-{n}", "data": self._decision(self.asked[n])} for n in page]
        return web.json_response({"data": rows, "has_more": more, "next": str(start + self.page) if more else None})

    async def review(self, request: web.Request) -> web.Response:
        question = self.asked[int(request.match_info["id"].removeprefix("rev_"))]
        own = request.headers["Authorization"] == f"Bearer {KEY}"
        return web.json_response({"answer": {"text": None if own else f"held: {question}"}})

    def _decision(self, question: str) -> dict[str, Any]:
        held = "hard" in question
        return {"action": "hold" if held else "release", "reason": "r", "confidence": 0.3 if held else 0.9}


@web.middleware
async def _keyed(request: web.Request, handler: Any) -> web.StreamResponse:
    if request.headers.get("Authorization") not in (f"Bearer {KEY}", f"Bearer {REVIEWER_KEY}"):
        return web.json_response({"error": {"message": "bad key"}}, status=401)
    answer: web.StreamResponse = await handler(request)
    return answer
