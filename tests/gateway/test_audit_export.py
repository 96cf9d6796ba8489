"""The audit log leaves as a whole file, a page at a time in memory, or visibly broken."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pyarrow.parquet as pq
import pytest

from gateway import audit_export as endpoint
from gateway.export_formats import harmless
from storage import audit_export
from storage.audit_tables import audit_events
from storage.errors import DatabaseUnreachable
from tests.gateway.running import Gateway, until

MANY = 50_000
FIRST = 1_000_000_000.0  # unix seconds, long before anything that the gateway itself records
ODD = '=HYPERLINK("http://example.org","x")'


@pytest.fixture(scope="module")
def filled(gateway: Gateway) -> Gateway:
    """A gateway whose log holds MANY events, one of them with a formula where a text is expected."""
    rows = [
        {
            "id": f"evt_{number:024x}", "at": FIRST + number, "tenant": "acme", "kind": "decision",
            "actor": ODD if number == 7 else "key:key_1", "data": json.dumps({"confidence": 0.5, "pad": "x" * 400}),
            "hash": "00" * 32, "confidence": 0.5, "model": "old",
        }
        for number in range(MANY)
    ]  # fmt: skip
    with gateway.database.transaction() as conn:
        conn.execute(audit_events.insert(), rows)
    return gateway


def _export(gateway: Gateway, who: str = "auditor", **query: Any) -> httpx2.Response:
    with gateway.http(who) as http:
        return http.get("/v1/audit/export", params=query)


def _lines(answer: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.raise_for_status().text.splitlines()]


def _streamed(gateway: Gateway) -> Iterator[bytes]:
    with gateway.http("auditor") as http, http.stream("GET", "/v1/audit/export", params={"model": "old"}) as answer:
        yield from answer.iter_bytes()


def test_fifty_thousand_events_are_streamed_in_bounded_memory(filled: Gateway) -> None:
    size = lines = 0
    tracemalloc.start()
    for piece in _streamed(filled):
        size += len(piece)
        lines += piece.count(b"\n")
    peak = tracemalloc.get_traced_memory()[1]  # of gateway and client together
    tracemalloc.stop()
    assert lines == MANY
    assert size > 40_000_000
    assert peak < size / 2


def test_lines_are_the_stored_columns_newest_first(gateway: Gateway) -> None:
    lines = _lines(_export(gateway, kinds="key.created,policy.created"))
    with gateway.database.read() as conn:
        stored = {row["id"]: dict(row) for row in conn.execute(audit_events.select()).mappings()}
    assert len(lines) > 1
    for line in lines:
        assert set(line) == set(audit_export.COLUMNS)
        assert all(line[name] == stored[line["id"]][name] for name in line if name != "leaf_index")
    assert all((a["at"], a["id"]) > (b["at"], b["id"]) for a, b in pairwise(lines))


def test_verifier_recomputes_what_was_exported(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_bytes(_export(gateway, kinds="key.created,policy.created").content)
    command = [sys.executable, "-m", "verifier", "export", str(file)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    file.write_bytes(file.read_bytes().replace(b"policy.created", b"policy.updated", 1))
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1


def test_every_filter_of_the_pages_bounds_the_export_too(filled: Gateway) -> None:
    assert len(_lines(_export(filled, since=FIRST + 10, until=FIRST + 20))) == 10
    assert _lines(_export(filled, since=FIRST, until=FIRST + 20, min_confidence=0.9)) == []
    assert _export(filled, since="nan").status_code == 400
    assert _export(filled, colour="red").status_code == 400
    assert _export(filled, format="xlsx").status_code == 400


def test_csv_has_a_header_and_no_formula(filled: Gateway) -> None:
    answer = _export(filled, format="csv", since=FIRST, until=FIRST + 20)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.content.endswith(b"\r\n")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8"), newline="")))
    assert len(rows) == 20
    assert tuple(rows[0]) == audit_export.COLUMNS
    assert [row["actor"] for row in rows if "HYPER" in row["actor"]] == ["'" + ODD.replace('"http', '"http')]
    assert float(rows[0]["confidence"]) == 0.5
    assert float(rows[0]["at"]) == FIRST + 19


def test_csv_of_nothing_still_has_its_header(gateway: Gateway) -> None:
    assert _export(gateway, format="csv", model="none").text.count("\r\n") == 1


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+1+1", "'+1+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("＝1", "'＝1"),
        *(
            (f"{blank}=1", f"'{blank}=1")
            for blank in (" ", "   ", "\u00a0", "\ufeff", "\x0b", "\x0c", "\u3000", "\u200b")
        ),
        *((f"{blank}-2+3", f"'{blank}-2+3") for blank in (" ", "\u00a0\ufeff", " " * 500)),
        *((f"{sign}SUM(A1)", f"'{sign}SUM(A1)") for sign in "＋－＠−﹢﹣﹦﹫⁺⁻⁼₊₋₌‐–—➕➖﬩"),
        ("x; \u00a0=1", "x;' \u00a0=1"),
        (" -5", " -5"),
        ("−5", "−5"),
        ("a;=1", "a;'=1"),
        ('a",=cmd', "a\",'=cmd"),
        ("-5", "-5"),
        ("-0.5e-3", "-0.5e-3"),
        ("[1,-2]", "[1,-2]"),
        ("a-b=c", "a-b=c"),
        (-0.5, -0.5),
        (None, None),
    ],
)
def test_what_a_spreadsheet_would_run_is_neutralised(cell: object, shown: object) -> None:
    assert harmless(cell) == shown


def test_parquet_is_read_back_with_its_types(filled: Gateway) -> None:
    answer = _export(filled, format="parquet", since=FIRST, until=FIRST + 12_000)
    table = pq.read_table(io.BytesIO(answer.content))
    assert table.num_rows == 12_000
    assert pq.ParquetFile(io.BytesIO(answer.content)).num_row_groups == 3
    assert table.column_names == list(audit_export.COLUMNS)
    assert {str(table.schema.field(name).type) for name in audit_export.NUMBERS} == {"double"}
    assert str(table.schema.field("leaf_index").type) == "int64"
    assert table.column("at")[0].as_py() == FIRST + 11_999


def test_export_is_a_download_named_after_its_moment(gateway: Gateway) -> None:
    answer = _export(gateway, format="csv", model="none")
    assert answer.headers["content-disposition"].startswith('attachment; filename="audit-')
    assert answer.headers["content-disposition"].endswith('Z.csv"')


def test_export_is_itself_recorded_and_holds_what_was_before(gateway: Gateway) -> None:
    before = len(gateway.events(kinds="access.export"))
    lines = _lines(_export(gateway, kinds="access.export"))
    events = gateway.events(kinds="access.export")
    assert len(lines) == before
    assert len(events) == before + 1
    assert events[0]["data"]["export"] == {"kinds": "access.export", "format": "jsonl"}


def test_export_stays_within_its_tenant_and_needs_an_auditor(gateway: Gateway) -> None:
    lines = _lines(_export(gateway, "strange-reviewer"))
    assert lines
    assert {line["tenant"] for line in lines} == {"other"}
    assert _export(gateway, "ada").status_code == 403


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_database_that_goes_away_breaks_the_connection(
    filled: Gateway, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    real, pages = audit_export.page, iter(range(100))

    def second_fails(*args: Any, **named: Any) -> Any:
        if next(pages):
            raise DatabaseUnreachable("The database went away.")
        return real(*args, **named)

    monkeypatch.setattr(audit_export, "page", second_fails)
    with pytest.raises(httpx2.RemoteProtocolError):
        _export(filled, format=form, model="old")


def test_no_more_exports_at_once_than_the_readers_bear(filled: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MOST_AT_ONCE", 0)
    answer = _export(filled)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "exports_busy"
    assert "retry-after" in answer.headers


def test_client_that_takes_nothing_is_let_go(filled: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "TAKE_SECONDS", 0.2)
    monkeypatch.setattr(endpoint, "MOST_AT_ONCE", 1)
    with filled.http("auditor") as http, http.stream("GET", "/v1/audit/export", params={"model": "old"}) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        assert _until_free(filled)
        with pytest.raises(httpx2.TransportError):
            list(pieces)


def _until_free(gateway: Gateway) -> bool:
    """Whether another export is let in, once the stalled one was let go."""
    until(lambda: _export(gateway, model="none").status_code == 200)
    return True
