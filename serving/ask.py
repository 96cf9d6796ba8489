"""Knows what a valid ask is: the body of POST /ask, read strictly, every refusal naming its field."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from typing import Any

import orjson

from serving.engine.generation import Message, Role

ROLES: tuple[Role, ...] = ("system", "user", "assistant")
FIELDS = ("messages", "max_tokens", "temperature", "top_p", "seed", "stop", "top_logprobs", "calibration", "cache_salt")
MOST_SALT = 256  # characters


class InvalidAsk(Exception):
    """The body cannot be asked; `param` names the field, `status` is HTTP's word for it."""

    def __init__(self, message: str, param: str | None, *, status: int = 400, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.code = message, param, status, code


@dataclass(frozen=True, slots=True)
class CalibrationReference:
    id: str
    body: dict[str, Any] | None = None  # in full when a replica answered that it does not know the id


@dataclass(frozen=True, slots=True)
class Ask:
    """What to generate. None means: the checkpoint's own default."""

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 5
    calibration: CalibrationReference | None = None
    # Asks of one salt reuse each other's prompts in the cache. One without shares with its own samples alone.
    cache_salt: str = field(default_factory=lambda: uuid.uuid4().hex, compare=False)


def parse_ask(raw: bytes) -> Ask:
    """Raises InvalidAsk."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidAsk(f"The body is not valid JSON: {error}.", None) from error
    if not isinstance(body, dict):
        raise InvalidAsk("The body must be a JSON object.", None)
    for name in body:
        if name not in FIELDS:
            raise InvalidAsk(f"'{name[:64]}' is not a field of an ask; remove it.", name[:64])
    salt = _salt(body.get("cache_salt"))
    return Ask(
        messages=_messages(body.get("messages")),
        max_tokens=_integer(body, "max_tokens", 1, 1_000_000),
        temperature=_number(body, "temperature", 0.0, 2.0),
        top_p=_number(body, "top_p", 0.0, 1.0, above=True),
        seed=_integer(body, "seed", -(2**63), 2**63 - 1),
        stop=_stop(body.get("stop")),
        top_logprobs=_integer(body, "top_logprobs", 0, 20, default=5),
        calibration=_calibration(body.get("calibration")),
        **({} if salt is None else {"cache_salt": salt}),
    )


def _messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise InvalidAsk('\'messages\' must be a non-empty list of {"role", "content"}.', "messages")
    return tuple(_message(message, f"messages[{index}]") for index, message in enumerate(value))


def _message(value: object, where: str) -> Message:
    if not isinstance(value, dict):
        raise InvalidAsk(f"'{where}' must be an object with 'role' and 'content'.", where)
    role, content = value.get("role"), value.get("content")
    if role not in ROLES:
        raise InvalidAsk(f"'{where}.role' must be one of {', '.join(ROLES)}.", f"{where}.role")
    if not isinstance(content, str):
        raise InvalidAsk(f"'{where}.content' must be a string.", f"{where}.content")
    if len(value) != 2:
        raise InvalidAsk(f"'{where}' may hold only 'role' and 'content'.", where)
    return Message(role, content)


def _integer(body: dict[str, Any], name: str, low: int, high: int, default: Any = None) -> Any:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidAsk(f"'{name}' must be a whole number from {low} to {high}.", name)
    return value


def _number(body: dict[str, Any], name: str, low: float, high: float, above: bool = False) -> float | None:
    """`above`: `low` itself is not allowed."""
    value = body.get(name)
    if value is None:
        return None
    inside = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not inside or not low <= value <= high or (above and value == low):
        raise InvalidAsk(f"'{name}' must be a number {'above' if above else 'from'} {low} to {high}.", name)
    return float(value)


def _stop(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > 4 or not all(isinstance(text, str) and text for text in value):
        raise InvalidAsk("'stop' must be a list of at most 4 non-empty strings.", "stop")
    return tuple(value)


def _salt(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= MOST_SALT:
        raise InvalidAsk(f"'cache_salt' must be a string of 1 to {MOST_SALT} characters.", "cache_salt")
    return value


def _calibration(value: object) -> CalibrationReference | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("id"), str) or not value["id"]:
        raise InvalidAsk("'calibration' must be null or an object with a string 'id'.", "calibration.id")
    body = value.get("body")
    if body is not None and not isinstance(body, dict):
        raise InvalidAsk("'calibration.body' must be an object.", "calibration.body")
    if body is not None and body.get("id") != value["id"]:
        raise InvalidAsk("'calibration.body.id' must equal 'calibration.id'.", "calibration.body.id")
    return CalibrationReference(value["id"], body)
