"""On PostgreSQL every endpoint of a tenant's key does its work as the tenant's role, and meets no other tenant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.database import migrate
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for
from tests.storage.servers import new_database, postgres_server


@pytest.fixture(scope="module")
def on_postgresql(serving: FakeServing, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    home: Path = tmp_path_factory.mktemp("tenants")
    with postgres_server() as server:
        url = new_database(server)
        migrate(url)
        with running(settings_for(home, serving.url, valkey_url, database_url=url)) as found:
            yield found


def _ok(gateway: Gateway, who: str, method: str, path: str, body: Any = None) -> Any:
    with gateway.http(who) as http:
        answer = http.request(method, path, json=body)
    assert answer.is_success, (method, path, answer.text)
    return answer.json() if answer.content and answer.headers["content-type"] == "application/json" else answer.text


def test_callers_endpoints_work(on_postgresql: Gateway) -> None:
    asked = on_postgresql.ask("held [0.3]").json()
    path = f"/v1/chat/completions/{asked['id']}"
    assert _ok(on_postgresql, "caller", "GET", path)["id"] == asked["id"]
    assert _ok(on_postgresql, "caller", "GET", f"{path}/messages")["data"]
    assert asked["id"] in [each["id"] for each in _ok(on_postgresql, "caller", "GET", "/v1/chat/completions")["data"]]
    assert _ok(on_postgresql, "caller", "DELETE", path)["deleted"]


def test_reviewers_endpoints_work(on_postgresql: Gateway) -> None:
    item = on_postgresql.ask("held [0.3]").json()["review"]["id"]
    held = {"fencing_token": on_postgresql.claim(item)["claim"]["fencing_token"]}
    review = f"/v1/reviews/{item}"
    _ok(on_postgresql, "ada", "PUT", f"{review}/draft", {**held, "text": "typed", "note": ""})
    _ok(on_postgresql, "ada", "POST", f"{review}/extend", held)
    assert _ok(on_postgresql, "ada", "GET", review)["id"] == item
    _ok(on_postgresql, "ada", "POST", f"{review}/release", held)
    assert _ok(on_postgresql, "ada", "POST", "/v1/reviews/claim", {})["id"] == item
    assert on_postgresql.judge(item, "edit", "wrong", "right")["state"] == "edited"
    assert _ok(on_postgresql, "ada", "GET", "/v1/reviews?state=edited")["data"]


def test_admins_endpoints_work(on_postgresql: Gateway) -> None:
    body = {"name": "new", "roles": ["caller"], "policy": {"threshold": 0.5}}
    made = _ok(on_postgresql, "admin", "POST", "/v1/keys", body)
    assert _ok(on_postgresql, "admin", "POST", f"/v1/keys/{made['id']}/skills", {"skills": ["law"]})["skills"] == [
        "law"
    ]
    assert made["id"] in [key["id"] for key in _ok(on_postgresql, "admin", "GET", "/v1/keys")["data"]]
    assert _ok(on_postgresql, "admin", "DELETE", f"/v1/keys/{made['id']}")["revoked"]


def test_admins_keep_and_erase(on_postgresql: Gateway) -> None:
    asked = on_postgresql.ask("held [0.3]", user="someone").json()["id"]
    hold = _ok(on_postgresql, "admin", "POST", "/v1/audit/holds", {"scope": "tenant", "reason": "case 7"})["id"]
    assert hold in [each["id"] for each in _ok(on_postgresql, "admin", "GET", "/v1/audit/holds")["data"]]
    with on_postgresql.http("admin") as http:
        assert http.post("/v1/audit/subjects/erase", json={"subject": "someone"}).status_code == 409
    _ok(on_postgresql, "admin", "DELETE", f"/v1/audit/holds/{hold}")
    _ok(on_postgresql, "admin", "POST", "/v1/audit/subjects/erase", {"subject": "someone"})
    states = {event["private_state"] for event in on_postgresql.events(interaction_id=asked)}
    assert "erased" in states
    assert "open" not in states


def test_auditors_endpoints_work(on_postgresql: Gateway) -> None:
    on_postgresql.ask("held [0.3]")
    events = on_postgresql.events()
    assert _ok(on_postgresql, "auditor", "GET", f"/v1/audit/events/{events[0]['id']}")["hash"] == events[0]["hash"]
    lines = [json.loads(line) for line in _ok(on_postgresql, "auditor", "GET", "/v1/audit/export").splitlines()]
    assert {event["id"] for event in events} <= {line["id"] for line in lines}
    assert {line["tenant"] for line in lines} == {"acme"}
    assert _ok(on_postgresql, "auditor", "GET", "/v1/monitoring")["total"] >= 1


def test_another_tenants_key_finds_none_of_it(on_postgresql: Gateway) -> None:
    asked = on_postgresql.ask("held [0.3]").json()
    event = on_postgresql.events()[0]["id"]
    paths = (f"/v1/reviews/{asked['review']['id']}", f"/v1/audit/events/{event}", f"/v1/audit/events/{event}/proof")
    with on_postgresql.http("strange-reviewer") as http:
        answers = [http.get(path) for path in (*paths, f"/v1/chat/completions/{asked['id']}")]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
