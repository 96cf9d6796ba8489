"""The desk's API: claims, drafts, verdicts and the conflicts between people."""

from typing import Any

import httpx2
import pytest

from tests.gateway.fake_serving import SECRET_TEXT
from tests.gateway.running import Gateway


def held(gateway: Gateway, question: str = "hold me [0.3]", who: str = "caller") -> str:
    return str(gateway.ask(question, who).json()["review"]["id"])


def post(gateway: Gateway, path: str, body: dict[str, Any] | None = None, who: str = "ada") -> httpx2.Response:
    with gateway.http(who) as http:
        return http.post(path, json=body)


def get(gateway: Gateway, path: str, who: str = "ada") -> httpx2.Response:
    with gateway.http(who) as http:
        return http.get(path)


def test_detail_shows_the_case_and_the_token_only_to_its_holder(gateway: Gateway) -> None:
    item = held(gateway)
    mine = gateway.claim(item)
    assert mine["claim"]["fencing_token"] == 1
    assert mine["claimed_by"]["name"] == "ada"
    assert mine["answer"]["text"] == SECRET_TEXT
    assert mine["answer"]["tokens"][0][2] == -0.1
    assert mine["signals"] == {"logprob_mean": -0.1, "logprob_min": None}
    assert mine["signal_ranges"]["logprob_mean"] == [-0.9, -0.1, -0.01]
    assert mine["question"] == "hold me [0.3]"
    assert mine["policy"]["name"] == "default"
    assert (mine["confidence"], mine["threshold"], mine["reason"]) == (0.3, 0.85, "low_confidence")
    assert get(gateway, f"/v1/reviews/{item}", "grace").json()["claim"] is None


def test_a_case_tells_each_step_and_how_many_answers_it_was_compared_with(gateway: Gateway) -> None:
    shown = gateway.claim(held(gateway, "is it? [checked] [0.3]"))

    assert shown["steps"] == [
        {"start": 0, "end": 3, "state": "invalid", "why": "4 is 3 + 1"},
        {"start": 3, "end": 5, "state": "unknown", "why": ""},
    ]
    assert (shown["samples"], shown["audit"]) == (2, False)


def test_note_says_why_there_is_no_confidence(gateway: Gateway) -> None:
    assert gateway.claim(held(gateway, "odd [unknown]"))["note"] == "Nothing vouches for it."


def test_second_claim_by_another_is_refused_and_by_the_holder_renewed(gateway: Gateway) -> None:
    item = held(gateway)
    first = gateway.claim(item)
    again = gateway.claim(item)
    assert again["claim"]["fencing_token"] == first["claim"]["fencing_token"]
    refused = post(gateway, f"/v1/reviews/{item}/claim", who="grace")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "already_claimed")
    assert refused.headers["x-should-retry"] == "false"


def test_released_claim_can_be_taken_by_another_with_a_higher_token(gateway: Gateway) -> None:
    item = held(gateway)
    token = gateway.claim(item)["claim"]["fencing_token"]
    assert post(gateway, f"/v1/reviews/{item}/release", {"fencing_token": token}).status_code == 204
    assert gateway.claim(item, "grace")["claim"]["fencing_token"] > token


def test_extended_claim_lasts_longer(gateway: Gateway) -> None:
    item = held(gateway)
    claim = gateway.claim(item)["claim"]
    later = post(gateway, f"/v1/reviews/{item}/extend", {"fencing_token": claim["fencing_token"]}).json()
    assert later["expires_at"] >= claim["expires_at"]


def test_draft_is_kept_on_the_server(gateway: Gateway) -> None:
    item = held(gateway)
    token = gateway.claim(item)["claim"]["fencing_token"]
    with gateway.http("ada") as http:
        body = {"fencing_token": token, "text": "Half a thought", "note": "later"}
        assert http.put(f"/v1/reviews/{item}/draft", json=body).json()["saved_at"] > 0
        stale = http.put(f"/v1/reviews/{item}/draft", json={**body, "fencing_token": token - 1})
    assert get(gateway, f"/v1/reviews/{item}").json()["draft"]["text"] == "Half a thought"
    assert get(gateway, f"/v1/reviews/{item}", "grace").json()["draft"] is None
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "stale_claim")


def test_verdict_on_an_item_that_someone_else_decided_is_409_and_an_audit_event(gateway: Gateway) -> None:
    item = held(gateway)
    token = gateway.claim(item)["claim"]["fencing_token"]
    body = {"fencing_token": token, "verdict": "approve", "reason": "", "content": None}
    assert post(gateway, f"/v1/reviews/{item}/verdict", body).status_code == 200
    late = post(gateway, f"/v1/reviews/{item}/verdict", {**body, "verdict": "reject", "reason": "no"}, "grace")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "already_decided")
    refused = gateway.events(item_id=item, kinds="verdict.refused")
    assert len(refused) == 1
    assert refused[0]["data"]["why"] == "already_decided"
    assert get(gateway, f"/v1/reviews/{item}").json()["state"] == "approved"


def test_verdict_on_a_question_deleted_meanwhile_is_409_and_an_audit_event(gateway: Gateway) -> None:
    asked = gateway.ask("taken back [0.3]").json()
    item = asked["review"]["id"]
    token = gateway.claim(item)["claim"]["fencing_token"]
    with gateway.http("caller") as http:
        http.delete(f"/v1/chat/completions/{asked['id']}").raise_for_status()
    late = post(gateway, f"/v1/reviews/{item}/verdict", {"fencing_token": token, "verdict": "approve"})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "already_decided")
    (refused,) = gateway.events(item_id=item, kinds="verdict.refused")
    assert (refused["data"]["why"], refused["data"]["state"]) == ("already_decided", "withdrawn")


def test_verdict_with_a_stale_token_changes_nothing_and_is_recorded(gateway: Gateway) -> None:
    item = held(gateway)
    token = gateway.claim(item)["claim"]["fencing_token"]
    post(gateway, f"/v1/reviews/{item}/release", {"fencing_token": token})
    gateway.claim(item, "grace")
    stale = post(gateway, f"/v1/reviews/{item}/verdict", {"fencing_token": token, "verdict": "approve"})
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "stale_claim")
    assert [event["data"]["why"] for event in gateway.events(item_id=item, kinds="verdict.refused")] == ["stale_claim"]
    assert get(gateway, f"/v1/reviews/{item}").json()["state"] == "claimed"


@pytest.mark.parametrize(
    ("verdict", "param"),
    [
        ({"verdict": "reject", "reason": " "}, "reason"),
        ({"verdict": "refer"}, "reason"),
        ({"verdict": "edit", "reason": "a slip"}, "content"),
        ({"verdict": "edit", "reason": "a slip", "content": "  "}, "content"),
        ({"verdict": "edit", "reason": "a slip", "content": "\u200b\u2060\u00a0"}, "content"),
        ({"verdict": "edit", "content": "Better."}, "reason"),
        ({"verdict": "approve", "content": "Better."}, "content"),
        ({"verdict": "perhaps"}, "verdict"),
        ({"verdict": "approve", "fencing_token": "1"}, "fencing_token"),
        ({"verdict": "reject", "reason": "x" * 10_001}, "reason"),
        ({"verdict": "edit", "reason": "x", "content": "a\x00b"}, "content"),
    ],
)
def test_incomplete_verdict_is_refused_by_field_name(gateway: Gateway, verdict: dict[str, Any], param: str) -> None:
    item = held(gateway)
    token = gateway.claim(item)["claim"]["fencing_token"]
    refused = post(gateway, f"/v1/reviews/{item}/verdict", {"fencing_token": token, **verdict})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert get(gateway, f"/v1/reviews/{item}").json()["state"] == "claimed"


def test_referred_item_waits_for_a_different_person(gateway: Gateway) -> None:
    item = held(gateway)
    assert gateway.judge(item, "refer", "not my field")["state"] == "pending"
    again = post(gateway, f"/v1/reviews/{item}/claim")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "referred_by_self")
    assert gateway.judge(item, who="grace")["state"] == "approved"


def test_own_request_may_not_be_reviewed(gateway: Gateway) -> None:
    item = held(gateway, who="admin")
    refused = post(gateway, f"/v1/reviews/{item}/claim", who="admin")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "own_request")


def test_own_held_answer_is_not_read_through_the_review_api(gateway: Gateway) -> None:
    item = held(gateway, who="admin")
    mine = get(gateway, f"/v1/reviews/{item}", "admin")
    assert mine.json()["answer"] == {"text": None, "finish_reason": None, "tokens": []}
    assert (mine.json()["signals"], mine.json()["note"], mine.json()["prompt"]) == ({}, None, {})
    assert SECRET_TEXT not in mine.text
    assert get(gateway, f"/v1/reviews/{item}", "ada").json()["answer"]["text"] == SECRET_TEXT
    gateway.judge(item)
    assert get(gateway, f"/v1/reviews/{item}", "admin").json()["answer"]["text"] == SECRET_TEXT


def test_own_rejected_answer_stays_unread_with_what_was_said_of_it(gateway: Gateway) -> None:
    item = held(gateway, who="admin")
    gateway.judge(item, "reject", "it says the secret")
    mine = get(gateway, f"/v1/reviews/{item}", "admin")
    assert (mine.json()["state"], mine.json()["verdict"]) == ("rejected", None)
    assert SECRET_TEXT not in mine.text


def test_queue_lists_in_order_of_urgency_page_by_page(gateway: Gateway) -> None:
    for confidence in ("0.7", "0.1", "0.4"):
        held(gateway, f"page [{confidence}]")
    rows: list[dict[str, Any]] = []
    after = ""
    while True:
        page = get(gateway, f"/v1/reviews?state=pending&limit=2{after}").json()
        rows += page["data"]
        if not page["has_more"]:
            break
        after = f"&after={page['next']}"
    urgencies = [row["urgency"] for row in rows]
    assert urgencies == sorted(urgencies)
    assert len({row["id"] for row in rows}) == len(rows) == page["counts"]["pending"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/chat/completions/{interaction}", None),
        ("GET", "/v1/chat/completions/{interaction}/messages", None),
        ("DELETE", "/v1/chat/completions/{interaction}", None),
        ("GET", "/v1/reviews/{item}", None),
        ("POST", "/v1/reviews/{item}/claim", None),
        ("PUT", "/v1/reviews/{item}/draft", {"fencing_token": 1, "text": "x"}),
        ("POST", "/v1/reviews/{item}/extend", {"fencing_token": 1}),
        ("POST", "/v1/reviews/{item}/release", {"fencing_token": 1}),
        ("POST", "/v1/reviews/{item}/verdict", {"fencing_token": 1, "verdict": "approve"}),
        ("GET", "/v1/audit/events/{event}", None),
        ("DELETE", "/v1/keys/{key}", None),
    ],
)
def test_another_tenants_id_is_404_everywhere(
    gateway: Gateway, method: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = gateway.ask("private [0.3]").json()
    event = gateway.events(interaction_id=answer["id"])[0]
    ids = {
        "interaction": answer["id"],
        "item": answer["review"]["id"],
        "event": event["id"],
        "key": event["actor"].removeprefix("key:"),
    }
    with gateway.http("strange-reviewer") as http:
        found = http.request(method, path.format(**ids), json=body)
    assert found.status_code == 404, found.text
    assert found.json()["error"]["code"] == "not_found"
    assert SECRET_TEXT not in found.text
    assert "private" not in found.text


def test_another_tenants_lists_are_empty_of_ours(gateway: Gateway) -> None:
    answer = gateway.ask("ours [0.3]").json()
    for path in ("/v1/reviews?limit=100", "/v1/chat/completions?limit=100", "/v1/audit/events?limit=1000", "/v1/keys"):
        text = get(gateway, path, "strange-reviewer").text
        assert answer["id"] not in text
        assert "acme" not in text
    assert post(gateway, "/v1/reviews/claim", who="strange-reviewer").status_code == 204


def test_caller_may_not_review_and_reviewer_may_not_audit(gateway: Gateway) -> None:
    assert get(gateway, "/v1/reviews", "caller").status_code == 403
    assert get(gateway, "/v1/audit/events", "ada").status_code == 403
    assert get(gateway, "/v1/keys", "auditor").status_code == 403
    assert get(gateway, "/v1/monitoring", "ada").status_code == 200


def test_decision_is_found_in_the_audit_log_by_its_marks(gateway: Gateway) -> None:
    answer = gateway.ask("audited [0.42]").json()
    found = gateway.events(
        kinds="decision", action="hold", reason="low_confidence", min_confidence=0.42, max_confidence=0.42
    )
    (mine,) = [event for event in found if event["interaction_id"] == answer["id"]]
    assert mine["data"]["threshold"] == 0.85
    assert mine["trace_id"]
    with gateway.http("auditor") as http:
        shown = http.get(f"/v1/audit/events/{mine['id']}").json()
    # The sealer may have reached the event between the two reads.
    assert {**shown, "leaf_index": None} == {**mine, "leaf_index": None}


def test_audit_pages_do_not_overlap(gateway: Gateway) -> None:
    with gateway.http("auditor") as http:
        first = http.get("/v1/audit/events?limit=3").json()
        second = http.get("/v1/audit/events", params={"limit": 3, "after": first["next"]}).json()
    assert first["has_more"]
    assert not {event["id"] for event in first["data"]} & {event["id"] for event in second["data"]}
