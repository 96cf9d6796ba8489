"""What becomes of a key while the model answers counts: its policy, its end, and the end of a sign-in on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import sqlalchemy as sa

from storage import keys
from storage.tables import decisions, idempotency, interactions
from tests.gateway.fake_serving import SECRET_TEXT, FakeServing
from tests.gateway.running import Gateway, until


@contextmanager
def answering(
    gateway: Gateway, serving: FakeServing, question: str, secret: str, **headers: str
) -> Iterator[list[httpx2.Response]]:
    """The model has the question while the block runs; afterwards the list has the response."""
    got: list[httpx2.Response] = []
    body = {"model": "countersign-reference", "messages": [{"role": "user", "content": question}]}

    def ask() -> None:
        with gateway.http(secret) as http:
            got.append(http.post("/v1/chat/completions", json=body, headers=headers))

    serving.hold_slow_answers()
    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: serving.times_asked(question) == 1)
    try:
        yield got
    finally:
        serving.let_slow_answers_go()
        thread.join(30)


def recorded(gateway: Gateway, question: str) -> int:
    with gateway.database.read() as conn:
        asked = interactions.c.messages.contains(question, autoescape=True)
        return conn.execute(sa.select(sa.func.count()).select_from(interactions).where(asked)).scalar_one()


def test_answer_is_decided_by_the_policy_in_force_when_it_is_there(gateway: Gateway, serving: FakeServing) -> None:
    with gateway.http("admin") as http:
        wanted = {"name": "stricter", "roles": ["caller"], "policy": {"threshold": 0.5}}
        made = http.post("/v1/keys", json=wanted).raise_for_status().json()
        with answering(gateway, serving, "stricter meanwhile [slow] [0.9]", made["key"]) as got:
            http.patch(f"/v1/policies/{made['policy']['id']}", json={"threshold": 0.95}).raise_for_status()
    review = got[0].json()["review"]
    assert (got[0].status_code, review["action"], review["threshold"]) == (202, "hold", 0.95)
    assert SECRET_TEXT not in got[0].text
    with gateway.database.read() as conn:
        named = sa.select(decisions.c.policy_version).where(decisions.c.interaction_id == got[0].json()["id"])
        assert conn.execute(named).scalar_one() == made["policy"]["version"] + 1


def test_key_that_is_revoked_while_the_model_answers_gets_nothing_and_nothing_is_recorded(
    gateway: Gateway, serving: FakeServing
) -> None:
    key_id, secret = gateway.brief_key()
    question = "revoked meanwhile [slow] [0.97]"
    with answering(gateway, serving, question, secret, **{"idempotency-key": "m-1"}) as got:
        with gateway.database.read() as conn:
            held = conn.execute(sa.select(sa.func.count()).select_from(idempotency)).scalar_one()
        gateway.revoke(key_id)
    assert (got[0].status_code, got[0].json()["error"]["code"]) == (401, "invalid_api_key")
    assert SECRET_TEXT not in got[0].text
    assert recorded(gateway, question) == 0
    with gateway.database.read() as conn:  # its name is free again
        assert conn.execute(sa.select(sa.func.count()).select_from(idempotency)).scalar_one() == held - 1


def test_retry_whose_sign_in_ends_while_it_waits_for_the_first_attempt_gets_nothing(
    gateway: Gateway, serving: FakeServing
) -> None:
    secret, question = gateway.secrets["caller"], "signed out meanwhile [slow] [0.97]"
    with gateway.database.transaction() as conn:
        caller = keys.by_secret(conn, secret)
        assert caller is not None
        link = keys.create_signin_link(conn, caller.id, 600)
    with gateway.http(None) as http:
        signed_in = http.post("/v1/signin", json={"link": link}).raise_for_status().json()["key"]
    under_way = gateway.app.state.context.under_way
    with (
        answering(gateway, serving, question, secret) as first,
        answering(gateway, serving, question, signed_in, **{"x-stainless-retry-count": "1"}) as retry,
    ):
        until(lambda: any(asking.callers == 2 for asking in list(under_way._asking.values())))
        with gateway.http(signed_in) as http:
            http.delete("/v1/whoami").raise_for_status()
    assert (first[0].status_code, retry[0].status_code) == (200, 401)
    assert SECRET_TEXT not in retry[0].text
