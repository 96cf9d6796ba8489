"""Signing in and out, keys made and ended, policies that follow; no secret reaches a log or a span."""

import json
import time
from pathlib import Path

import httpx2
import pytest

from gateway.keys import KeyRequest, make
from gateway.logs import configure_logs
from storage import keys, policies
from storage.database import now
from storage.records import Role
from tests.gateway.fake_serving import SECRET_TEXT, TOKEN, FakeServing
from tests.gateway.running import Gateway, running, settings_for


def link_for(gateway: Gateway, who: str, seconds: float = 60.0) -> str:
    with gateway.database.transaction() as connection:
        key = keys.by_name(connection, "acme", who)
        assert key is not None
        return keys.create_signin_link(connection, key.id, seconds)


def sign_in(gateway: Gateway, link: str) -> httpx2.Response:
    with gateway.http(None) as http:
        return http.post("/v1/signin", json={"link": link})


def test_link_works_once_and_stands_for_the_same_person(gateway: Gateway) -> None:
    link = link_for(gateway, "ada")
    signed_in = sign_in(gateway, link).raise_for_status().json()
    assert signed_in["name"] == "ada"
    assert signed_in["roles"] == ["reviewer"]
    assert signed_in["expires_at"] > 0
    with gateway.http(signed_in["key"]) as http:
        me = http.get("/v1/whoami").json()
    with gateway.http("ada") as http:
        assert http.get("/v1/whoami").json()["id"] == me["id"]
    again = sign_in(gateway, link)
    assert (again.status_code, again.json()["error"]["code"]) == (410, "link_used")


def test_body_with_a_link_is_small_or_413(gateway: Gateway) -> None:
    with gateway.http(None) as http:
        longest = "\\ud83d\\ude00" * 256  # as many letters as a link may have, in as many bytes as JSON can take
        known = http.post("/v1/signin", content=f'{{"link": "{longest}"}}'.encode())
        large = http.post("/v1/signin", content=b" " * 5_000)
    assert (known.status_code, known.json()["error"]["code"]) == (401, "invalid_link")
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")


def test_unknown_and_expired_links_are_refused(gateway: Gateway) -> None:
    unknown = sign_in(gateway, "csl_nonsense")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (401, "invalid_link")
    expired = sign_in(gateway, link_for(gateway, "ada", -1.0))
    assert (expired.status_code, expired.json()["error"]["code"]) == (410, "link_expired")


def test_signing_out_ends_the_sign_in_and_not_the_key(gateway: Gateway) -> None:
    secret = sign_in(gateway, link_for(gateway, "ada")).json()["key"]
    with gateway.http(secret) as http:
        assert http.delete("/v1/whoami").status_code == 200
        assert http.get("/v1/whoami").status_code == 401
    with gateway.http("ada") as http:
        assert http.get("/v1/whoami").status_code == 200
        assert http.delete("/v1/whoami").json()["error"]["code"] == "not_signed_in"


def test_admin_makes_and_ends_keys_with_their_own_policy(gateway: Gateway) -> None:
    wanted = {"name": "strict", "roles": ["caller"], "policy": {"threshold": 0.99, "below": "flag"}, "expires_in": 60}
    with gateway.http("admin") as http:
        made = http.post("/v1/keys", json=wanted).raise_for_status().json()
        assert made["policy"]["threshold"] == 0.99
        assert made["key"] not in http.get("/v1/keys").text
        shown = gateway.ask("so sure [0.98]", made["key"]).json()
        assert (shown["review"]["action"], shown["review"]["threshold"]) == ("flag", 0.99)
        assert http.delete(f"/v1/keys/{made['id']}").json()["revoked"]
    assert gateway.ask("so sure [0.98]", made["key"]).status_code == 401


def test_a_lenient_policy_of_one_key_is_not_the_next_keys_default(gateway: Gateway) -> None:
    with gateway.database.transaction() as connection:  # a tenant that has no default policy yet
        strict = policies.create_policy(connection, "fresh", name="strict", threshold=0.99)
        admin = keys.create(connection, "fresh", "root", [Role.ADMIN], strict.id)[1]
    with gateway.http(admin) as http:
        wanted = {"roles": ["caller"], "policy": {"below": "release", "threshold": 0}}
        lenient = http.post("/v1/keys", json={"name": "lenient", **wanted}).raise_for_status().json()
        named = {**wanted["policy"], "name": "default"}
        http.post("/v1/keys", json={"name": "sly", **wanted, "policy": named}).raise_for_status()
        plain = http.post("/v1/keys", json={"name": "plain", "roles": ["caller"]}).raise_for_status().json()
    assert lenient["policy"]["name"] == "lenient"
    assert (plain["policy"]["threshold"], plain["policy"]["below"]) == (0.85, "hold")
    assert gateway.ask("unsure [0.035]", plain["key"]).status_code == 202


def test_a_key_expires_by_the_databases_clock(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = KeyRequest(name="brief", roles=[Role.CALLER], expires_in=60)
    with gateway.database.transaction() as connection:
        admin = keys.by_secret(connection, gateway.secrets["admin"])
        assert admin is not None
        with monkeypatch.context() as wrong_clock:
            wrong_clock.setattr(time, "time", lambda: 0.0)
            made, secret = make(connection, wanted, admin)
        assert made.expires_at is not None
        assert made.expires_at > now(connection)
        assert keys.by_secret(connection, secret) == made


def test_whole_numbers_are_numbers_of_a_policy(gateway: Gateway) -> None:
    wanted = {"name": "whole", "roles": ["caller"], "policy": {"threshold": 1, "review_seconds": 60}, "expires_in": 60}
    with gateway.http("admin") as http:
        made = http.post("/v1/keys", json=wanted).raise_for_status().json()
    assert (made["policy"]["threshold"], made["policy"]["review_seconds"]) == (1.0, 60.0)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"roles": []}, "roles"),
        ({"roles": ["king"]}, "roles[0]"),
        ({"name": ""}, "name"),
        ({"tenant": "other"}, "tenant"),
        ({"policy": {"threshold": 1.5}}, "policy.threshold"),
        ({"policy": {"threshold": "0.5"}}, "policy.threshold"),
        ({"policy": {"threshold": True}}, "policy.threshold"),
        ({"policy": {"threshold": False}}, "policy.threshold"),
        ({"policy": {"review_seconds": "60"}}, "policy.review_seconds"),
        ({"policy": {"below": "escalate"}}, "policy.below"),
        ({"expires_in": -1}, "expires_in"),
        ({"expires_in": "60"}, "expires_in"),
    ],
)
def test_ill_formed_key_is_refused_by_field_name(gateway: Gateway, change: dict[str, object], param: str) -> None:
    with gateway.http("admin") as http:
        refused = http.post("/v1/keys", json={"name": "k", "roles": ["caller"], **change})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_no_secret_and_no_content_reaches_logs_spans_or_metrics(
    home: Path, serving: FakeServing, valkey_url: str, restored_logs: None, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logs("DEBUG")
    spans = home / "spans.jsonl"
    with running(settings_for(home, serving.url, valkey_url, span_file=spans, log_level="DEBUG")) as gateway:
        link = link_for(gateway, "ada")
        secret = sign_in(gateway, link).json()["key"]
        question = "canary-question [0.3]"
        held = gateway.ask(question).json()
        gateway.judge(held["review"]["id"], "edit", "canary-reason", "canary-edit")
        gateway.ask("canary-question [0.97]")
        gateway.ask("canary-question [busy]")
        with gateway.http(None) as http:
            metrics = http.get("/metrics").text
        known = [*gateway.secrets.values(), secret, link, SECRET_TEXT, "canary", TOKEN]
    log = capfd.readouterr().err
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert any(line.get("route") == "/v1/chat/completions" and line.get("trace_id") for line in lines)
    assert all(line["request_id"] for line in lines if line["event"] == "request")
    for sink in (log, spans.read_text(), metrics):
        assert not [word for word in known if word in sink]
