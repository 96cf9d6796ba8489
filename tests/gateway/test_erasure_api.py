"""An admin erases a person and places legal holds over HTTP; what is held is refused with the hold's id."""

from __future__ import annotations

import pytest

from tests.gateway.running import Gateway


def _erase(gateway: Gateway, subject: str, who: str = "admin"):
    with gateway.http(who) as http:
        return http.post("/v1/audit/subjects/erase", json={"subject": subject})


def _hold(gateway: Gateway, **order):
    with gateway.http("admin") as http:
        return http.post("/v1/audit/holds", json={"reason": "a court asks", **order})


def test_an_erased_persons_answers_are_gone_and_the_log_says_so(gateway: Gateway) -> None:
    held = gateway.ask("private [0.3]", user="erased@example.org").json()
    id = gateway.ask("private too [0.97]", safety_identifier="erased@example.org").json()["id"]
    told = _erase(gateway, "erased@example.org")
    assert told.status_code == 200
    assert told.json() == {"object": "audit.erasure", "subject": told.json()["subject"], "events": 4, "interactions": 2}
    with gateway.http("caller") as http:
        assert http.get(f"/v1/chat/completions/{id}").status_code == 404
        assert http.get(f"/v1/chat/completions/{held['id']}").status_code == 404
    events = gateway.events(interaction_id=id)
    assert {event["kind"]: event["private_state"] for event in events} == {
        "interaction.recorded": "erased",
        "decision": "erased",
    }
    assert all(event["private"] is None for event in events)
    (note,) = [e for e in gateway.events(kinds="subject.erased") if e["subject"] == told.json()["subject"]]
    assert note["data"] == {"subject": told.json()["subject"], "events": 4, "interactions": 2}
    assert _erase(gateway, "erased@example.org").status_code == 404


def test_only_an_admin_erases_and_holds(gateway: Gateway) -> None:
    for who in ("caller", "ada", "auditor"):
        assert _erase(gateway, "x", who).status_code == 403
        with gateway.http(who) as http:
            assert http.get("/v1/audit/holds").status_code == 403
            assert http.post("/v1/audit/holds", json={"scope": "tenant", "reason": "x"}).status_code == 403


def test_what_is_under_a_hold_is_answered_409_until_it_is_lifted(gateway: Gateway) -> None:
    id = gateway.ask("kept [0.97]", user="kept@example.org").json()["id"]
    hold = _hold(gateway, scope="interaction", target=id).json()
    with gateway.http("caller") as http:
        refusals = [http.delete(f"/v1/chat/completions/{id}"), _erase(gateway, "kept@example.org")]
        for refused in refusals:
            assert refused.status_code == 409
            assert refused.json()["error"]["code"] == "legal_hold"
            assert hold["id"] in refused.json()["error"]["message"]
            assert refused.headers["x-should-retry"] == "false"
        assert http.get(f"/v1/chat/completions/{id}").status_code == 200
    with gateway.http("admin") as http:
        assert hold in http.get("/v1/audit/holds").json()["data"]
        lifted = http.delete(f"/v1/audit/holds/{hold['id']}").json()
        assert lifted["lifted_at"] is not None
        assert hold["id"] not in [each["id"] for each in http.get("/v1/audit/holds").json()["data"]]
        assert lifted in http.get("/v1/audit/holds", params={"lifted": "true"}).json()["data"]
    assert _erase(gateway, "kept@example.org").status_code == 200
    assert [e["data"]["hold"] for e in gateway.events(kinds="hold.placed,hold.lifted", interaction_id=id)] == [
        hold["id"],
        hold["id"],
    ]


@pytest.mark.parametrize(
    ("order", "status", "param"),
    [
        ({"scope": "person", "target": "x"}, 400, "scope"),
        ({"scope": "tenant", "target": "x"}, 400, "target"),
        ({"scope": "subject"}, 400, "target"),
        ({"scope": "tenant", "reason": " "}, 400, "reason"),
        ({"scope": "tenant", "reason": "\u202e"}, 400, "reason"),
        ({"scope": "subject", "target": "nobody"}, 404, "id"),
        ({"scope": "interaction", "target": "chatcmpl_none"}, 404, "id"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(gateway: Gateway, order, status: int, param: str) -> None:
    refused = _hold(gateway, **order)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param)


def test_another_tenants_people_and_holds_do_not_exist(gateway: Gateway) -> None:
    gateway.ask("theirs [0.97]", user="theirs@example.org").raise_for_status()
    assert _erase(gateway, "theirs@example.org", "strange-reviewer").status_code == 404
    hold = _hold(gateway, scope="subject", target="theirs@example.org").json()
    with gateway.http("strange-reviewer") as http:
        assert http.delete(f"/v1/audit/holds/{hold['id']}").status_code == 404
        assert http.get("/v1/audit/holds").json()["data"] == []
