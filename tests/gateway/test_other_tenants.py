"""Another tenant's id is, on every endpoint, an id that never was; and no list shows what is another tenant's."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from storage.database import migrate
from storage.tables import metadata
from tests.gateway.fake_serving import FakeServing
from tests.gateway.operations import BODIES, OPERATIONS, Operation
from tests.gateway.running import Gateway, running, settings_for
from tests.storage.servers import new_database, postgres_server

# What the id in a path names, by the first parts of the path. An operation that is in none of these fails the suite.
NAMED = {
    "/v1/chat/completions/{id}": "interaction",
    "/v1/reviews/{id}": "item",
    "/v1/audit/events/{id}": "event",
    "/v1/audit/holds/{id}": "hold",
    "/v1/keys/{id}": "key",
    "/v1/policies/{id}": "policy",
}
EVERYBODYS = {"GET /v1/models/{name}"}
# Operations that change something, and name nothing that somebody else could have made.
OWN = {"POST /v1/chat/completions", "POST /v1/reviews/claim", "POST /v1/signin", "POST /v1/keys", "DELETE /v1/whoami"}
OWN |= {"POST /v1/audit/subjects/erase", "POST /v1/audit/holds"}
FILTERS = {"interaction_id": "interaction", "item_id": "item", "key_id": "key", "reviewer": "reviewer"}


@dataclass
class Tenancy:
    """A gateway, and the ids of what the tenant acme has there."""

    gateway: Gateway
    ids: dict[str, str]

    def of(self, operation: Operation) -> str:
        return self.ids[next(kind for path, kind in NAMED.items() if operation.path.startswith(path))]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def tenancy(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    serving: FakeServing,
    valkey_url: str,
    migrated: Path,
) -> Iterator[Tenancy]:
    home = tmp_path_factory.mktemp("tenancy")
    (home / "countersign.db").write_bytes(migrated.read_bytes())
    with ExitStack() as stack:
        changes: dict[str, Any] = {"worker": "off"}
        if request.param == "postgresql":
            changes["database_url"] = new_database(stack.enter_context(postgres_server()))
            migrate(changes["database_url"])
        gateway = stack.enter_context(running(settings_for(home, serving.url, valkey_url, **changes)))
        yield Tenancy(gateway, furnished(gateway))


def furnished(gateway: Gateway) -> dict[str, str]:
    """What a tenant can have, made for acme: a verdict, a claimed item with a draft, a key, a policy, events."""
    gateway.judge(gateway.ask("judged privately [0.3]").json()["review"]["id"])
    held = gateway.ask("asked privately [0.3]", metadata={"case": "private"}).json()
    item = held["review"]["id"]
    claim = gateway.claim(item)["claim"]
    with gateway.http("ada") as http:
        draft = {"fencing_token": claim["fencing_token"], "text": "typed privately", "note": "noted privately"}
        http.put(f"/v1/reviews/{item}/draft", json=draft).raise_for_status()
        reviewer = http.get("/v1/whoami").json()["id"]
    with gateway.http("admin") as http:
        made = {"name": "named privately", "roles": ["caller"], "policy": {"name": "ruled privately"}}
        key = http.post("/v1/keys", json=made).raise_for_status().json()
        order = {"scope": "interaction", "target": held["id"], "reason": "kept privately"}
        hold = http.post("/v1/audit/holds", json=order).raise_for_status().json()["id"]
    event = gateway.events(item_id=item)[0]["id"]
    return {
        "interaction": held["id"],
        "item": item,
        "event": event,
        "hold": hold,
        "key": key["id"],
        "policy": key["policy"]["id"],
        "reviewer": reviewer,
    }


def contents(gateway: Gateway) -> dict[str, list[tuple[Any, ...]]]:
    with gateway.database.read() as conn:
        return {
            table.name: sorted((tuple(row) for row in conn.execute(sa.select(table))), key=repr)
            for table in metadata.sorted_tables
        }


def test_every_operation_is_tried() -> None:
    with_id = {each.name for each in OPERATIONS if each.path_names and each.name not in EVERYBODYS}
    assert {each.name for each in named()} == with_id
    changing = {each.name for each in OPERATIONS if not each.path_names and each.method != "GET"}
    assert changing == OWN


def named() -> list[Operation]:
    return [each for each in OPERATIONS if any(each.path.startswith(path) for path in NAMED)]


@pytest.mark.parametrize("operation", [pytest.param(each, id=each.name) for each in named()])
def test_another_tenants_id_is_one_that_never_was(tenancy: Tenancy, operation: Operation) -> None:
    gateway, theirs = tenancy.gateway, tenancy.of(operation)
    never = theirs[:-4] + "0000"
    before = contents(gateway)
    with gateway.http("strange-reviewer") as http:
        found, unknown = (tried(http, operation, id) for id in (theirs, never))
    assert (found.status_code, unknown.status_code) == (404, 404)
    assert found.text.replace(theirs, "ID") == unknown.text.replace(never, "ID")
    assert {**found.headers, "x-request-id": ""}.keys() == {**unknown.headers, "x-request-id": ""}.keys()
    assert contents(gateway) == before


def tried(http: httpx2.Client, operation: Operation, id: str) -> httpx2.Response:
    return http.request(operation.method, operation.at(id), json=BODIES.get(operation.name))


@pytest.mark.parametrize(
    "operation",
    [pytest.param(each, id=each.name) for each in OPERATIONS if not each.path_names and each.method == "GET"],
)
def test_no_list_shows_what_is_another_tenants(tenancy: Tenancy, operation: Operation) -> None:
    with tenancy.gateway.http("strange-reviewer") as http:
        shown = http.request("GET", operation.at(), params=operation.needed).text
        for name in operation.query.keys() & FILTERS.keys():
            shown += http.request("GET", operation.at(), params={name: tenancy.ids[FILTERS[name]]}).text
    assert "privately" not in shown
    assert not [kind for kind, id in tenancy.ids.items() if kind not in FILTERS.values() and id in shown]
    assert '"tenant":"acme"' not in shown


def test_page_does_not_begin_after_what_is_another_tenants(tenancy: Tenancy) -> None:
    with tenancy.gateway.http("strange-reviewer") as http:
        answers = [
            http.get("/v1/chat/completions", params={"after": after})
            for after in (tenancy.ids["interaction"], "chatcmpl-never")
        ]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].text == answers[1].text


def test_next_claim_is_never_another_tenants(tenancy: Tenancy) -> None:
    tenancy.gateway.ask("waits for acme [0.3]")
    with tenancy.gateway.http("strange-reviewer") as http:
        assert http.post("/v1/reviews/claim").status_code == 204


def test_monitoring_counts_nothing_of_another_tenant(tenancy: Tenancy) -> None:
    with tenancy.gateway.http("strange-reviewer") as http:
        assert http.get("/v1/monitoring").json()["total"] == 0


def test_idempotency_key_and_retry_of_another_tenant_are_new_questions(tenancy: Tenancy) -> None:
    body = {"model": "countersign-reference", "messages": [{"role": "user", "content": "the same words [0.97]"}]}
    sent = ({"idempotency-key": "shared"}, {"x-stainless-retry-count": "1"})
    for headers in sent:
        ids = []
        for who in ("caller", "stranger"):
            with tenancy.gateway.http(who) as http:
                answer = http.post("/v1/chat/completions", json=body, headers=headers)
            assert "idempotent-replayed" not in answer.headers
            ids.append(answer.json()["id"])
        assert ids[0] != ids[1]
