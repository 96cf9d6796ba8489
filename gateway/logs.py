"""Logs as JSON lines that carry the request's and the trace's id; never content, never secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog
from opentelemetry import trace

NEVER_LOGGED = frozenset({"authorization", "key", "secret", "link", "token", "content", "text", "messages", "reason"})
# JSON lets them stand as they are, but terminals obey some of them and some readers end a line at others.
_CONTROLS = re.compile("[\x7f-\x9f\u2028\u2029]")


def configure_logs(level: str) -> None:
    """Routes structlog and the standard library's loggers (uvicorn's too) to standard error as JSON lines."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_trace_id,
        tell_where,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = name != "uvicorn.access"  # requests are logged by request_log.py


def add_trace_id(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    span = trace.get_current_span().get_span_context()
    if span.is_valid and "trace_id" not in event:
        event["trace_id"] = f"{span.trace_id:032x}"
    return event


def tell_where(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Writes an exception as its kind and where it came from; its message may quote content or a secret."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = told(error)
    return event


def told(error: BaseException) -> str:
    """The traceback without messages, causes first as Python prints them."""
    lines = traceback.format_tb(error.__traceback__)
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{told(earlier)}\n" if earlier is not None else ""
    return f"{before}{''.join(lines)}{type(error).__module__}.{type(error).__qualname__}"


def redact(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """A last net under the rule that no content or secret is handed to a logger."""
    for name in NEVER_LOGGED & event.keys():
        event[name] = "[redacted]"
    return event


def render(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """One line of JSON, whatever the values are."""
    try:
        line = orjson.dumps(dict(event), default=repr).decode()
    except TypeError:  # half a surrogate pair, or a number beyond 64 bits
        line = json.dumps(dict(event), default=repr)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
