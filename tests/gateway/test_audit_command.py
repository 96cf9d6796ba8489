"""The audit log from the command line: readable, exact, and with one sentence for what it did not do."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gateway import audit_table, export_file
from gateway.audit_options import filters_of, moment
from gateway.export_formats import FORMATS
from storage import audit_export, sealing
from storage.audit_query import EVERYTHING
from storage.checkpoints import Signer, new_signing_key
from storage.database import Database
from storage.errors import DatabaseUnreachable
from tests.gateway.conftest import Done


def test_query_shows_the_tenants_events_as_a_table(run: Callable[..., Done], log: Database) -> None:
    done = run("query", "--tenant", "acme")
    assert done.returncode == 0
    assert "key.created" in done.stdout
    assert "policy.created" in done.stdout
    assert "unsealed" in done.stdout


def test_query_pages_through_json_lines(run: Callable[..., Done], log: Database) -> None:
    first = run("query", "--tenant", "acme", "--json", "--limit", "1")
    cursor = first.stderr.split("--after ")[1].strip()
    second = run("query", "--tenant", "acme", "--json", "--after", cursor)
    found = [json.loads(line) for line in (first.stdout + second.stdout).splitlines()]
    assert [event["kind"] for event in found] == ["key.created", "policy.created"]
    assert {event["tenant"] for event in found} == {"acme"}


def test_show_and_checkpoint_print_what_is_stored(run: Callable[..., Done], log: Database) -> None:
    with log.transaction() as conn:
        sealing.seal(conn, Signer(new_signing_key()))
    event = json.loads(run("query", "--tenant", "acme", "--json", "--limit", "1").stdout)
    assert json.loads(run("show", event["id"], "--tenant", "acme").stdout) == event
    assert isinstance(event["leaf_index"], int)
    refused = run("show", event["id"], "--tenant", "other")
    assert (refused.returncode, refused.stderr) == (1, f"countersign: There is no audit event '{event['id']}'.\n")
    printed = run("checkpoint")
    assert (printed.returncode, printed.stdout.splitlines()[1]) == (0, "4")


def test_checkpoint_of_a_log_that_is_not_sealed_says_so(run: Callable[..., Done], log: Database) -> None:
    done = run("checkpoint")
    assert done.returncode == 1
    assert done.stderr.startswith("countersign: Nothing is sealed yet")


def test_export_writes_a_whole_file_and_is_recorded(run: Callable[..., Done], log: Database, tmp_path: Path) -> None:
    target = tmp_path / "log.csv"
    done = run("export", "--tenant", "acme", "--format", "csv", "--output", str(target))
    assert (done.returncode, done.stdout) == (0, f"2 events were written to {target}.\n")
    rows = list(csv.DictReader(target.open(encoding="utf-8", newline="")))
    assert [row["kind"] for row in rows] == ["key.created", "policy.created"]
    assert os.listdir(tmp_path) == ["log.csv"]
    taken = json.loads(run("query", "--tenant", "acme", "--json", "--kinds", "access.export").stdout)
    assert (taken["actor"], taken["data"]["export"]["format"]) == ("operator", "csv")


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("/nowhere/log.jsonl", "There is no folder /nowhere: make it first, or name another file with --output."),
        ("/etc/hostname/log.jsonl", "There is no folder /etc/hostname: make it first, or name another file with"),
        ("/tmp", "/tmp is a folder: name a file in it with --output."),
        ("/proc/log.jsonl", "/proc/log.jsonl cannot be written: "),
    ],
)
def test_export_to_where_nothing_can_be_written_says_so(
    run: Callable[..., Done], log: Database, output: str, says: str
) -> None:
    done = run("export", "--output", output)
    assert done.returncode == 1
    assert done.stderr.startswith(f"countersign: {says}")
    assert run("query", "--json", "--kinds", "access.export").stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [("query", "--since", "yesterday"), ("query", "--kinds", "odd"), ("query", "--min-confidence", "nan"),
     ("export", "--output", "x", "--format", "xlsx"), ("export",)],
)  # fmt: skip
def test_what_makes_no_sense_is_exit_code_two(
    run: Callable[..., Done], log: Database, arguments: tuple[str, ...]
) -> None:
    assert run(*arguments).returncode == 2


def test_export_that_breaks_off_leaves_the_earlier_file(
    log: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "log.parquet"
    assert export_file.write_file(log, "acme", EVERYTHING, FORMATS["parquet"], target) == 2
    before = target.read_bytes()

    def broken(*arguments: object, **named: object) -> None:
        raise DatabaseUnreachable("The database went away.")

    monkeypatch.setattr(audit_export, "page", broken)
    with pytest.raises(DatabaseUnreachable):
        export_file.write_file(log, "acme", EVERYTHING, FORMATS["parquet"], target)
    assert target.read_bytes() == before
    assert pq.read_table(target).num_rows == 2
    assert os.listdir(tmp_path) == ["log.parquet"]


def test_moments_are_unix_seconds_or_dates_in_utc() -> None:
    assert moment("since", "12.5") == 12.5
    assert moment("since", "1970-01-02") == 86_400.0
    assert moment("since", "1970-01-01T01:00:00+01:00") == 0.0


def test_every_filter_reaches_the_query() -> None:
    given = dict.fromkeys(("key_id", "model", "action", "reason", "reviewer", "verdict", "tier", "trace_id"), "x")
    rest = {"interaction_id": "x", "item_id": "x", "min_confidence": 0.1, "max_confidence": 0.2, "kinds": "decision"}
    found = filters_of({**given, **rest, "since": "1", "until": "2"})
    assert all(getattr(found, name) == "x" for name in given)
    assert (found.since, found.until, found.min_confidence, list(found.kinds or ())) == (1.0, 2.0, 0.1, ["decision"])


def test_a_callers_text_cannot_steer_the_terminal() -> None:
    assert audit_table.plain("a\x1b[2Jb\n\u202ec") == "a�[2Jb��c"


def test_erasing_asks_first_and_says_what_it_destroyed(run: Callable[..., Done], log: Database) -> None:
    event = json.loads(run("query", "--tenant", "acme", "--json", "--kinds", "key.created").stdout)
    key = f"key:{event['data']['key_id']}"
    assert run("erase", key, "--tenant", "acme").returncode == 1  # nobody said yes
    done = run("erase", key, "--tenant", "acme", "--yes")
    assert (done.returncode, done.stdout.split(":")[1]) == (
        0, " 1 events lost their private facts, 0 interactions their content; the log still verifies.\n"
    )  # fmt: skip
    shown = json.loads(run("show", event["id"], "--tenant", "acme").stdout)
    assert (shown["private"], shown["private_state"]) == (None, "erased")


def test_holds_are_placed_listed_and_lifted(run: Callable[..., Done], log: Database) -> None:
    placed = run("hold", "place", "--reason", "case 7", "--tenant", "acme").stdout
    hold = placed.split()[1].rstrip(":")
    assert placed == f"Placed {hold}: it keeps the tenant acme.\n"
    assert run("hold", "list", "--tenant", "acme").stdout.split("\t")[::5] == [hold, "case 7\n"]
    refused = run("erase", "key:any", "--tenant", "acme", "--yes")
    assert refused.returncode == 1
    assert run("hold", "lift", hold, "--tenant", "acme").stdout == f"Lifted {hold}, which kept the tenant acme.\n"
    assert run("hold", "list", "--tenant", "acme").stdout == "No legal hold stands.\n"


def test_purge_is_refused_before_the_floor_and_says_what_went(run: Callable[..., Done], log: Database) -> None:
    refused = run("purge", "--older-than-days", "10", "--yes")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("countersign: Events are kept for at least 183 days")
    done = run("purge", "--older-than-days", "200", "--yes")
    assert (done.returncode, done.stdout) == (0, "Purged 0 events and the content of 0 interactions.\n")


def test_purge_takes_its_age_from_the_settings(
    run: Callable[..., Done], log: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("purge", "--yes").stderr.startswith("countersign: How old?")
    monkeypatch.setenv("COUNTERSIGN_RETENTION_DAYS", "365")
    assert run("purge", "--yes").returncode == 0


def test_reading_private_facts_is_recorded(run: Callable[..., Done], log: Database) -> None:
    event = json.loads(run("query", "--tenant", "acme", "--json", "--kinds", "key.created").stdout)
    assert event["private"]["name"] == "Ada"
    (access,) = [json.loads(line) for line in run("query", "--tenant", "acme", "--json", "--kinds", "access.events")
                 .stdout.splitlines()]  # fmt: skip
    assert (access["actor"], access["data"]) == ("operator", {"events": 1, "event_ids": [event["id"]]})


@pytest.mark.parametrize("columns", ["80", "200"])
def test_table_folds_no_id_in_an_ordinary_terminal(columns: str, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    key, item = "key_" + "5" * 24, "rev_" + "7" * 24
    facts = {"action": "hold", "verdict": "reject", "reviewer": key}
    event = {"at": 1.0, "kind": "review.claim_released", "actor": f"key:{key}", "data": facts, "private": None}
    audit_table.show([{**event, "item_id": item, "interaction_id": "chatcmpl-" + "9" * 24, "leaf_index": 1_234_567}])
    shown = capsys.readouterr().out
    assert [shown.count(each) for each in (f"key:{key}", item, "1234567", "review.claim_released")] == [1, 1, 1, 1]
    assert shown.count(key) == 1  # a reviewer who acts is named once
