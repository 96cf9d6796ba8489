"""Who writes into the database but has no key of ours gets no answer out, and everybody who looks is told so."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from storage.storable import content_hash
from storage.tables import decisions, idempotency, interactions, keys, review_items, sign_ins, verdicts
from tests.gateway.fake_serving import SECRET_TEXT
from tests.gateway.running import Gateway, until

ASK = {"model": "countersign-reference"}
FORGED = "A forged answer."


def forge(gateway: Gateway, table: sa.Table, column: str, value: str, **columns: Any) -> None:
    with gateway.database.transaction() as connection:
        done = connection.execute(sa.update(table).where(table.c[column] == value).values(columns))
    assert done.rowcount == 1


def got(gateway: Gateway, completion_id: str, who: str = "caller") -> httpx2.Response:
    with gateway.http(who) as http:
        return http.get(f"/v1/chat/completions/{completion_id}")


def everything(gateway: Gateway, completion_id: str, who: str = "caller") -> str:
    with gateway.http(who) as http:
        listed = http.get("/v1/chat/completions?order=desc&limit=100").raise_for_status().json()["data"]
    (mine,) = [each for each in listed if each["id"] == completion_id]
    return got(gateway, completion_id, who).text + json.dumps(mine)


def require_withheld(gateway: Gateway, completion_id: str, who: str = "caller") -> None:
    answer = got(gateway, completion_id, who)
    (choice,) = answer.json()["choices"]
    assert answer.status_code == 200
    assert (choice["message"]["content"], choice["logprobs"]) == (None, None)
    assert choice["finish_reason"] == "content_filter"
    assert "withheld" in choice["message"]["refusal"]
    assert answer.json()["review"]["status"] == "not_vouched"
    assert answer.json()["review"]["confidence"] is None
    for text in (SECRET_TEXT, FORGED):
        assert text not in everything(gateway, completion_id, who)


def alarms(gateway: Gateway) -> float:
    with gateway.http(None) as http:
        told = http.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in told if line.startswith("countersign_not_vouched_total"))


@pytest.mark.parametrize("action", ["release", "flag"])
def test_a_held_answer_whose_decision_is_set_to_leave_stays(gateway: Gateway, action: str) -> None:
    held, before = gateway.ask(f"set to {action} [0.3]").json(), alarms(gateway)
    forge(gateway, decisions, "interaction_id", held["id"], action=action, reason="confident")
    require_withheld(gateway, held["id"])
    assert alarms(gateway) > before
    with gateway.http() as http:
        asked = http.get(f"/v1/chat/completions/{held['id']}/messages")
    assert (asked.status_code, asked.json()["error"]["code"]) == (409, "not_vouched")


@pytest.mark.parametrize("mac", [None, "made up"])
def test_a_final_verdict_put_into_the_table_releases_nothing(gateway: Gateway, mac: str | None) -> None:
    held = gateway.ask("verdict put in [0.3]").json()
    row = {
        "id": f"ver_{held['id']}", "item_id": held["review"]["id"], "tenant": "acme", "reviewer_id": "key_nobody",
        "kind": "approve", "reason": "", "content_hash": content_hash(SECRET_TEXT), "fencing_token": 1,
        "created_at": 1.0, "final": True, "vouched": mac,
    }  # fmt: skip
    with gateway.database.transaction() as connection:
        connection.execute(verdicts.insert(), row)
    forge(gateway, review_items, "id", held["review"]["id"], state="approved", claimed_by="key_nobody")
    require_withheld(gateway, held["id"])


@pytest.mark.parametrize("reviewed", [False, True])
def test_an_answer_altered_with_all_its_hashes_is_withheld(gateway: Gateway, reviewed: bool) -> None:
    asked = gateway.ask(f"altered {reviewed} [{0.3 if reviewed else 0.97}]").json()
    if reviewed:
        gateway.judge(asked["review"]["id"])
    with gateway.database.transaction() as connection:
        query = sa.select(interactions.c.answer).where(interactions.c.id == asked["id"])
        answer = {**json.loads(connection.execute(query).scalar_one()), "text": FORGED}
    hash_ = content_hash(FORGED)
    forge(gateway, interactions, "id", asked["id"], answer=json.dumps(answer), content_hash=hash_)
    forge(gateway, decisions, "interaction_id", asked["id"], content_hash=hash_)
    if reviewed:
        forge(gateway, verdicts, "item_id", asked["review"]["id"], content_hash=hash_)
    require_withheld(gateway, asked["id"])


def test_an_edit_altered_with_its_hash_is_withheld(gateway: Gateway) -> None:
    asked = gateway.ask("edited [0.3]").json()
    gateway.judge(asked["review"]["id"], "edit", "typo", "Corrected.")
    forge(gateway, verdicts, "item_id", asked["review"]["id"], content=FORGED, content_hash=content_hash(FORGED))
    require_withheld(gateway, asked["id"])


def test_log_probabilities_altered_under_an_unaltered_text_are_withheld(gateway: Gateway) -> None:
    asked = gateway.ask("probable [0.97]", logprobs=True).json()
    with gateway.database.transaction() as connection:
        query = sa.select(interactions.c.answer).where(interactions.c.id == asked["id"])
        answer = json.loads(connection.execute(query).scalar_one())
    answer["tokens"][0][1] = -9.0
    forge(gateway, interactions, "id", asked["id"], answer=json.dumps(answer))
    require_withheld(gateway, asked["id"])


def test_the_first_of_two_words_made_final_releases_nothing(gateway: Gateway) -> None:
    with gateway.http("admin") as http:
        made = http.post("/v1/keys", json={"name": "two", "roles": ["caller"], "policy": {"four_eyes": True}}).json()
    held = gateway.ask("two people [0.3]", made["key"]).json()
    gateway.judge(held["review"]["id"])
    with gateway.database.transaction() as connection:  # else the database itself refuses a last word
        word = connection.execute(sa.select(verdicts).where(verdicts.c.item_id == held["review"]["id"])).one()._asdict()
        forged = {**word, "id": f"ver_forged_{held['id']}", "reviewer_id": "key_nobody"}
        connection.execute(verdicts.insert(), forged)
    agrees = {"agrees_with": forged["id"], "agrees_with_reviewer": forged["reviewer_id"]}
    forge(gateway, verdicts, "id", word["id"], final=True, **agrees)
    forge(gateway, review_items, "id", held["review"]["id"], state="approved")
    require_withheld(gateway, held["id"], made["key"])


def test_a_request_sent_again_is_not_answered_with_what_another_was_answered(gateway: Gateway) -> None:
    name = {"idempotency-key": "of-an-insider"}
    body = {**ASK, "messages": [{"role": "user", "content": "mine [0.97]"}]}
    other = gateway.ask("another question [0.97]").json()
    with gateway.http() as http:
        mine = http.post("/v1/chat/completions", json=body, headers=name).json()
        forge(gateway, idempotency, "interaction_id", mine["id"], interaction_id=other["id"])
        again = http.post("/v1/chat/completions", json=body, headers=name)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["review"]["status"] == "not_vouched"
    assert SECRET_TEXT not in again.text


def test_a_request_sent_again_after_its_answer_was_altered_is_withheld(gateway: Gateway) -> None:
    name = {"idempotency-key": "of-an-altered-one"}
    body = {**ASK, "messages": [{"role": "user", "content": "again [0.3]"}]}
    with gateway.http() as http:
        held = http.post("/v1/chat/completions", json=body, headers=name).json()
        forge(gateway, decisions, "interaction_id", held["id"], action="release", reason="confident")
        for stream in (False, True):
            again = http.post("/v1/chat/completions", json={**body, "stream": stream}, headers=name)
            assert SECRET_TEXT not in again.text
        assert http.post("/v1/chat/completions", json=body, headers=name).json()["review"]["status"] == "not_vouched"


@pytest.mark.parametrize("stream", [False, True])
def test_who_waits_for_a_verdict_is_told_at_once_that_there_can_be_none(gateway: Gateway, stream: bool) -> None:
    answers: list[httpx2.Response] = []

    def ask() -> None:
        body = {**ASK, "messages": [{"role": "user", "content": f"waits {stream} [0.3]"}], "stream": stream}
        with gateway.http() as http:
            answers.append(http.post("/v1/chat/completions", json=body, headers={"prefer": "wait=25"}))

    waiting = threading.Thread(target=ask)
    waiting.start()
    until(lambda: bool(gateway.app.state.context.bell._waiting))
    (completion_id,) = gateway.app.state.context.bell._waiting
    forge(gateway, decisions, "interaction_id", completion_id, action="release", reason="confident")
    waiting.join(25)
    assert "not_vouched" in answers[0].text
    assert SECRET_TEXT not in answers[0].text


@pytest.mark.parametrize("way", ["this one", "the next"])
def test_a_reviewer_who_claims_it_is_told_and_the_item_is_set_aside(gateway: Gateway, way: str) -> None:
    held = gateway.ask(f"claimed as {way} [0.3]").json()
    item = held["review"]["id"]
    harmless = '[{"role":"user","content":"harmless"}]'
    forge(gateway, interactions, "id", held["id"], messages=harmless)
    with gateway.http("ada") as http:
        path = f"/v1/reviews/{item}/claim" if way == "this one" else "/v1/reviews/claim"
        refused = http.post(path)
        while refused.status_code != 204 and item not in refused.json().get("error", {}).get("message", ""):
            refused = http.post(path)
        seen = http.get(f"/v1/reviews/{item}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_vouched")
    assert "Tell an operator" in refused.json()["error"]["message"]
    assert (seen.json()["state"], seen.json()["vouched"]) == ("quarantined", "not_vouched")
    assert SECRET_TEXT not in refused.text + seen.text
    (event,) = gateway.events(item_id=item, kinds="review.quarantined")
    assert event["data"]["why"] == "not_vouched"
    require_withheld(gateway, held["id"])


@pytest.mark.parametrize("verdict", ["approve", "edit", "reject", "refer"])
def test_no_verdict_is_taken_over_what_was_altered_under_the_claim(gateway: Gateway, verdict: str) -> None:
    held = gateway.ask(f"altered under the claim, {verdict} [0.3]").json()
    item = held["review"]["id"]
    token = gateway.claim(item)["claim"]["fencing_token"]
    forge(gateway, decisions, "interaction_id", held["id"], threshold=0.1)
    body = {"fencing_token": token, "verdict": verdict, "reason": "because"}
    body |= {"content": "Corrected."} if verdict == "edit" else {}
    with gateway.http("ada") as http:
        refused = http.post(f"/v1/reviews/{item}/verdict", json=body)
        after = http.get(f"/v1/reviews/{item}").json()
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_vouched")
    assert (after["state"], after["verdict"]) == ("quarantined", None)
    (event,) = gateway.events(item_id=item, kinds="verdict.refused")
    assert event["data"]["why"] == "not_vouched"


def test_a_rejection_that_was_taken_out_of_the_database_stands(gateway: Gateway) -> None:
    """The other reviewer knows nothing of it, and approves."""
    held = gateway.ask("rejected, then open again [0.3]").json()
    item = held["review"]["id"]
    gateway.judge(item, "reject", "It leaks.")
    with gateway.database.transaction() as connection:
        connection.execute(sa.delete(verdicts).where(verdicts.c.item_id == item))
    forge(gateway, review_items, "id", item, state="pending", claimed_by=None, decided_at=None)
    token = gateway.claim(item, "grace")["claim"]["fencing_token"]
    with gateway.http("grace") as http:
        body = {"fencing_token": token, "verdict": "approve", "reason": ""}
        refused = http.post(f"/v1/reviews/{item}/verdict", json=body)
        after = http.get(f"/v1/reviews/{item}").json()
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_vouched")
    assert (after["state"], after["verdict"]) == ("quarantined", None)
    assert SECRET_TEXT not in everything(gateway, held["id"])


def test_a_sign_in_put_into_the_table_signs_nobody_in(gateway: Gateway) -> None:
    with gateway.database.transaction() as connection:
        ada = connection.execute(sa.select(keys.c.id).where(keys.c.name == "ada")).scalar_one()
        hash_ = hashlib.sha256(b"csk_mine").hexdigest()
        row = {"secret_hash": hash_, "key_id": ada, "created_at": 1.0, "expires_at": 4e9}
        connection.execute(sign_ins.insert(), row)
    with gateway.http(None) as http:
        refused = http.get("/v1/whoami", headers={"authorization": "Bearer csk_mine"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


def test_what_was_written_under_another_master_key_says_so(gateway: Gateway) -> None:
    held = gateway.ask("another key [0.3]").json()
    forge(gateway, decisions, "interaction_id", held["id"], vouched=f"mk_{'0' * 16}:{'0' * 64}")
    answer = got(gateway, held["id"]).json()
    assert answer["review"]["status"] == "other_master_key"
    assert "another master key" in answer["choices"][0]["message"]["refusal"]
    with gateway.http("ada") as http:
        refused = http.post(f"/v1/reviews/{held['review']['id']}/claim")
        assert http.get(f"/v1/reviews/{held['review']['id']}").json()["state"] == "pending"
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "other_master_key")


def test_what_has_no_mac_is_held_for_an_operator_and_nobody_can_decide_it(gateway: Gateway) -> None:
    """As everything that an earlier version recorded: nothing of it is lost, and nothing leaves."""
    held, sure = gateway.ask("of before [0.3]").json(), gateway.ask("of before [0.97]").json()
    for each in (held, sure):
        forge(gateway, decisions, "interaction_id", each["id"], vouched=None)
        answer = got(gateway, each["id"])
        assert (answer.status_code, answer.json()["review"]["status"]) == (202, "not_vouched_yet")
        assert "retry-after" in answer.headers
        assert answer.json()["choices"][0]["message"]["refusal"].startswith("Held: it is of an earlier version")
        assert SECRET_TEXT not in everything(gateway, each["id"])
    with gateway.http("ada") as http:
        refused = http.post(f"/v1/reviews/{held['review']['id']}/claim")
        seen = http.get(f"/v1/reviews/{held['review']['id']}").json()
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_vouched_yet")
    assert (seen["state"], seen["vouched"], seen["answer"]["text"]) == ("pending", "not_vouched_yet", None)
    with gateway.http() as http:
        deleted = http.delete(f"/v1/chat/completions/{held['id']}")
    assert deleted.json()["deleted"] is True
