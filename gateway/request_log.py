"""Gives each request its id and its line in the log, counts it, and answers what nobody else caught."""

from __future__ import annotations

import re
import secrets
from time import monotonic

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import error_response
from gateway.metrics import Metrics

CALLER_GONE = 499
SENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
log = structlog.get_logger("request")


class RequestLog:
    """The outermost layer; pure ASGI, so that streams and disconnects pass untouched."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = id_of(scope)
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}
        started, status = monotonic(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:  # gone in the middle of the body: nobody is left to answer
                status = status or CALLER_GONE
            except Exception as error:
                log.error("request failed", error=type(error).__name__, exc_info=error)
                if status == 0:
                    await error_response(error)(scope, receive, send_with_id)
            finally:
                self._note(scope, status, monotonic() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.requests.labels(scope["method"], route, str(status)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        known = {name: scope["state"][name] for name in ("key_id", "trace_id") if name in scope["state"]}
        log.info("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 1), **known)


def id_of(scope: Scope) -> str:
    """The caller's own request id when it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SENT_ID.fullmatch(sent := value.decode("latin-1")):
            return str(sent)
    return f"req_{secrets.token_hex(12)}"
