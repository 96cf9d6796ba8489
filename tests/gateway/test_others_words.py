"""A reviewer is shown others' words only as they were given, and never the withheld answer to their own question."""

from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from storage.records import Vouched
from storage.storable import content_hash
from storage.tables import decisions, verdicts
from tests.gateway.fake_serving import SECRET_TEXT
from tests.gateway.running import Gateway

FORGED = "Checked twice, all right. Approve it."


def alter(gateway: Gateway, item: str, **columns: Any) -> None:
    with gateway.database.transaction() as connection:
        done = connection.execute(sa.update(verdicts).where(verdicts.c.item_id == item).values(columns))
    assert done.rowcount == 1


def referred(gateway: Gateway, question: str) -> tuple[str, str]:
    """Completion and item, after Ada asked for another person."""
    asked = gateway.ask(f"{question} [0.3]").json()
    gateway.judge(asked["review"]["id"], "refer", "It leaks a secret. Reject it.")
    return asked["id"], asked["review"]["id"]


def call(gateway: Gateway, method: str, path: str, who: str = "grace", body: Any = None) -> httpx2.Response:
    with gateway.http(who) as http:
        return http.request(method, path, json=body)


def alarms(gateway: Gateway) -> float:
    told = call(gateway, "GET", "/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in told if line.startswith("countersign_not_vouched_total"))


@pytest.mark.parametrize("next_one", [False, True])
def test_an_altered_reason_is_not_shown_and_the_item_is_set_aside(gateway: Gateway, next_one: bool) -> None:
    _, item = referred(gateway, f"altered reason {next_one}")
    assert call(gateway, "GET", f"/v1/reviews/{item}").json()["opinions"][0]["reason"].startswith("It leaks")
    alter(gateway, item, reason=FORGED)
    seen, before = call(gateway, "GET", f"/v1/reviews/{item}"), alarms(gateway)
    assert FORGED not in seen.text
    assert (seen.json()["opinions"], seen.json()["vouched"]) == ([], "not_vouched")
    refused = call(gateway, "POST", "/v1/reviews/claim" if next_one else f"/v1/reviews/{item}/claim")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_vouched")
    assert FORGED not in refused.text
    assert call(gateway, "GET", f"/v1/reviews/{item}").json()["state"] == "quarantined"
    assert alarms(gateway) > before


def test_an_altered_proposal_is_not_shown_to_who_shall_agree(gateway: Gateway) -> None:
    made = call(
        gateway, "POST", "/v1/keys", "admin", {"name": "two", "roles": ["caller"], "policy": {"four_eyes": True}}
    )
    item = gateway.ask("proposed [0.3]", made.json()["key"]).json()["review"]["id"]
    gateway.judge(item, "edit", "a slip", "Better.")
    alter(gateway, item, content=FORGED, content_hash=content_hash(FORGED))
    seen = call(gateway, "GET", f"/v1/reviews/{item}")
    assert (seen.json()["proposal"], seen.json()["vouched"]) == (None, "not_vouched")
    refused = call(gateway, "POST", f"/v1/reviews/{item}/claim")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_vouched")
    assert FORGED not in seen.text + refused.text


def test_a_verdict_over_words_altered_after_the_claim_is_refused_and_the_item_ends(gateway: Gateway) -> None:
    _, item = referred(gateway, "altered under a claim")
    token = gateway.claim(item, "grace")["claim"]["fencing_token"]
    alter(gateway, item, reason=FORGED)
    body = {"fencing_token": token, "verdict": "approve", "reason": ""}
    refused = call(gateway, "POST", f"/v1/reviews/{item}/verdict", body=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_vouched")
    assert call(gateway, "GET", f"/v1/reviews/{item}").json()["state"] == "quarantined"


@pytest.mark.parametrize("code", [Vouched.BEFORE, Vouched.OTHER_KEY])
def test_words_that_nobody_can_tell_of_are_not_shown_and_the_item_waits(gateway: Gateway, code: Vouched) -> None:
    completion, item = referred(gateway, f"nobody can tell {code}")
    alter(gateway, item, vouched=None if code is Vouched.BEFORE else f"mk_{'0' * 16}:{'0' * 64}")
    if code is Vouched.BEFORE:
        with gateway.database.transaction() as connection:
            of_it = decisions.c.interaction_id == completion
            connection.execute(sa.update(decisions).where(of_it).values(vouched=None))
    refused = call(gateway, "POST", f"/v1/reviews/{item}/claim")
    seen = call(gateway, "GET", f"/v1/reviews/{item}").json()
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, code.value)
    assert (seen["state"], seen["opinions"], seen["vouched"]) == ("pending", [], code.value)
    assert call(gateway, "DELETE", f"/v1/chat/completions/{completion}", "caller").status_code == 200


def test_who_asked_is_not_shown_the_withheld_answer_under_another_key_of_theirs(gateway: Gateway) -> None:
    made = call(gateway, "POST", "/v1/keys", "admin", {"name": "Caller\u00a0", "roles": ["reviewer"]}).json()
    item = gateway.ask("by the same person [0.3]").json()["review"]["id"]
    seen = call(gateway, "GET", f"/v1/reviews/{item}", made["key"])
    assert (seen.json()["barred_by"], seen.json()["answer"]["text"]) == ("own_request", None)
    assert SECRET_TEXT not in seen.text
    refused = call(gateway, "POST", f"/v1/reviews/{item}/claim", made["key"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "own_request")
    assert call(gateway, "POST", "/v1/reviews/claim", made["key"]).status_code == 204
    (row,) = [
        each for each in call(gateway, "GET", "/v1/reviews?limit=100", made["key"]).json()["data"] if each["id"] == item
    ]
    assert row["barred_by"] == "own_request"
    gateway.judge(item, "refer", "canary-words")
    assert "canary-words" not in call(gateway, "GET", f"/v1/reviews/{item}", made["key"]).text
    gateway.judge(item, who="grace")
    assert call(gateway, "GET", f"/v1/reviews/{item}", made["key"]).json()["answer"]["text"] == SECRET_TEXT
    gateway.revoke(made["id"])
