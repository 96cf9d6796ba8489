"""An Idempotency-Key over HTTP: the same request again is the same interaction, as it stands now."""

import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from gateway.operations import vault_of
from storage import idempotency
from storage.tables import idempotency as entries
from storage.tables import review_items
from tests.gateway.fake_serving import SECRET_TEXT, FakeServing
from tests.gateway.running import Gateway, running, settings_for, until

GOOD: dict[str, Any] = {"model": "countersign-reference"}


def send(gateway: Gateway, question: str, name: str, who: str = "caller", **body: Any) -> httpx2.Response:
    asked = {**GOOD, "messages": [{"role": "user", "content": question}], **body}
    with gateway.http(who) as http:
        return http.post("/v1/chat/completions", json=asked, headers={"idempotency-key": name})


def named(gateway: Gateway, name: str) -> sa.ColumnElement[bool]:
    """The caller's entry of that name, of which only a MAC is stored."""
    with gateway.http("caller") as http:
        key_id = http.get("/v1/whoami").json()["id"]
    return entries.c.name == idempotency.kept(vault_of(gateway.settings), key_id, name)


def test_same_request_again_is_the_same_interaction_and_the_model_is_asked_once(
    gateway: Gateway, serving: FakeServing
) -> None:
    first = send(gateway, "six [0.97]", "n-1")
    before = len(serving.asks)
    again = send(gateway, "six [0.97]", "n-1")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert len(serving.asks) == before
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


def test_same_json_in_other_words_is_the_same_request(gateway: Gateway) -> None:
    first = send(gateway, "seven [0.97]", "n-2").json()
    body = '{ "messages":[ {"content":"seven [0.97]", "role":"user"} ],\n"model": "countersign-reference" }'
    with gateway.http() as http:
        again = http.post("/v1/chat/completions", content=body, headers={"idempotency-key": "n-2"})
    assert again.json()["id"] == first["id"]


def test_held_answer_is_told_as_it_stands(gateway: Gateway) -> None:
    held = send(gateway, "eight [0.3]", "n-3")
    assert (held.status_code, send(gateway, "eight [0.3]", "n-3").status_code) == (202, 202)
    gateway.judge(held.json()["review"]["id"])
    released = send(gateway, "eight [0.3]", "n-3")
    assert (released.status_code, released.json()["id"]) == (200, held.json()["id"])
    assert released.json()["choices"][0]["message"]["content"] == SECRET_TEXT


def test_held_answer_told_as_an_error_is_replayed_as_one(gateway: Gateway) -> None:
    answers = [send(gateway, "nine [0.3]", "n-4", review={"on_hold": "error"}) for _ in range(2)]
    assert [answer.json()["error"]["code"] for answer in answers] == ["review_pending"] * 2
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert answers[1].headers["idempotent-replayed"] == "true"


def test_stream_is_replayed_as_a_stream(gateway: Gateway) -> None:
    first, again = (send(gateway, "ten [0.97]", "n-5", stream=True) for _ in range(2))
    assert first.text == again.text
    assert again.headers["content-type"].startswith("text/event-stream")
    assert again.headers["idempotent-replayed"] == "true"


def test_another_body_is_422_and_asks_nobody(gateway: Gateway, serving: FakeServing) -> None:
    send(gateway, "eleven [0.97]", "n-6")
    before = len(serving.asks)
    other = send(gateway, "twelve [0.97]", "n-6")
    error = other.json()["error"]
    assert (other.status_code, error["code"], error["param"]) == (422, "idempotency_key_reused", "Idempotency-Key")
    assert len(serving.asks) == before


def test_name_of_one_key_means_nothing_to_another(gateway: Gateway) -> None:
    mine, theirs = send(gateway, "mine [0.97]", "n-7"), send(gateway, "theirs [0.97]", "n-7", "stranger")
    assert (mine.status_code, theirs.status_code) == (200, 200)
    assert mine.json()["id"] != theirs.json()["id"]


def test_deleted_interaction_is_404(gateway: Gateway) -> None:
    id = send(gateway, "gone [0.97]", "n-8").json()["id"]
    with gateway.http() as http:
        http.delete(f"/v1/chat/completions/{id}").raise_for_status()
    assert send(gateway, "gone [0.97]", "n-8").status_code == 404


def test_failed_attempt_leaves_the_name_free(gateway: Gateway) -> None:
    assert send(gateway, "busy [busy]", "n-9").status_code == 429
    assert send(gateway, "other [0.97]", "n-9").status_code == 200


def test_refused_body_takes_no_name(gateway: Gateway) -> None:
    assert send(gateway, "wrong", "n-10", temperature=9).status_code == 400
    assert send(gateway, "right [0.97]", "n-10").status_code == 200


@pytest.mark.parametrize("name", ["", "two words", "x" * 256, "caf\xe9", "\u202e".encode().decode("latin-1")])
def test_name_that_is_none_is_400(gateway: Gateway, name: str) -> None:
    with gateway.http() as http:
        headers = [(b"idempotency-key", name.encode("latin-1"))]
        answer = http.post("/v1/chat/completions", json={**GOOD, "messages": []}, headers=headers)
        twice = http.post(
            "/v1/chat/completions",
            json={**GOOD, "messages": [{"role": "user", "content": "x [0.97]"}]},
            headers=[*headers, *headers],
        )
    assert (answer.status_code, twice.status_code, twice.json()["error"]["param"]) == (400, 400, "Idempotency-Key")


def test_request_still_in_flight_is_409_that_the_client_may_retry(
    home: Path, serving: FakeServing, valkey_url: str
) -> None:
    with running(settings_for(home, serving.url, valkey_url)) as gateway:
        serving.asked.clear()
        answers: list[httpx2.Response] = []
        first = threading.Thread(target=lambda: answers.append(send(gateway, "wait [slow] [0.3]", "n")))
        first.start()
        assert serving.asked.wait(20)
        second = send(gateway, "wait [slow] [0.3]", "n")
        # the unmodified client tries again by itself, until the first attempt is done
        third: list[Any] = []
        patient = gateway.openai(max_retries=5, default_headers={"Idempotency-Key": "n"})
        messages: Any = [{"role": "user", "content": "wait [slow] [0.3]"}]
        again = threading.Thread(
            target=lambda: third.append(patient.chat.completions.create(**GOOD, messages=messages).id)
        )
        again.start()
        serving.let_slow_answers_go()
        first.join(30)
        again.join(30)
        with gateway.database.read() as conn:
            items = conn.execute(sa.select(sa.func.count()).select_from(review_items)).scalar_one()
    assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_in_flight")
    assert second.headers["retry-after"] == "1"
    assert "x-should-retry" not in second.headers
    assert third == [answers[0].json()["id"]]
    assert items == 1


def test_lease_of_a_process_that_died_ends_and_the_name_is_taken_over(gateway: Gateway) -> None:
    send(gateway, "dead [0.97]", "n-11")
    with gateway.database.transaction() as conn:  # as a process leaves it that was killed while it asked
        mine = named(gateway, "n-11")
        conn.execute(
            sa.update(entries).where(mine).values(interaction_id=None, lease_expires_at=entries.c.created_at + 60)
        )
        assert conn.execute(sa.select(entries.c.interaction_id).where(mine)).scalar() is None
    assert send(gateway, "dead [0.97]", "n-11").status_code == 409
    with gateway.database.transaction() as conn:
        conn.execute(sa.update(entries).where(mine).values(lease_expires_at=entries.c.created_at))
    taken = send(gateway, "dead [0.97]", "n-11")
    assert taken.status_code == 200
    assert send(gateway, "dead [0.97]", "n-11").json()["id"] == taken.json()["id"]


def test_worker_sweeps_entries_past_their_end(gateway: Gateway) -> None:
    send(gateway, "old [0.97]", "n-12")
    with gateway.database.transaction() as conn:
        conn.execute(sa.update(entries).where(named(gateway, "n-12")).values(expires_at=0.0))

    def swept() -> bool:
        with gateway.database.read() as conn:
            return conn.execute(sa.select(entries.c.name).where(named(gateway, "n-12"))).first() is None

    until(swept)


def entry(gateway: Gateway, name: str) -> Any:
    with gateway.database.read() as conn:
        return conn.execute(sa.select(entries).where(named(gateway, name))).first()


def test_lease_is_renewed_while_the_model_is_asked(
    gateway: Gateway, serving: FakeServing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.idempotency.RENEW_SECONDS", 0.02)
    serving.hold_slow_answers()
    asking = threading.Thread(target=lambda: send(gateway, "long [slow] [0.97]", "n-13"))
    asking.start()
    until(lambda: entry(gateway, "n-13") is not None)
    first = entry(gateway, "n-13").lease_expires_at
    until(lambda: bool(entry(gateway, "n-13").lease_expires_at > first))
    serving.let_slow_answers_go()
    asking.join(30)
    assert entry(gateway, "n-13").interaction_id is not None


def test_attempt_that_was_taken_over_records_nothing_and_says_so(gateway: Gateway, serving: FakeServing) -> None:
    serving.hold_slow_answers()
    answers: list[httpx2.Response] = []
    question = "taken over [slow] [0.3]"
    asking = threading.Thread(target=lambda: answers.append(send(gateway, question, "n-14")))
    asking.start()
    until(lambda: serving.times_asked(question) == 1)
    with gateway.database.transaction() as conn:  # as another gateway leaves it that took over
        conn.execute(sa.update(entries).where(named(gateway, "n-14")).values(owner="try_of_another"))
    serving.let_slow_answers_go()
    asking.join(30)
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (409, "idempotency_in_flight")
    assert answers[0].headers["retry-after"] == "1"
    with gateway.http() as http:
        listed = http.get("/v1/chat/completions?order=desc").json()["data"]
        asked = [http.get(f"/v1/chat/completions/{each['id']}/messages").json()["data"][0] for each in listed]
    assert question not in [message["content"] for message in asked]
    assert entry(gateway, "n-14").owner == "try_of_another"


def test_caller_who_leaves_frees_the_name(gateway: Gateway, serving: FakeServing) -> None:
    serving.hold_slow_answers()
    body = {**GOOD, "messages": [{"role": "user", "content": "leaves [slow] [0.97]"}]}
    with gateway.http() as http, pytest.raises(httpx2.TimeoutException):
        http.post("/v1/chat/completions", json=body, headers={"idempotency-key": "n-15"}, timeout=0.5)
    until(lambda: entry(gateway, "n-15") is None)
    serving.let_slow_answers_go()
    until(lambda: send(gateway, "leaves [slow] [0.97]", "n-15").status_code == 200)


def test_what_was_recorded_is_told_again_while_no_model_is_there(
    home: Path, serving: FakeServing, valkey_url: str
) -> None:
    with running(settings_for(home, serving.url, valkey_url)) as gateway:
        first = send(gateway, "before serving went away [0.97]", "n-away")
        secrets = gateway.secrets
    with running(settings_for(home, "http://127.0.0.1:9", valkey_url), secrets) as gateway:
        again = send(gateway, "before serving went away [0.97]", "n-away")
        assert (again.status_code, again.json()) == (200, first.json())
        assert send(gateway, "another one", "n-other").status_code == 503
