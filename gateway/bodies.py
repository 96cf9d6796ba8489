"""Reads request bodies: bounded in size and depth, and free of what storage or a screen could not bear."""

from __future__ import annotations

import asyncio
import json
import math
from time import monotonic
from typing import Any, TypeAlias, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from gateway.auth import authenticate
from gateway.context import context_of
from gateway.errors import ApiError, bad_request

MAX_DEPTH = 32  # levels of nesting; a chat request needs six
WORDS = {"extra_forbidden": "is not a field of this API", "missing": "is required"}
Shape = TypeVar("Shape", bound=BaseModel)
Place: TypeAlias = "tuple[Place | None, str | int]"  # the place around, and the name or number within it
NAMES: Place = (None, "a field's name")
LATE_SECONDS = 1.0  # after which whoever sends a body may have lost their key


async def read_body(request: Request, most_bytes: int | None = None) -> bytes:
    """The whole body, of at most `most_bytes` where the setting allows more.

    Raises 413 as soon as it is known to be too large, 408 when it does not arrive in time, 401 when it comes late and
    the key has ended meanwhile.
    """
    settings = context_of(request).settings
    limit = settings.max_body_bytes if most_bytes is None else min(most_bytes, settings.max_body_bytes)
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > limit:
        raise too_large(limit)
    began = monotonic()
    try:
        async with asyncio.timeout(settings.body_seconds):
            body = await bounded(request, limit)
    except TimeoutError:
        message = f"The body did not arrive within {settings.body_seconds:g} seconds."
        raise ApiError(408, message, code="body_timeout", headers={"connection": "close"}) from None
    if monotonic() - began > LATE_SECONDS and "key_id" in request.scope["state"]:
        await authenticate(request, let_in=True)
    return body


async def bounded(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
    return b"".join(parts)


def too_large(limit: int) -> ApiError:
    # the rest of the body is not read, so the connection cannot serve another request
    return ApiError(
        413, f"The body is larger than {limit} bytes.", code="body_too_large", headers={"connection": "close"}
    )


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; raises 400 naming the offending field."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        data = parse_slowly(body, error)
    if not isinstance(data, dict):
        raise bad_request(None, "The body must be a JSON object.", "invalid_json")
    check_tree(data, None, 0)
    return data


def parse_slowly(body: bytes, first: orjson.JSONDecodeError) -> Any:
    """Python's lenient parser accepts NaN and lone surrogates, so that `check_tree` can name their field."""
    try:
        return json.loads(
            body.decode("utf-8-sig"), parse_int=whole
        )  # bytes would be taken as UTF-16 where they look like it
    except RecursionError:
        raise too_deep("") from None
    except (ValueError, UnicodeDecodeError):
        raise bad_request(None, f"The body is not valid JSON: {first.msg}.", "invalid_json") from None


def whole(digits: str) -> int | float:
    """An integer as the fast parser takes it: beyond 64 bits it is a float, so that one body never means two things."""
    number = int(digits) if len(digits) <= 20 else None
    return float(digits) if number is None or not -(2**63) <= number < 2**64 else number


def check_tree(node: Any, place: Place | None, depth: int) -> None:
    """`place`: where the node stands; its path is only written out for an error, a body may have a million places."""
    if depth > MAX_DEPTH:
        raise too_deep(path_of(place))
    if isinstance(node, str):
        check_text(node, place)
    elif isinstance(node, float) and not math.isfinite(node):
        path = path_of(place)
        raise bad_request(path or None, f"{path or 'The body'}: NaN and infinity are not JSON numbers.")
    elif isinstance(node, dict):
        for name, value in node.items():
            check_text(name, place or NAMES)
            check_tree(value, (place, name), depth + 1)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            check_tree(value, (place, index), depth + 1)


def path_of(place: Place | None) -> str:
    """As `field_path` writes it, of long names their beginning."""
    parts: list[int | str] = []
    while place is not None:
        place, part = place
        parts.append(part if isinstance(part, int) else part[:64])
    return field_path(tuple(reversed(parts)))


def check_text(text: str, place: Place | None) -> None:
    if "\x00" in text:
        path = path_of(place)
        raise bad_request(path or None, f"{path}: the NUL character is not allowed.")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            shown = path_of(place).encode("ascii", "backslashreplace").decode()
            raise bad_request(shown or None, f"{shown}: half a surrogate pair is not a character.") from None


def too_deep(path: str) -> ApiError:
    top = path.split(".")[0].split("[")[0] or None
    return bad_request(top, f"The body is nested deeper than {MAX_DEPTH} levels.", "too_deep")


def validated(shape: type[Shape], data: dict[str, Any]) -> Shape:
    """`data` as `shape`; raises 400 naming the first field that does not fit."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = field_path(first["loc"])
        code = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}.get(first["type"])
        message = WORDS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        raise bad_request(param or None, f"{param or 'The body'}: {message}.", code or "invalid_value") from None


def field_path(loc: tuple[int | str, ...]) -> str:
    """('messages', 0, 'content') → 'messages[0].content'."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path


async def read_as(request: Request, shape: type[Shape], most_bytes: int | None = None) -> Shape:
    """A request's body, read, parsed and validated."""
    return validated(shape, parse_object(await read_body(request, most_bytes)))
