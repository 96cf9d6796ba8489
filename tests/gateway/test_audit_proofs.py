"""Auditors get proofs that lead to a signed checkpoint; nobody else gets them, and nothing is proved early."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from storage import event_format, merkle
from storage.checkpoints import Checkpoint, Signer, read_note
from storage.records import AuditEvent
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for, until


def get(gateway: Gateway, path: str, who: str | None = "auditor", **query: Any) -> httpx2.Response:
    with gateway.http(who) as http:
        return http.get(f"/v1/audit/{path}", params=query or None)


def checkpoint(gateway: Gateway) -> Checkpoint:
    return read_note(get(gateway, "checkpoint").raise_for_status().json()["note"])


def sealed_event(gateway: Gateway) -> str:
    """The id of an event that the last checkpoint covers."""
    gateway.ask("hi [0.97]")
    event_id = str(gateway.events(limit=1)[0]["id"])
    until(lambda: get(gateway, f"events/{event_id}/proof").status_code == 200)
    return event_id


@pytest.fixture(scope="module")
def known(gateway: Gateway) -> str:
    return sealed_event(gateway)


def kept_outside(gateway: Gateway) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway.settings.checkpoints.read_text().splitlines()]


def leads_to(proof: dict[str, Any], root: bytes) -> bool:
    """As somebody else would check it: the event's own bytes, the path, the root."""
    event = proof["event"]
    hashed = {name: event[name] for name in event if name not in ("data", "hash", "salt", "sealed")}
    leaf = bytes.fromhex(event_format.leaf_hash(AuditEvent(**hashed), event["data"]))
    path = [bytes.fromhex(each) for each in proof["inclusion"]]
    return merkle.proves_inclusion(leaf, proof["leaf_index"], proof["tree_size"], path, root)


def test_the_checkpoint_is_signed_with_the_key_beside_the_database(gateway: Gateway) -> None:
    sealed_event(gateway)
    signer = Signer((gateway.settings.audit_home / "signing.key").read_text())
    body = get(gateway, "checkpoint").json()
    said = read_note(body["note"])
    assert set(body) == {"size", "note"}
    assert signer.signed(said)
    assert said.size == body["size"] > 0
    assert (gateway.settings.audit_home / "verify.pub").read_text().strip() == signer.public


def test_an_event_is_proved_against_the_signed_root(gateway: Gateway) -> None:
    proof = get(gateway, f"events/{sealed_event(gateway)}/proof").json()
    said = read_note(proof["checkpoint"])
    assert proof["object"] == "audit.proof"
    assert proof["tree_size"] == said.size
    assert leads_to(proof, said.root)
    proof["event"]["actor"] = "key:someone-else"
    assert not leads_to(proof, said.root)


def test_an_event_is_proved_against_an_earlier_checkpoint_that_is_asked_for(gateway: Gateway) -> None:
    event_id = sealed_event(gateway)
    earlier = checkpoint(gateway)
    sealed_event(gateway)
    proof = get(gateway, f"events/{event_id}/proof", tree_size=earlier.size).json()
    assert proof["checkpoint"].startswith(earlier.text)
    assert leads_to(proof, earlier.root)


def test_the_log_is_proved_to_have_only_grown(gateway: Gateway) -> None:
    sealed_event(gateway)
    first = checkpoint(gateway)
    sealed_event(gateway)
    second = checkpoint(gateway)
    grown = get(gateway, "consistency", first=first.size, second=second.size).json()
    path = [bytes.fromhex(each) for each in grown["consistency"]]
    assert merkle.proves_consistency(first.size, second.size, path, first.root, second.root)
    assert grown["first_checkpoint"].startswith(first.text)
    assert grown["second_checkpoint"].startswith(second.text)
    between = get(gateway, "consistency", first=1, second=2).json()
    assert len(between["consistency"]) == 1


def test_checkpoints_are_paged_and_are_those_of_the_file_outside(gateway: Gateway) -> None:
    for _ in range(3):
        sealed_event(gateway)
    last = get(gateway, "checkpoint").json()["size"]
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None and after < last:
        page = get(gateway, "checkpoints", after=after, limit=2).raise_for_status().json()
        found += page["data"]
        assert page["has_more"] == (page["next"] is not None)
        after = page["next"]
    assert [each["size"] for each in found] == sorted({each["size"] for each in found})
    assert last in {each["size"] for each in found}
    until(lambda: found == kept_outside(gateway)[: len(found)])


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("consistency", {"first": 0, "second": 1}, "first"),
        ("consistency", {"first": 2, "second": 1}, "first"),
        ("consistency", {"first": 1, "second": 10**15}, "second"),
        ("consistency", {"first": 1, "second": 10**30}, "second"),
        ("consistency", {"first": -1, "second": 1}, "first"),
        ("consistency", {"first": "x", "second": 1}, "first"),
        ("consistency", {"first": "1.5", "second": 2}, "first"),
        ("consistency", {"second": 1}, "first"),
        ("consistency", {"first": 1}, "second"),
        ("consistency", {"first": 1, "second": 1, "third": 1}, "third"),
        ("checkpoints", {"after": -1}, "after"),
        ("checkpoints", {"after": 10**20}, "after"),
        ("checkpoints", {"limit": 0}, "limit"),
        ("checkpoints", {"limit": 1001}, "limit"),
        ("checkpoints", {"after": "nan"}, "after"),
        ("events/{}/proof", {"tree_size": 0}, "tree_size"),
        ("events/{}/proof", {"tree_size": 10**15}, "tree_size"),
        ("events/{}/proof", {"tree_size": "é"}, "tree_size"),
        ("events/{}/proof", {"size": 1}, "size"),
    ],
)
def test_a_size_out_of_range_is_refused_with_its_name(
    gateway: Gateway, known: str, path: str, query: dict[str, Any], field: str
) -> None:
    refused = get(gateway, path.format(known), **query)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)


def test_a_checkpoint_from_before_the_event_does_not_prove_it(gateway: Gateway) -> None:
    sealed_event(gateway)
    earlier = checkpoint(gateway).size
    refused = get(gateway, f"events/{sealed_event(gateway)}/proof", tree_size=earlier)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tree_size")


def test_events_that_are_not_there_or_anothers_are_not_found(gateway: Gateway, known: str) -> None:
    assert get(gateway, "events/evt_none/proof").status_code == 404
    assert get(gateway, f"events/{known}/proof", who="strange-reviewer").status_code == 404


@pytest.mark.parametrize("path", ["checkpoint", "checkpoints", "consistency", "events/evt_1/proof"])
def test_only_auditors_are_told(gateway: Gateway, path: str) -> None:
    assert get(gateway, path, who=None).status_code == 401
    for who in ("caller", "ada"):
        assert get(gateway, path, who=who).status_code == 403


@pytest.fixture
def unsealing(home: Path, serving: FakeServing, valkey_url: str) -> Iterator[Gateway]:
    """A gateway whose worker runs elsewhere, and nobody started it."""
    with running(settings_for(home, serving.url, valkey_url, worker="off")) as found:
        yield found


def test_what_is_not_sealed_yet_is_to_be_asked_for_again(unsealing: Gateway) -> None:
    event_id = unsealing.events(limit=1)[0]["id"]
    for path in ("checkpoint", f"events/{event_id}/proof", "consistency?first=1&second=2"):
        told = get(unsealing, path)
        assert (told.status_code, told.json()["error"]["code"]) == (409, "not_sealed")
        assert told.headers["retry-after"] == "1"
    assert get(unsealing, "checkpoints").json()["data"] == []
    figures = unsealing.http(None).get("/metrics").text
    assert "countersign_audit_tree_size 0.0" in figures
    assert "countersign_audit_unsealed 0.0" not in figures
