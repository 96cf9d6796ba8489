"""Knows how every failure is told over HTTP: one error type, one body shape, one handler."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from storage import errors as storage_errors
from storage.storable import hidden_character

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
PHRASES = {
    404: ("There is nothing at this address.", "not_found"),
    405: ("This address does not take this method.", "method_not_allowed"),
}


class ApiError(Exception):
    """A refusal or failure that the caller is told about."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = headers or {}


def bad_request(param: str | None, message: str, code: str = "invalid_value") -> ApiError:
    return ApiError(400, message, code=code, param=param)


def not_found(what: str, given: str) -> ApiError:
    return ApiError(404, f"No {what} with the id '{given[:100]}' exists here.", code="not_found", param="id")


def unavailable(message: str, code: str, retry_after: int = 5) -> ApiError:
    return ApiError(503, message, code=code, headers={"retry-after": str(retry_after)})


def conflict(message: str, code: str) -> ApiError:
    """409 that another try cannot cure, so the client is told not to retry."""
    return ApiError(409, message, code=code, headers={"x-should-retry": "false"})


def error_body(status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
    message, param = legible(message), None if param is None else legible(param)
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def legible(text: str) -> str:
    """`text` with what is not seen, or reorders what is seen, as escapes: a refusal may quote what it refuses."""
    if hidden_character(text) is None:
        return text
    return "".join(f"\\u{{{ord(letter):x}}}" if hidden_character(letter) else letter for letter in text)


def error_response(error: Exception) -> Response:
    """How HTTP says it: all four fields, whatever happened. Unknown errors say nothing of their inside."""
    told = as_api_error(error)
    body = error_body(told.status, told.message, told.code, told.param)
    return Response(orjson.dumps(body), told.status, told.headers, media_type="application/json")


def as_api_error(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        path = [str(part) for part in first["loc"] if part not in ("query", "body", "path", "header")]
        return bad_request(".".join(path) or None, f"{'.'.join(path)}: {first['msg']}.")
    if isinstance(error, HTTPException):
        message, code = PHRASES.get(error.status_code, (str(error.detail), f"http_{error.status_code}"))
        return ApiError(error.status_code, message, code=code, headers=dict(error.headers or {}))
    return as_storage_error(error)


def as_storage_error(error: Exception) -> ApiError:
    """What the storage's own refusals mean to an HTTP caller."""
    code = getattr(error, "code", "internal")
    match error:
        case storage_errors.NotFound():
            return ApiError(404, str(error), code=code, param="id")
        case storage_errors.Superseded():
            return ApiError(409, str(error), code=code, headers={"retry-after": "1"})
        case storage_errors.UnderLegalHold():
            return conflict(str(error), code)
        case storage_errors.Conflict():
            return conflict(str(error), code)
        case storage_errors.InvalidValue():
            return bad_request(error.field, str(error), code)
        case storage_errors.LinkUsed() | storage_errors.LinkExpired():
            return ApiError(410, str(error), code=code, param="link")
        case storage_errors.NotAReviewer():
            return ApiError(403, str(error), code=code)
        case storage_errors.DatabaseUnreachable() | storage_errors.QueueUnreachable():
            return unavailable("The database does not answer; nothing was shown or changed.", "storage_unavailable")
    return ApiError(500, "Something failed inside the gateway; the request id names it in the log.", code="internal")


async def handle(request: Request, error: Exception) -> Response:
    """The one exception handler of the application."""
    return error_response(error)
