"""Whoever reads content or private facts is in the log before they see it, and once a minute for the same thing."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway import access_log
from gateway.access_log import AccessLog
from gateway.recorder import Recorder
from storage.audit_tables import audit_events
from storage.database import migrate, open_database
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for
from tests.storage.made import key

HELD, SURE = "access [0.3]", "access [0.97]"


def _read(gateway: Gateway, kind: str, **marks) -> list[dict]:
    return gateway.events(kinds=kind, **marks)


def _get(gateway: Gateway, path: str, who: str) -> int:
    with gateway.http(who) as http:
        return http.get(path).status_code


def test_a_reviewer_who_opens_a_case_is_recorded_once(gateway: Gateway) -> None:
    held = gateway.ask(HELD).json()
    item = held["review"]["id"]
    for _ in range(3):
        assert _get(gateway, f"/v1/reviews/{item}", "ada") == 200
    (event,) = _read(gateway, "access.review", item_id=item)
    with gateway.http("ada") as http:
        me = http.get("/v1/whoami").json()["id"]
    assert (event["actor"], event["interaction_id"], event["data"]["reviewer"]) == (f"key:{me}", held["id"], me)
    assert event["data"]["state"] == "pending"
    assert _get(gateway, f"/v1/reviews/{item}", "grace") == 200
    assert len(_read(gateway, "access.review", item_id=item)) == 2


def test_a_case_that_changed_is_another_reading(gateway: Gateway) -> None:
    item = gateway.ask(HELD).json()["review"]["id"]
    assert _get(gateway, f"/v1/reviews/{item}", "ada") == 200
    gateway.judge(item)
    states = [event["data"]["state"] for event in _read(gateway, "access.review", item_id=item)]
    assert states == ["approved", "claimed", "pending"]


def test_a_list_of_cases_names_those_whose_questions_were_shown(gateway: Gateway) -> None:
    item = gateway.ask(HELD).json()["review"]["id"]
    for _ in range(2):
        assert _get(gateway, "/v1/reviews?limit=100", "grace") == 200
    told = [event for event in _read(gateway, "access.review") if item in event["data"].get("questions_of", [])]
    assert len(told) == 1


def test_a_caller_who_comes_back_for_an_answer_is_recorded(gateway: Gateway) -> None:
    id = gateway.ask(SURE).json()["id"]
    assert _read(gateway, "access.completion", interaction_id=id) == []  # the first response is the decision's
    for _ in range(2):
        assert _get(gateway, f"/v1/chat/completions/{id}", "caller") == 200
        assert _get(gateway, f"/v1/chat/completions/{id}/messages", "caller") == 200
    parts = [event["data"]["part"] for event in _read(gateway, "access.completion", interaction_id=id)]
    assert parts == ["messages", "answer"]


def test_a_held_answer_shows_nothing_and_is_no_reading_until_it_is_released(gateway: Gateway) -> None:
    held = gateway.ask(HELD).json()
    assert _get(gateway, f"/v1/chat/completions/{held['id']}", "caller") == 202
    assert _read(gateway, "access.completion", interaction_id=held["id"]) == []
    gateway.judge(held["review"]["id"])
    assert _get(gateway, f"/v1/chat/completions/{held['id']}", "caller") == 200
    assert len(_read(gateway, "access.completion", interaction_id=held["id"])) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("again", [{"idempotency-key": "again"}, {"x-stainless-retry-count": "1"}])
def test_an_answer_that_is_fetched_by_sending_its_request_again_is_recorded(gateway: Gateway, again, stream) -> None:
    marked = {name: f"{value}-{stream}" if name == "idempotency-key" else value for name, value in again.items()}
    body = {"model": "countersign-reference", "messages": [{"role": "user", "content": f"sent twice {again} [0.3]"}]}
    with gateway.http("caller") as http:
        first = {name: value for name, value in marked.items() if name == "idempotency-key"}
        headers = {"prefer": "wait=0", **first}
        held = http.post("/v1/chat/completions", json={**body, "stream": stream}, headers=headers)
        id = held.headers["location"].rsplit("/", 1)[1]
        assert _read(gateway, "access.completion", interaction_id=id) == []
        (waiting,) = {event["item_id"] for event in gateway.events(interaction_id=id, kinds="review.created")}
        gateway.judge(waiting, "edit", "so", "the reviewed text")
        got = http.post("/v1/chat/completions", json={**body, "stream": stream}, headers={**headers, **marked})
    assert got.headers["idempotent-replayed"] == "true"
    assert "the reviewed text" in got.text
    assert len(_read(gateway, "access.completion", interaction_id=id)) == 1


def test_a_list_of_completions_names_the_answers_it_shows(gateway: Gateway) -> None:
    id, held = gateway.ask(SURE).json()["id"], gateway.ask(HELD).json()["id"]
    for _ in range(2):
        assert _get(gateway, "/v1/chat/completions?order=desc", "caller") == 200
    lists = [event["data"].get("answers_of", []) for event in _read(gateway, "access.completion")]
    assert len([ids for ids in lists if id in ids]) == 1
    assert not [ids for ids in lists if held in ids]


def test_an_auditor_who_reads_private_facts_is_recorded_with_the_events(gateway: Gateway) -> None:
    id = gateway.ask(SURE, user="ada@example.org").json()["id"]
    (recorded,) = gateway.events(kinds="interaction.recorded", interaction_id=id)
    assert recorded["private"]["user"] == "ada@example.org"
    assert recorded["private_state"] == "open"
    read = _read(gateway, "access.events", interaction_id=id)
    assert [event["data"]["event_ids"] for event in read] == [[recorded["id"]]]
    assert _get(gateway, f"/v1/audit/events/{recorded['id']}", "admin") == 200
    assert len(_read(gateway, "access.events", interaction_id=id)) == 2
    assert read[0]["private_state"] == "none"  # so reading the access log is not itself recorded without end


def test_what_nobody_was_shown_is_no_reading(gateway: Gateway) -> None:
    held = gateway.ask(HELD).json()
    before = _count(gateway)
    for path, who, status in (
        (f"/v1/reviews/{held['review']['id']}", "strange-reviewer", 404),
        (f"/v1/reviews/{held['review']['id']}", "caller", 403),
        (f"/v1/chat/completions/{held['id']}", "stranger", 404),
        (f"/v1/chat/completions/{held['id']}/messages?after=none", "caller", 400),
    ):
        assert _get(gateway, path, who) == status
    assert _count(gateway) == before


def _count(gateway: Gateway) -> int:
    with gateway.database.read() as conn:
        accesses = sa.select(sa.func.count()).where(audit_events.c.kind.like("access.%"))
        return int(conn.execute(accesses).scalar_one())


def test_what_cannot_be_recorded_is_not_shown(home: Path, serving: FakeServing, valkey_url: str) -> None:
    with running(settings_for(home, serving.url, valkey_url, worker="off")) as gateway:
        id = gateway.ask(SURE).json()["id"]
        with gateway.database.transaction() as conn:  # who reads can; who writes cannot
            conn.exec_driver_sql(
                "CREATE TRIGGER full BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'no more'); END"
            )
        with gateway.http("caller") as http:
            refused = http.get(f"/v1/chat/completions/{id}")
        assert refused.status_code >= 500
        assert "choices" not in refused.json()


@pytest.mark.parametrize(("seconds", "events"), [(0.0, 2), (60.0, 1)])
def test_the_setting_says_how_long_a_reading_counts(
    home: Path, serving: FakeServing, valkey_url: str, seconds: float, events: int
) -> None:
    settings = settings_for(home, serving.url, valkey_url, worker="off", access_log_seconds=seconds)
    with running(settings) as gateway:
        id = gateway.ask(SURE).json()["id"]
        for _ in range(2):
            assert _get(gateway, f"/v1/chat/completions/{id}", "caller") == 200
        assert len(_read(gateway, "access.completion", interaction_id=id)) == events


async def test_the_memory_of_readings_is_bounded(monkeypatch, tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path}/a.db")
    database = open_database(f"sqlite:///{tmp_path}/a.db")
    recorder = Recorder(database, waiting=8, batch=8, readers=1)
    recorder.start()
    reader = key(database, "Ada")
    monkeypatch.setattr(access_log, "MOST_REMEMBERED", 2)
    log = AccessLog(recorder, 60.0)
    for items in (["a", "b", "c"], ["b", "c"], ["a"]):
        await log.questions(reader, items)
    recorder.close()
    with database.read() as conn:
        told = conn.execute(sa.select(audit_events.c.data).where(audit_events.c.kind == "access.review")).scalars()
        assert [text.split('"questions_of":')[1].split("]")[0] for text in told] == ['["a","b","c"', '["a"']
    database.close()
