"""The gateway's review API in memory, for the dashboard's own tests."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.review_ui.confidence_samples import capacity, confidence
from tests.review_ui.samples import events, figures

CLAIM_SECONDS = 900.0
STATE_AFTER = {"approve": "approved", "edit": "edited", "reject": "rejected", "refer": "pending"}


class Fault(Exception):
    def __init__(self, status: int, message: str, code: str) -> None:
        self.status, self.message, self.code = status, message, code


@dataclass
class GatewayDouble:
    """Items by id in order of urgency; keys by secret; sign-in links by name."""

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    links: dict[str, str | None] = field(default_factory=dict)  # link -> key secret; None once used
    log: list[tuple[str, str]] = field(default_factory=list)
    broken: bool = False
    confidence: dict[str, Any] | None = field(default_factory=lambda: confidence(time.time()))  # None: an old gateway

    def add_person(self, secret: str, name: str, *roles: str) -> None:
        self.people[secret] = {
            "id": f"key_{name.split()[0].lower()}",
            "name": name,
            "tenant": "acme",
            "roles": list(roles),
        }

    def add_link(self, link: str, secret: str) -> None:
        self.links[link] = secret

    def add_item(self, item: dict[str, Any]) -> None:
        self.items[item["id"]] = {**item, "fencing_token": 0}

    def lapse(self, item_id: str) -> None:
        self.items[item_id] |= {"state": "pending", "claimed_by": None, "claim_expires_at": None}

    def decided_by_another(self, item_id: str, name: str) -> None:
        self.items[item_id] |= {
            "state": "rejected",
            "claimed_by": None,
            "verdict": {"kind": "reject", "reason": "Wrong result", "content": None,
                        "reviewer": {"id": "key_other", "name": name}, "created_at": time.time()},
        }  # fmt: skip

    # -- what a request may see and do ------------------------------------------------------------

    def four_eyes(self, item_id: str, name: str, kind: str, content: str | None = None) -> None:
        """Two must agree on this item, and `name` gave the first word."""
        word = {"kind": kind, "reason": "a slip" if content else "", "content": content,
                "reviewer": {"id": "key_first", "name": name}, "created_at": time.time()}  # fmt: skip
        self.items[item_id] |= {"four_eyes": True, "tier": "ultra", "proposal": word, "opinions": [word]}

    def detail(self, item: dict[str, Any], me: dict[str, Any]) -> dict[str, Any]:
        mine = item["state"] == "claimed" and item["claimed_by"]["id"] == me["id"]
        claim = {"fencing_token": item["fencing_token"], "expires_at": item["claim_expires_at"]} if mine else None
        return {**item, "claim": claim}

    def claim(self, item: dict[str, Any], me: dict[str, Any]) -> dict[str, Any]:
        if item.get("barred_by"):
            raise Fault(409, "The gateway's own sentence.", item["barred_by"])
        if item["state"] == "claimed" and item["claimed_by"]["id"] != me["id"]:
            raise Fault(409, f"{item['claimed_by']['name']} holds this review.", "already_claimed")
        if item["state"] not in ("pending", "claimed"):
            raise Fault(409, f"This review was already decided: {item['state']}.", "already_decided")
        item |= {"state": "claimed", "claimed_by": {"id": me["id"], "name": me["name"]}}
        item |= {"claim_expires_at": time.time() + CLAIM_SECONDS, "fencing_token": item["fencing_token"] + 1}
        return self.detail(item, me)

    def held(self, item_id: str, me: dict[str, Any], token: int) -> dict[str, Any]:
        item = self.items.get(item_id)
        if item is None:
            raise Fault(404, "No such review.", "not_found")
        if item["verdict"] and item["state"] != "pending":
            raise Fault(
                409, f"{item['verdict']['reviewer']['name']} already decided: {item['state']}.", "already_decided"
            )
        if self.detail(item, me)["claim"] is None or item["fencing_token"] != token:
            raise Fault(409, "Your claim on this review has lapsed.", "stale_claim")
        return item

    def decide(self, item: dict[str, Any], me: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        item |= {"state": STATE_AFTER[body["verdict"]], "claim_expires_at": None, "claimed_by": None}
        if item.get("four_eyes") and not item["proposal"] and body["verdict"] in ("approve", "edit"):
            item["state"] = "pending"
        item["verdict"] = {"kind": body["verdict"], "reason": body["reason"], "content": body["content"],
                           "reviewer": {"id": me["id"], "name": me["name"]}, "created_at": time.time()}  # fmt: skip
        return self.detail(item, me)

    def listing(self, query: Any) -> dict[str, Any]:
        states = query.get("state", "pending,claimed").split(",")
        rows = sorted((i for i in self.items.values() if i["state"] in states), key=lambda i: (i["urgency"], i["id"]))
        start, limit = int(query.get("after", 0)), int(query.get("limit", 50))
        counts: dict[str, int] = {}
        for item in self.items.values():
            counts[item["state"]] = counts.get(item["state"], 0) + 1
        more = len(rows) > start + limit
        return {"object": "list", "data": rows[start : start + limit], "has_more": more,
                "next": str(start + limit) if more else None, "counts": counts}  # fmt: skip

    def audit(self, query: Any) -> dict[str, Any]:
        rows = events(time.time())
        if kinds := query.get("kinds"):
            rows = [row for row in rows if row["kind"] in kinds.split(",")]
        for name in ("interaction_id", "item_id", "trace_id"):
            rows = [row for row in rows if query.get(name) in (None, row[name])]
        start, limit = int(query.get("after", 0)), int(query.get("limit", 50))
        more = len(rows) > start + limit
        return {"object": "list", "data": rows[start : start + limit], "has_more": more,
                "next": str(start + limit) if more else None}  # fmt: skip

    # -- HTTP ---------------------------------------------------------------------------------------

    def who(self, request: Request) -> dict[str, Any]:
        secret = request.headers.get("authorization", "").removeprefix("Bearer ")
        if secret not in self.people:
            raise Fault(401, "This key is unknown, expired or revoked.", "invalid_api_key")
        return self.people[secret]

    async def answer(self, request: Request) -> Response:
        self.log.append((request.method, request.url.path))
        try:
            if self.broken:
                raise Fault(503, "The database does not answer.", "unavailable")
            return await self._route(request)
        except Fault as fault:
            error = {"message": fault.message, "type": "invalid_request_error", "param": None, "code": fault.code}
            return JSONResponse({"error": error}, fault.status, headers={"x-request-id": "req_test"})

    async def _route(self, request: Request) -> Response:
        path, method = request.url.path.removeprefix("/v1"), request.method
        body = await request.json() if method in ("POST", "PUT") else {}
        if path == "/signin":
            return JSONResponse(self._sign_in(body["link"]))
        me = self.who(request)
        if path == "/whoami" and method == "DELETE":
            del self.people[request.headers["authorization"].removeprefix("Bearer ")]
            return Response(status_code=204)
        if path == "/whoami":
            return JSONResponse(me)
        if path == "/monitoring":
            return JSONResponse(figures(time.time(), int(request.query_params["hours"])))
        if path == "/monitoring/confidence":
            return JSONResponse(self._told(self.confidence))
        if path == "/monitoring/capacity":
            return JSONResponse(self._told(capacity(request.query_params) if self.confidence else None))
        if path == "/audit/export":
            return Response("\n".join(row["id"] for row in events(time.time())), media_type="application/x-ndjson")
        if path.startswith("/audit"):
            return JSONResponse(self._audit(path, request.query_params))
        return self._reviews(
            path.removeprefix("/reviews").strip("/").split("/"), method, body, me, request.query_params
        )

    def _sign_in(self, link: str) -> dict[str, Any]:
        if link not in self.links:
            raise Fault(401, "This sign-in link is unknown.", "invalid_link")
        secret = self.links[link]
        if secret is None:
            raise Fault(410, "This sign-in link was already used.", "link_used")
        self.links[link] = None
        return {"key": secret, **self.people[secret], "expires_at": time.time() + 3600}

    def _told(self, found: dict[str, Any] | None) -> dict[str, Any]:
        if found is None:
            raise Fault(404, "Not Found", "not_found")
        return found

    def _audit(self, path: str, query: Any) -> dict[str, Any]:
        wanted = path.removeprefix("/audit/events").strip("/")
        return next(e for e in events(time.time()) if e["id"] == wanted) if wanted else self.audit(query)

    def _reviews(self, parts: list[str], method: str, body: dict[str, Any], me: dict[str, Any], query: Any) -> Response:
        if parts == [""]:
            return JSONResponse(self.listing(query))
        if parts == ["claim"]:
            waiting = [row for row in self.listing({"state": "pending"})["data"] if not row.get("barred_by")]
            return JSONResponse(self.claim(waiting[0], me)) if waiting else Response(status_code=204)
        item_id, verb = parts[0], parts[1] if len(parts) > 1 else ""
        if item_id not in self.items:
            raise Fault(404, "No such review.", "not_found")
        if verb == "":
            return JSONResponse(self.detail(self.items[item_id], me))
        if verb == "claim":
            return JSONResponse(self.claim(self.items[item_id], me))
        item = self.held(item_id, me, body["fencing_token"])
        if verb == "draft":
            item["draft"] = {"text": body["text"], "note": body["note"], "saved_at": time.time()}
            return JSONResponse({"saved_at": time.time()})
        if verb == "extend":
            item["claim_expires_at"] = time.time() + CLAIM_SECONDS
            return JSONResponse({"expires_at": item["claim_expires_at"]})
        if verb == "release":
            self.lapse(item_id)
            return Response(status_code=204)
        return JSONResponse(self.decide(item, me, body))

    def app(self) -> Starlette:
        methods = ["GET", "POST", "PUT", "DELETE"]
        return Starlette(routes=[Route("/v1/{path:path}", self.answer, methods=methods)])


@contextlib.contextmanager
def serve(double: GatewayDouble, port: int = 0) -> Iterator[str]:
    """The double on loopback in a thread of its own; yields its address."""
    listener = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(double.app(), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
