"""Stored completions through the client: long poll, list, messages, delete; and what a leaving caller does."""

import socket
import threading

import httpx2
import openai
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from storage import reviews
from storage.keys import by_secret
from storage.records import VerdictKind
from storage.tables import interactions
from tests.gateway.fake_serving import SECRET_TEXT, FakeServing
from tests.gateway.running import Gateway, until

ASK = {"model": "countersign-reference"}


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_retrieval_of_a_waiting_answer_is_202_without_its_text(gateway: Gateway) -> None:
    held = gateway.ask("later [0.3]").json()
    raw = gateway.openai().chat.completions.with_raw_response.retrieve(held["id"])
    assert raw.status_code == 202
    assert raw.headers["retry-after"]
    assert raw.parse().choices[0].message.content is None
    assert SECRET_TEXT not in raw.text


def test_long_poll_sees_a_verdict_that_another_process_committed(gateway: Gateway) -> None:
    held = gateway.ask("elsewhere [0.3]").json()
    answered: list[openai.types.chat.ChatCompletion] = []

    def poll() -> None:
        options = {"Prefer": "wait=25"}
        answered.append(gateway.openai().chat.completions.retrieve(held["id"], extra_headers=options))

    poller = threading.Thread(target=poll)
    poller.start()
    with gateway.database.transaction() as connection:  # no bell rings: only polling can see it
        ada = by_secret(connection, gateway.secrets["ada"])
        assert ada is not None
        claim = reviews.claim(connection, held["review"]["id"], ada, 60)
        reviews.decide(connection, claim.item.id, ada, claim.fencing_token, VerdictKind.APPROVE, "", None)
    poller.join(25)
    assert answered[0].choices[0].message.content == SECRET_TEXT


def test_key_revoked_during_a_wait_gets_nothing_of_the_verdict_after_it(gateway: Gateway) -> None:
    key_id, secret = gateway.brief_key()
    held = gateway.ask("revoked meanwhile [0.3]", secret).json()
    answers: list[httpx2.Response] = []

    def poll() -> None:
        with gateway.http(secret) as http:
            answers.append(http.get(f"/v1/chat/completions/{held['id']}", headers={"prefer": "wait=25"}))

    poller = threading.Thread(target=poll)
    poller.start()
    until(lambda: held["id"] in gateway.app.state.context.bell._waiting)  # the key was good when the wait began
    gateway.revoke(key_id)
    gateway.judge(held["review"]["id"])
    poller.join(25)
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (401, "invalid_api_key")
    assert SECRET_TEXT not in answers[0].text


def test_flagged_answer_that_is_corrected_is_retrieved_corrected(gateway: Gateway) -> None:
    shown = gateway.ask("shown [0.3]", "flagging").json()
    gateway.judge(shown["review"]["id"], "edit", "typo", "Corrected.")
    later = gateway.openai("flagging").chat.completions.retrieve(shown["id"])
    assert later.choices[0].message.content == "Corrected."


@pytest.mark.parametrize(("question", "who"), [("sure [0.97]", "caller"), ("shown [0.3]", "flagging")])
def test_stored_text_altered_after_its_decision_is_withheld_and_raises_the_alarm(
    gateway: Gateway, question: str, who: str
) -> None:
    shown = gateway.ask(question, who).json()
    assert shown["choices"][0]["message"]["content"] == SECRET_TEXT
    with gateway.database.transaction() as connection:
        stored = connection.execute(sa.select(interactions.c.answer).where(interactions.c.id == shown["id"])).scalar()
        altered = str(stored).replace(SECRET_TEXT, "An altered text.")
        connection.execute(sa.update(interactions).where(interactions.c.id == shown["id"]).values(answer=altered))
    with gateway.http(who) as http:
        later = http.get(f"/v1/chat/completions/{shown['id']}")
        listed = http.get("/v1/chat/completions?order=desc&limit=1").text
        alarms = http.get("/metrics").text
    assert later.status_code == 200
    (choice,) = later.json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "content_filter")
    assert "does not match its decision" in choice["message"]["refusal"]
    assert "altered text" not in later.text + listed
    assert "countersign_content_changed_total 0.0" not in alarms
    assert "countersign_content_changed_total" in alarms


def test_list_pages_and_filters(gateway: Gateway) -> None:
    client = gateway.openai()
    wanted = [
        client.chat.completions.create(messages=user(f"l{n} [0.97]"), metadata={"batch": "seven"}, **ASK).id
        for n in range(3)
    ]
    client.chat.completions.create(messages=user("other [0.97]"), metadata={"batch": "eight"}, **ASK)
    found = [each.id for each in client.chat.completions.list(metadata={"batch": "seven"}, limit=2)]
    assert found == wanted
    newest = client.chat.completions.list(metadata={"batch": "seven"}, order="desc", limit=1)
    assert newest.data[0].id == wanted[-1]
    assert client.chat.completions.list(model="nobody").data == []


def test_list_never_shows_a_held_text(gateway: Gateway) -> None:
    gateway.ask("in a list [0.3]", metadata={"only": "held"})
    with gateway.http() as http:
        text = http.get("/v1/chat/completions", params={"metadata[only]": "held"}).text
    assert '"pending"' in text
    assert SECRET_TEXT not in text


def test_messages_are_those_that_were_asked(gateway: Gateway) -> None:
    client = gateway.openai()
    asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "m [0.97]"}]
    done = client.chat.completions.create(messages=asked, **ASK)
    rows = list(client.chat.completions.messages.list(done.id, limit=1))
    assert [(row.role, row.content) for row in rows] == [("system", "Be kind."), ("user", "m [0.97]")]


def test_deleted_question_is_gone_and_its_review_withdrawn(gateway: Gateway) -> None:
    client = gateway.openai()
    held = client.chat.completions.create(messages=user("forget [0.3]"), **ASK)
    assert client.chat.completions.delete(held.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(held.id)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.delete(held.id)
    kinds = {event["kind"] for event in gateway.events(interaction_id=held.id)}
    assert {"decision", "interaction.deleted", "review.withdrawn"} <= kinds


def test_models_are_listed_under_name_and_digest(gateway: Gateway) -> None:
    client = gateway.openai()
    ids = [model.id for model in client.models.list()]
    assert ids == ["countersign-reference", "countersign-reference@0123456789ab"]
    assert client.models.retrieve(ids[1]).id == ids[1]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_caller_who_goes_away_cancels_the_generation_and_leaves_no_record(
    gateway: Gateway, serving: FakeServing
) -> None:
    serving.cancelled.clear()
    serving.asked.clear()
    events, gone = len(gateway.events(kinds="decision", limit=1000)), left(gateway)
    host, port = gateway.url.removeprefix("http://").split(":")
    body = b'{"model": "countersign-reference", "messages": [{"role": "user", "content": "bye [slow] [0.97]"}]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.secrets['caller']}\r\n"
    raw = socket.create_connection((host, int(port)))
    raw.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert serving.asked.wait(20)
    raw.close()
    assert serving.cancelled.wait(20)
    until(lambda: left(gateway) > gone)  # the request has ended, and with it whatever it would have recorded
    assert len(gateway.events(kinds="decision", limit=1000)) == events


def test_caller_who_goes_away_during_a_wait_ends_it_and_reads_nothing(gateway: Gateway) -> None:
    held = gateway.ask("bye before the verdict [0.3]").json()
    host, port = gateway.url.removeprefix("http://").split(":")
    raw = socket.create_connection((host, int(port)))
    raw.sendall(
        f"GET /v1/chat/completions/{held['id']} HTTP/1.1\r\nHost: x\r\nPrefer: wait=300\r\n"
        f"Authorization: Bearer {gateway.secrets['caller']}\r\n\r\n".encode()
    )
    until(lambda: held["id"] in gateway.app.state.context.bell._waiting)
    gone = left(gateway, "GET", "/v1/chat/completions/{id}")
    raw.close()
    until(lambda: left(gateway, "GET", "/v1/chat/completions/{id}") > gone)
    gateway.judge(held["review"]["id"])
    assert gateway.events(kinds="access.completion", interaction_id=held["id"]) == []


def left(gateway: Gateway, method: str = "POST", route: str = "/v1/chat/completions") -> float:
    """How many requests ended because their callers went away."""
    labels = {"method": method, "route": route, "status": "499"}
    with gateway.http(None) as http:
        text = http.get("/metrics").text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return sum(each.value for each in samples if each.name == "countersign_requests_total" and each.labels == labels)
