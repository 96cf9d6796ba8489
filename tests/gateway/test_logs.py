"""A log line never shows what must not be logged, and whatever is logged stays one line of JSON."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from gateway.logs import configure_logs

Lines = Callable[[], list[dict[str, Any]]]
SECRETS = ("authorization", "key", "secret", "link", "token", "content", "text", "messages", "reason")
HOSTILE = {
    "a line of its own": 'x\n{"event": "forged"}',
    "ends of lines": "x\r\n\v\f\x1c\x85\u2028\u2029y",
    "a member of its own": 'x", "level": "critical", "event": "forged',
    "colours and moves": "\x1b[31mred\x1b[2K\x1b]0;title\x07\x9b2J\x7f\b",
    "NUL": "a\x00b",
    "half a surrogate pair": "a\ud800b",
    "beyond 64 bits": 10**30,
    "deep": {"in": ["x\ny", {"\x1b[1m": "\u2028"}]},
}


@pytest.fixture
def lines(restored_logs: None, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """All that was logged: each physical line is read as JSON."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logs("DEBUG")

    def read() -> list[dict[str, Any]]:
        assert not [each for each in written.getvalue() if not (each.isprintable() or each == "\n")]
        return [json.loads(line) for line in written.getvalue().splitlines()]  # Python knows most ends of a line

    return read


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_and_no_content_is_logged(lines: Lines, name: str) -> None:
    structlog.get_logger("any").info("said", **{name: "canary", "kept": "seen"})
    structlog.get_logger("any").bind(**{name: "canary"}).error("bound")
    with structlog.contextvars.bound_contextvars(**{name: ["canary"]}):
        structlog.get_logger("any").info("in context")
        logging.getLogger("library").warning("from a library")
    told = lines()
    assert [line["event"] for line in told] == ["said", "bound", "in context", "from a library"]
    assert [line[name] for line in told] == ["[redacted]"] * 4
    assert told[0]["kept"] == "seen"
    assert "canary" not in str(told)


def test_an_exceptions_message_is_not_logged(lines: Lines) -> None:
    said = "canary"  # not in the line of source, which a traceback shows
    try:
        raise ValueError(said) from KeyError(said)
    except ValueError:
        structlog.get_logger("any").exception("failed")
        logging.getLogger("library").exception("failed too")
    told = lines()
    assert all("KeyError" in line["exception"] and "ValueError" in line["exception"] for line in told)
    assert (len(told), "canary" in str(told)) == (2, False)


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_logged_stays_one_line_and_as_it_was(lines: Lines, what: str) -> None:
    structlog.get_logger("any").info("said", value=HOSTILE[what])
    (line,) = lines()
    assert (line["event"], line["level"], line["value"]) == ("said", "info", HOSTILE[what])


@pytest.mark.parametrize("what", [what for what, value in HOSTILE.items() if isinstance(value, str)])
def test_what_a_library_logs_stays_one_line_and_as_it_was(lines: Lines, what: str) -> None:
    only_ours()
    logging.getLogger("library").warning("%s", HOSTILE[what])
    (line,) = lines()
    assert (line["event"], line["level"]) == (HOSTILE[what], "warning")


def only_ours() -> None:
    """Takes pytest's own handlers off for this test: workers cannot tell each other of half a surrogate pair."""
    root = logging.getLogger()
    root.handlers[:] = [
        each for each in root.handlers if isinstance(each.formatter, structlog.stdlib.ProcessorFormatter)
    ]
