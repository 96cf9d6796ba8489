"""Released answers are audited by chance: their callers notice nothing, until the alarm holds everything."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import certifying
from storage import audit_query, certificates
from storage.certified import CertificateState
from storage.database import now
from tests.gateway.certified import certify
from tests.gateway.fake_serving import MODEL, SECRET_TEXT, FakeServing
from tests.gateway.running import Gateway, running, settings_for, until


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, serving: FakeServing, valkey_url: str, migrated: Path
) -> Iterator[Gateway]:
    """Every released answer is audited, but those of policies with a share of nothing."""
    home = tmp_path_factory.mktemp("audits")
    (home / "countersign.db").write_bytes(migrated.read_bytes())
    with running(settings_for(home, serving.url, valkey_url), draw=lambda: 0.0) as found:
        yield found


def audited(gateway: Gateway, question: str, **body: Any) -> tuple[dict[str, Any], str]:
    """The completion as its caller got it, and the item by which it is reviewed."""
    answer = gateway.ask(f"{question} [0.97]", **body).raise_for_status().json()
    return answer, item_about(gateway, answer["id"])["item_id"]


def item_about(gateway: Gateway, completion_id: str) -> dict[str, Any]:
    (made,) = gateway.events(kinds="review.created", interaction_id=completion_id)
    return made


def got(gateway: Gateway, completion_id: str) -> dict[str, Any]:
    with gateway.http() as http:
        return dict(http.get(f"/v1/chat/completions/{completion_id}").raise_for_status().json())


def told(answer: dict[str, Any]) -> tuple[Any, ...]:
    review, message = answer["review"], answer["choices"][0]["message"]
    return review["id"], review["status"], review["action"], review["reason"], message["content"]


AS_EVERYBODY = (None, "none", "release", "confident", SECRET_TEXT)


def test_caller_of_an_audited_answer_gets_what_every_caller_gets(gateway: Gateway) -> None:
    with gateway.http("admin") as http:
        policy = {"audit_share": 0.0}
        secret = http.post("/v1/keys", json={"name": "unaudited", "roles": ["caller"], "policy": policy}).json()["key"]
    answer, item = audited(gateway, "audited")
    other = gateway.ask("not audited [0.97]", secret).json()
    assert told(answer) == told(other) == told(got(gateway, answer["id"])) == AS_EVERYBODY
    assert answer["review"].keys() == other["review"].keys()
    assert answer["review"]["expires_at"] is other["review"]["expires_at"] is None
    assert gateway.events(kinds="review.created", interaction_id=other["id"]) == []
    with gateway.http("ada") as http:
        (case,) = [each for each in http.get("/v1/reviews?limit=50").json()["data"] if each["id"] == item]
    assert (case["reason"], case["action"]) == ("random_audit", "release")


def test_streamed_answer_that_is_audited_says_nothing_of_it(gateway: Gateway) -> None:
    with gateway.openai() as client:
        asked = [{"role": "user", "content": "streamed [0.97]"}]
        chunks = list(client.chat.completions.create(model="countersign-reference", messages=asked, stream=True))  # type: ignore[call-overload]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SECRET_TEXT
    assert chunks[0].model_extra["review"]["status"] == "none"
    assert item_about(gateway, chunks[0].id)["data"]["reason"] == "random_audit"


def test_share_of_the_draw_is_logged_with_the_decision_and_stands_in_its_policy(gateway: Gateway) -> None:
    answer, _ = audited(gateway, "logged")
    (decided,) = gateway.events(kinds="decision", interaction_id=answer["id"])
    assert decided["data"]["audit_share"] == 0.04
    assert decided["data"]["certificate"].startswith("crt_")
    held = gateway.ask("held [0.3]").json()
    (decided,) = gateway.events(kinds="decision", interaction_id=held["id"])
    assert decided["data"]["audit_share"] is None


def test_correction_of_an_audited_answer_reaches_later_retrievals(gateway: Gateway) -> None:
    approved, edited, rejected = (audited(gateway, f"corrected {number}") for number in range(3))
    gateway.judge(approved[1])
    gateway.judge(edited[1], "edit", "wrong sum", "Forty-three.")
    gateway.judge(rejected[1], "reject", "made up")
    assert told(got(gateway, approved[0]["id"])) == AS_EVERYBODY
    assert told(got(gateway, edited[0]["id"])) == (edited[1], "edited", "release", "confident", "Forty-three.")
    withheld = got(gateway, rejected[0]["id"])
    assert told(withheld) == (rejected[1], "rejected", "release", "confident", None)
    assert withheld["choices"][0]["finish_reason"] == "content_filter"


def test_audit_that_nobody_does_in_time_takes_nothing_back(gateway: Gateway) -> None:
    with gateway.http("admin") as http:
        policy = {"review_seconds": 0.001}
        made = {"name": "short", "roles": ["caller"], "policy": policy}
        secret = http.post("/v1/keys", json=made).raise_for_status().json()["key"]
    answer = gateway.ask("not looked at in time [0.97]", secret).json()
    until(lambda: bool(gateway.events(kinds="review.expired", interaction_id=answer["id"])))
    with gateway.http(secret) as http:
        assert told(http.get(f"/v1/chat/completions/{answer['id']}").json()) == AS_EVERYBODY


def test_rejected_audits_raise_the_alarm_and_everything_is_held_until_recertified(gateway: Gateway) -> None:
    drifting = [audited(gateway, f"drifting {number}")[1] for number in range(4)]  # all are from before the alarm
    for item in drifting:
        gateway.judge(item, "reject", "wrong")

    def suspended() -> bool:
        with gateway.database.read() as connection:
            found = certificates.standing(connection, MODEL)
        return found is not None and found.state is CertificateState.SUSPENDED

    until(suspended)
    with gateway.http("admin") as http:
        policy = {"without_certificate": "release", "below": "release"}
        made = {"name": "worded", "roles": ["caller"], "policy": policy}
        worded = http.post("/v1/keys", json=made).raise_for_status().json()["key"]
    for who in ("caller", "flagging", "trusting", worded):
        assert told(gateway.ask("after the alarm [0.99]", who).json())[1:] == ("pending", "hold", "drift", None)
    (alarm,) = [e for e in all_events(gateway) if e["kind"] == "certificate.suspended"]
    assert alarm["data"]["audited"] >= 2
    assert alarm["data"]["wealth"] >= 20
    with gateway.http(None) as http:
        assert "countersign_certificates_suspended 1.0" in http.get("/metrics").text
    recertify(gateway)
    assert told(gateway.ask("after recertification [0.97]").json()) == AS_EVERYBODY


def recertify(gateway: Gateway) -> None:
    """From what reviewers say of the answers that are held meanwhile."""
    with gateway.database.read() as connection:
        before = certificates.standing(connection, MODEL)
        assert before is not None
    for number in range(8):
        held = gateway.ask(f"held {number} [0.97]").json()
        gateway.judge(held["review"]["id"])
    with gateway.database.transaction() as connection:
        made, labels = certifying.make(connection, None, 0.4, 0.05)
        assert labels in (8, 9)  # not those of before the alarm; the last one then may have come just after it
        certifying.activate(connection, made)
    with pytest.raises(ValueError, match="make a new one"), gateway.database.transaction() as connection:
        certificates.activate(connection, before.id, "test")


def all_events(gateway: Gateway) -> list[dict[str, Any]]:
    """Those of the whole product, which only the default tenant's auditors see."""
    with gateway.database.read() as connection:
        return [{"kind": e.kind, "data": e.data} for e in audit_query.query(connection, "default", limit=500)]


def test_new_calibration_without_its_certificate_is_held(gateway: Gateway) -> None:
    with gateway.database.transaction() as connection:
        stands = certificates.standing(connection, MODEL)
        assert stands is not None
        certify(connection, stands.calibration_id, MODEL, thresholds={"sums": 0.0}, made_at=9e9)
    assert told(gateway.ask("other domain [0.97]").json())[1:4] == ("pending", "hold", "uncertified")


def test_certificate_that_is_no_certificate_releases_nothing_and_is_suspended(gateway: Gateway) -> None:
    with gateway.database.transaction() as connection:
        before = certificates.standing(connection, MODEL)
        assert before is not None
        body = {"id": "crt_odd", "model": MODEL, "calibration_id": before.calibration_id, "made_at": now(connection)}
        certificates.activate(connection, certificates.store(connection, body).id, "test")
    *held, reason, _ = told(gateway.ask("odd [0.97]").json())[1:]
    assert held == ["pending", "hold"]
    assert reason in ("uncertified", "drift")  # once the worker has looked at it
    until(lambda: told(gateway.ask("odd again [0.97]").json())[3] == "drift")
