"""A key, or a question, that ends while a request is under way: the request does and shows nothing more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from gateway import audit_export, bodies
from gateway.errors import ApiError
from gateway.export_formats import FORMATS
from storage import keys
from storage.audit_query import EVERYTHING
from storage.records import Role
from tests.gateway.running import Gateway, until


@pytest.fixture
def brief(gateway: Gateway) -> Callable[[Role], tuple[str, str]]:
    """Makes a key for one test: id and secret."""

    def make(role: Role) -> tuple[str, str]:
        with gateway.database.transaction() as conn:
            made, secret = keys.create(conn, "acme", f"brief {role.value}", [role])
        return made.id, secret

    return make


def late(gateway: Gateway, path: str, secret: str, body: bytes, meanwhile: Callable[[], None]) -> httpx2.Response:
    """A request whose body comes after something else has happened."""

    def parts() -> Iterator[bytes]:
        yield body[:1]
        meanwhile()
        yield body[1:]

    with gateway.http(secret) as http:
        return http.post(path, content=parts(), headers={"content-type": "application/json"})


def test_a_verdict_whose_key_ends_before_its_body_comes_decides_nothing(
    gateway: Gateway, brief: Callable[[Role], tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LATE_SECONDS", 0.0)
    key_id, secret = brief(Role.REVIEWER)
    review = gateway.ask("late verdict [0.3]").json()["review"]
    token = gateway.claim(review["id"], secret)["claim"]["fencing_token"]
    body = b'{"verdict": "approve", "fencing_token": %d}' % token
    refused = late(gateway, f"/v1/reviews/{review['id']}/verdict", secret, body, lambda: gateway.revoke(key_id))
    assert refused.status_code == 401
    kinds = {event["kind"] for event in gateway.events(item_id=review["id"])}
    assert kinds == {"decision", "review.created", "review.claimed", "access.review"}


def test_a_key_that_ends_before_its_body_comes_makes_no_other(
    gateway: Gateway, brief: Callable[[Role], tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LATE_SECONDS", 0.0)
    key_id, secret = brief(Role.ADMIN)
    body = b'{"name": "after the end", "roles": ["admin"]}'
    assert late(gateway, "/v1/keys", secret, body, lambda: gateway.revoke(key_id)).status_code == 401
    with gateway.database.read() as conn:
        assert keys.by_name(conn, "acme", "after the end") is None


def test_a_body_that_is_late_is_taken_while_its_key_is_valid(
    gateway: Gateway, brief: Callable[[Role], tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LATE_SECONDS", 0.0)
    _, secret = brief(Role.ADMIN)
    body = b'{"name": "in time", "roles": ["caller"]}'
    assert late(gateway, "/v1/keys", secret, body, lambda: None).status_code in (200, 201)


async def test_an_export_breaks_off_once_its_key_has_ended(
    gateway: Gateway, brief: Callable[[Role], tuple[str, str]]
) -> None:
    key_id, secret = brief(Role.AUDITOR)
    recorder = gateway.app.state.context.recorder
    a_page = dataclasses.replace(FORMATS["jsonl"], page=1)
    pieces = audit_export.written(recorder, "acme", EVERYTHING, a_page, secret)
    assert await anext(pieces)
    gateway.revoke(key_id)
    with pytest.raises(ApiError) as ended:
        await anext(pieces)
    assert ended.value.status == 401


def test_a_question_that_is_deleted_during_its_own_wait_is_not_there(gateway: Gateway) -> None:
    body = {"model": "countersign-reference", "messages": [{"role": "user", "content": "deleted meanwhile [0.3]"}]}
    with ThreadPoolExecutor(1) as pool, gateway.http() as http:
        waiting = pool.submit(http.post, "/v1/chat/completions", json=body, headers={"prefer": "wait=25"})
        until(lambda: bool(gateway.app.state.context.bell.awaited()))
        (asked,) = gateway.app.state.context.bell.awaited()
        with gateway.http() as other:
            other.delete(f"/v1/chat/completions/{asked}").raise_for_status()
        assert waiting.result().status_code == 404
