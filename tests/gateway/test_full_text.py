"""Auditors find events by words where the operator keeps words, and are told where not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gateway.conftest import Done
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for


@pytest.fixture
def keeping(home: Path, serving: FakeServing, valkey_url: str) -> Iterator[Gateway]:
    with running(settings_for(home, serving.url, valkey_url, full_text=True)) as found:
        yield found


def test_events_of_a_question_are_found_by_its_words_and_its_corrections(keeping: Gateway) -> None:
    asked = keeping.ask("shaky: is the invoice refunded?").json()
    keeping.ask("shaky: something else")
    keeping.judge(asked["review"]["id"], "edit", "wrong", "Within seven weeks.")
    for text in ("invoice", "INVOICE refunded", "weeks seven"):
        found = keeping.events(text=text)
        assert {event["interaction_id"] for event in found} == {asked["id"]}
        assert {"decision", "review.edited"} <= {event["kind"] for event in found}
    assert keeping.events(text="invoice absent") == []
    assert keeping.events(text="invoice", who="strange-reviewer") == []


def test_a_search_for_words_is_in_the_log_also_when_nothing_is_found(keeping: Gateway) -> None:
    assert keeping.events(text="nothing") == []
    (event,) = keeping.events(kinds="access.events")
    assert event["data"] == {"text": True}


def test_an_export_by_words_tells_the_log_that_it_was_and_not_which(keeping: Gateway) -> None:
    asked = keeping.ask("shaky: is the invoice refunded?").json()
    with keeping.http("auditor") as http:
        lines = http.get("/v1/audit/export", params={"text": "invoice"}).raise_for_status().text
    assert asked["id"] in lines
    (event,) = keeping.events(kinds="access.export")
    assert event["data"]["export"] == {"format": "jsonl", "text": True}


def test_a_text_without_words_is_refused_by_name(keeping: Gateway) -> None:
    with keeping.http("auditor") as http:
        for text in ("?!", "x " * 501, " ".join(map(str, range(20)))):
            refused = http.get("/v1/audit/events", params={"text": text})
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] == "text"


def test_where_no_words_are_kept_a_search_says_so(gateway: Gateway) -> None:
    with gateway.http("auditor") as http:
        for path in ("/v1/audit/events", "/v1/audit/export"):
            refused = http.get(path, params={"text": "invoice"})
            assert refused.status_code == 400
            assert "COUNTERSIGN_FULL_TEXT" in refused.json()["error"]["message"]


def test_words_of_before_are_built_and_forgotten_from_the_command_line(
    gateway: Gateway, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERSIGN_HOME", str(gateway.settings.home))
    asked = gateway.ask("shaky: is the invoice refunded?").json()
    assert run("words", "build").returncode == 1
    monkeypatch.setenv("COUNTERSIGN_FULL_TEXT", "on")
    assert run("words", "build").returncode == 0
    assert asked["id"] in run("query", "--tenant", "acme", "--text", "invoice", "--json").stdout
    assert "No event fits." in run("query", "--tenant", "acme", "--text", "absent").stdout
    assert json.loads(run("query", "--tenant", "acme", "--kinds", "access.events", "--json").stdout.splitlines()[0])[
        "data"
    ] == {"text": True}
    for odd in ("?!", "x" * 1001):
        refused = run("query", "--text", odd)
        assert (refused.returncode, "--text" in refused.stderr) == (2, True)
    assert run("words", "forget", "--yes").returncode == 0
    assert "No event fits." in run("query", "--tenant", "acme", "--text", "invoice").stdout
