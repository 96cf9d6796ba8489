"""Skills, policies that change and four eyes, as the API tells them."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.gateway.fake_serving import SECRET_TEXT
from tests.gateway.running import Gateway


def call(gateway: Gateway, method: str, path: str, body: Any = None, who: str = "admin") -> httpx2.Response:
    with gateway.http(who) as http:
        return http.request(method, path, json=body)


@pytest.fixture(scope="module")
def careful(gateway: Gateway) -> str:
    """The secret of a caller whose answers need two people."""
    policy = {"four_eyes": True, "tier": "ultra", "review_seconds": 1000}
    made = call(gateway, "POST", "/v1/keys", {"name": "careful", "roles": ["caller"], "policy": policy}).json()
    assert (made["policy"]["tier"], made["policy"]["four_eyes"], made["policy"]["version"]) == ("ultra", True, 1)
    return str(made["key"])


@pytest.fixture
def lawyer(gateway: Gateway) -> Iterator[dict[str, Any]]:
    made = call(gateway, "POST", "/v1/keys", {"name": "Lou", "roles": ["reviewer"], "skills": ["law"]}).json()
    assert made["skills"] == ["law"]
    yield made
    gateway.revoke(made["id"])


def shown(gateway: Gateway, item: str, who: str) -> dict[str, Any]:
    return dict(call(gateway, "GET", f"/v1/reviews/{item}", who=who).raise_for_status().json())


def test_the_second_person_is_shown_what_the_first_proposed_and_who_it_was(gateway: Gateway, careful: str) -> None:
    asked = gateway.ask("risky [0.3]", careful).json()
    item = asked["review"]["id"]
    before = gateway.claim(item)
    assert (before["four_eyes"], before["tier"], before["proposal"], before["opinions"]) == (True, "ultra", None, [])
    token = before["claim"]["fencing_token"]
    body = {"fencing_token": token, "verdict": "edit", "reason": "a slip", "content": "Better."}
    after = call(gateway, "POST", f"/v1/reviews/{item}/verdict", body, "ada").json()
    assert (after["state"], after["verdict"], after["barred_by"]) == ("pending", None, "referred_by_self")
    seen = shown(gateway, item, "grace")
    assert (seen["proposal"]["content"], seen["proposal"]["reviewer"]["name"]) == ("Better.", "ada")
    assert seen["opinions"] == [seen["proposal"]]
    with gateway.http(careful) as http:
        assert http.get(f"/v1/chat/completions/{asked['id']}").status_code == 202
    assert gateway.judge(item, "edit", "yes", "Better.", "grace")["state"] == "edited"
    (event,) = gateway.events(item_id=item, kinds="review.edited")
    people = {call(gateway, "GET", "/v1/whoami", who=who).json()["id"] for who in ("ada", "grace")}
    assert {event["data"]["first_reviewer"], event["data"]["reviewer"]} == people
    assert shown(gateway, item, "ada")["proposal"] is None
    with gateway.http(careful) as http:
        assert http.get(f"/v1/chat/completions/{asked['id']}").json()["choices"][0]["message"]["content"] == "Better."


def test_who_asked_is_not_shown_a_proposal(gateway: Gateway) -> None:
    policy = {"four_eyes": True}
    made = call(gateway, "POST", "/v1/keys", {"name": "both", "roles": ["caller", "reviewer"], "policy": policy}).json()
    item = gateway.ask("mine [0.3]", made["key"]).json()["review"]["id"]
    gateway.judge(item, "edit", "a slip", "canary-proposal")
    mine = call(gateway, "GET", f"/v1/reviews/{item}", who=made["key"])
    assert (mine.json()["proposal"], mine.json()["opinions"]) == (None, [])
    assert "canary-proposal" not in mine.text
    assert SECRET_TEXT not in mine.text


def test_a_claim_outside_ones_skills_is_409_and_the_list_says_so(gateway: Gateway, lawyer: dict[str, Any]) -> None:
    item = gateway.ask("sums [0.1]").json()["review"]["id"]
    refused = call(gateway, "POST", f"/v1/reviews/{item}/claim", who=lawyer["key"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_skilled")
    rows = call(gateway, "GET", "/v1/reviews?state=pending&limit=100", who=lawyer["key"]).json()["data"]
    assert {row["barred_by"] for row in rows if row["id"] == item} == {"not_skilled"}
    assert call(gateway, "POST", "/v1/reviews/claim", who=lawyer["key"]).status_code == 204
    changed = call(gateway, "POST", f"/v1/keys/{lawyer['id']}/skills", {"skills": ["arithmetic"]})
    assert changed.json()["skills"] == ["arithmetic"]
    assert call(gateway, "POST", f"/v1/reviews/{item}/claim", who=lawyer["key"]).status_code == 200
    assert call(gateway, "POST", f"/v1/keys/{lawyer['id']}/skills", {"skills": None}).json()["skills"] is None
    updated = gateway.events(kinds="key.updated")
    assert [event["data"]["skills"] for event in updated[:2]] == [None, ["arithmetic"]]


@pytest.mark.parametrize("body", [{}, {"skills": []}, {"skills": [""]}, {"skills": "law"}, {"skills": [1]}])
def test_ill_formed_skills_are_refused_by_field_name(gateway: Gateway, lawyer: dict[str, Any], body: Any) -> None:
    refused = call(gateway, "POST", f"/v1/keys/{lawyer['id']}/skills", body)
    assert (refused.status_code, refused.json()["error"]["param"].split("[")[0]) == (400, "skills")


def test_the_askers_domain_counts_where_the_model_tells_none(gateway: Gateway, lawyer: dict[str, Any]) -> None:
    told = gateway.ask("sums [0.1]", review={"domain": "law"}).json()["review"]["id"]
    assert shown(gateway, told, "ada")["domain"] == "arithmetic"  # the model's word
    refused = gateway.ask("sums [0.1]", review={"domain": ""})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "review.domain")


def test_a_changed_policy_is_a_new_version_and_leaves_open_items_as_they_were(gateway: Gateway) -> None:
    policy = {"four_eyes": True, "review_seconds": 500}
    made = call(gateway, "POST", "/v1/keys", {"name": "changing", "roles": ["caller"], "policy": policy}).json()
    old = gateway.ask("before [0.3]", made["key"]).json()["review"]["id"]
    before = shown(gateway, old, "ada")
    path = f"/v1/policies/{made['policy']['id']}"
    change = {"four_eyes": False, "threshold": 0.2, "review_seconds": 9, "tier": "pro"}
    changed = call(gateway, "PATCH", path, change).json()
    assert changed == {**changed, **change, "version": 2, "name": "changing", "below": "hold"}
    assert call(gateway, "GET", path).json() == changed
    after = shown(gateway, old, "ada")
    for kept in ("four_eyes", "tier", "expires_at", "urgency", "threshold", "policy"):
        assert after[kept] == before[kept]
    assert gateway.judge(old)["state"] == "pending"  # two must still agree
    new = gateway.ask("after [0.3]", made["key"])
    assert new.status_code == 200
    (decided,) = gateway.events(interaction_id=new.json()["id"], kinds="decision")
    assert (decided["data"]["policy_version"], decided["data"]["threshold"]) == (2, 0.2)
    (event,) = (e for e in gateway.events(kinds="policy.updated") if e["data"]["policy_id"] == made["policy"]["id"])
    assert (event["data"]["policy_version"], event["data"]["four_eyes"]) == (2, False)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"threshold": None}, None),
        ({"threshold": True}, "threshold"),
        ({"threshold": 2}, "threshold"),
        ({"four_eyes": "yes"}, "four_eyes"),
        ({"tier": "gold"}, "tier"),
        ({"below": "escalate"}, "below"),
        ({"version": 9}, "version"),
    ],
)
def test_ill_formed_policy_is_refused_by_field_name(gateway: Gateway, body: Any, param: str | None) -> None:
    listed = call(gateway, "GET", "/v1/keys").json()["data"]
    refused = call(gateway, "PATCH", f"/v1/policies/{listed[0]['policy']['id']}", body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_only_an_admin_of_the_tenant_changes_policies_and_skills(gateway: Gateway, lawyer: dict[str, Any]) -> None:
    paths = (("PATCH", f"/v1/policies/{lawyer['policy']['id']}", {"threshold": 0.1}),
             ("GET", f"/v1/policies/{lawyer['policy']['id']}", None),
             ("POST", f"/v1/keys/{lawyer['id']}/skills", {"skills": ["law"]}))  # fmt: skip
    for method, path, body in paths:
        assert call(gateway, method, path, body, "ada").status_code == 403
        assert call(gateway, method, path, body, "strange-reviewer").status_code == 404


def metric(gateway: Gateway, name: str) -> float:
    with gateway.http(None) as http:
        lines = http.get("/metrics").text.splitlines()
    return float(next(line.rsplit(" ", 1)[1] for line in lines if line.startswith(f"{name} ")))


def test_alarms_are_read_from_the_database(gateway: Gateway) -> None:
    assert metric(gateway, "countersign_items_overdue") == 0
    before = metric(gateway, "countersign_items_without_reviewer")
    with gateway.http("stranger") as http:
        http.post(
            "/v1/chat/completions",
            json={"model": "countersign-reference", "messages": [{"role": "user", "content": "x [0.1]"}]},
        )
    listed = call(gateway, "GET", "/v1/keys", who="strange-reviewer").json()["data"]
    for key in listed:
        if "reviewer" in key["roles"]:
            call(gateway, "POST", f"/v1/keys/{key['id']}/skills", {"skills": ["law"]}, "strange-reviewer")
    assert metric(gateway, "countersign_items_without_reviewer") == before + 1


def test_events_are_found_by_their_tier(gateway: Gateway, careful: str) -> None:
    held, sure = gateway.ask("tiered [0.3]", careful).json(), gateway.ask("tiered [0.99]", careful).json()
    gateway.ask("everyday [0.3]")
    gateway.claim(held["review"]["id"])
    found = gateway.events(tier="ultra", kinds="decision,review.created,review.claimed")
    newest = {(event["kind"], event["interaction_id"]) for event in found[:4]}
    events_of_held = {(kind, held["id"]) for kind in ("decision", "review.created", "review.claimed")}
    assert newest == {("decision", sure["id"]), *events_of_held}
    assert {event["data"]["tier"] for event in found} == {"ultra"}
