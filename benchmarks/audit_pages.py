"""Reads pages of a large audit log by every filter, common, rare and absent values alike, and takes their time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from benchmarks.audit_made import SPREAD_SECONDS, TENANT
from benchmarks.queue_leases import percentile
from storage.audit_query import Filters, page
from storage.audit_tables import audit_events
from storage.database import Database, now
from storage.paging import encode_cursor

PAGES = 60  # of each filter
LIMIT = 50  # events a page
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Marks:
    """Values that the log's events have, to ask for."""

    end: float  # of the log, unix seconds
    values: dict[str, list[str]]  # by filter


def page_p99_ms(database: Database, seed: int, pages: int = PAGES) -> dict[str, float]:
    """By filter: first pages, those after them, and pages from the midst of the log."""
    draw = random.Random(seed)
    marks = _marks(database)
    found = {}
    for name, asked in _asked(draw, marks).items():
        seconds = [taken for _ in range(-(-pages // 4)) for taken in _read(database, next(asked), draw, marks)]
        found[name] = round(percentile(seconds, 0.99) * 1000, 2)
    return found


def _read(database: Database, filters: Filters, draw: random.Random, marks: Marks) -> Iterator[float]:
    """The first page, two that follow, and one from anywhere: seconds each."""
    after: str | None = None
    for _ in range(3):
        started = time.perf_counter()
        with database.read() as conn:
            found = page(conn, TENANT, filters, after=after, limit=LIMIT)
        yield time.perf_counter() - started
        after = found.next
    started = time.perf_counter()
    with database.read() as conn:
        page(conn, TENANT, filters, after=encode_cursor(_some_time(draw, marks), "evt_f"), limit=LIMIT)
    yield time.perf_counter() - started


def _asked(draw: random.Random, marks: Marks) -> dict[str, Iterator[Filters]]:
    """For each filter an endless row of values."""
    names = {name: (lambda name=name: {name: _one(draw, marks, name)}) for name in marks.values}
    makers: dict[str, Any] = {
        "none": dict,
        "kinds": lambda: {"kinds": [_one(draw, marks, "kind")]},
        "kinds_several": lambda: {"kinds": draw.sample(marks.values["kind"], 4)},
        "since": lambda: {"since": _some_time(draw, marks)},
        "until": lambda: {"until": _some_time(draw, marks)},
        "since_until": lambda: _days(draw, marks),
        **{name: make for name, make in names.items() if name != "kind"},
        "min_confidence": lambda: {"min_confidence": draw.choice((draw.random(), 0.9999, 1.5))},
        "max_confidence": lambda: {"max_confidence": draw.choice((draw.random(), 0.0101, -1.0))},
        "confidences": lambda: _range(draw.random(), draw.choice((0.3, 0.01, 0.00001))),
        "key_id_and_kinds": lambda: {"key_id": _one(draw, marks, "key_id"), "kinds": [_one(draw, marks, "kind")]},
        "reviewer_and_verdict": lambda: {name: _one(draw, marks, name) for name in ("reviewer", "verdict")},
        "action_and_confidences": lambda: {"action": _one(draw, marks, "action"), **_range(draw.random(), 0.1)},
        "text": lambda: {"text": _some_words(draw)},
        "text_and_kinds": lambda: {"text": _some_words(draw), "kinds": [_one(draw, marks, "kind")]},
        "model_and_days": lambda: {"model": _one(draw, marks, "model"), **_days(draw, marks)},
    }
    return {name: _forever(make) for name, make in makers.items()}


def _forever(make: Any) -> Iterator[Filters]:
    while True:
        yield Filters(**make())


def _one(draw: random.Random, marks: Marks, name: str) -> str:
    """Common ones, rare ones and now and then one that no event has."""
    if draw.random() < 0.1:
        return "review.quarantined" if name == "kind" else "absent"
    return draw.choice(marks.values[name])


def _some_words(draw: random.Random) -> str:
    rare = f"case{draw.randrange(100_000)}"
    return draw.choice(("the", "invoice", rare, f"the {rare}", "the invoice", "absent"))


def _range(low: float, width: float) -> dict[str, float]:
    return {"min_confidence": low, "max_confidence": low + width}


def _days(draw: random.Random, marks: Marks) -> dict[str, float]:
    since = _some_time(draw, marks)
    return {"since": since, "until": since + draw.choice((_DAY, 7 * _DAY, 60.0))}


def _some_time(draw: random.Random, marks: Marks) -> float:
    return marks.end - draw.random() * SPREAD_SECONDS


def _marks(database: Database) -> Marks:
    """From a sample of the log: every value of the marks that have few, some of the ids."""
    table, values = audit_events.c, {}
    names = ("kind", "key_id", "model", "action", "reason", "reviewer", "verdict", "tier")
    ids = ("interaction_id", "item_id", "trace_id")
    with database.read() as conn:
        end = now(conn)
        recent = sa.select(audit_events).where(table.tenant == TENANT).order_by(table.at.desc()).limit(20_000)
        rows = conn.execute(recent).all()
    for name in (*names, *ids):
        found = sorted({value for row in rows if (value := getattr(row, name)) is not None})
        values[name] = found if name in names else found[:200]
    values["kind"] = sorted({*values["kind"], "key.created", "policy.updated"})  # too rare for the sample
    return Marks(end, values)
