"""The desk's next item comes in Valkey's order of urgency, and still comes when Valkey is away or knows nothing."""

import time
from pathlib import Path

import pytest
import redis

from storage import reviews
from storage.review_queue import ReviewQueue
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for


def next_item(gateway: Gateway, who: str = "ada", **wish: str) -> str | None:
    with gateway.http(who) as http:
        response = http.post("/v1/reviews/claim", json=wish)
    return str(response.json()["id"]) if response.status_code == 200 else None


def metric(gateway: Gateway, name: str) -> float:
    with gateway.http(None) as http:
        lines = http.get("/metrics").text.splitlines()
    return float(next(line.rsplit(" ", 1)[1] for line in lines if line.startswith(f"{name} ")))


def test_next_item_is_the_first_in_valkey_not_in_sql(home: Path, serving: FakeServing, valkey_url: str) -> None:
    settings = settings_for(home, serving.url, valkey_url, worker="off")
    with running(settings) as gateway:
        asked = [gateway.ask(f"order [{value}]").json()["review"]["id"] for value in ("0.1", "0.2", "0.3")]
        queue = ReviewQueue(valkey_url, settings.queue_prefix)
        for urgency, item in zip((3.0, 1.0, 2.0), asked, strict=True):  # another order than SQL's
            queue.add(item, urgency, "acme")
        assert [next_item(gateway) for _ in asked] == [asked[1], asked[2], asked[0]]
        assert next_item(gateway) is None


def test_decided_item_is_passed_over_and_forgotten_by_valkey(home: Path, serving: FakeServing, valkey_url: str) -> None:
    settings = settings_for(home, serving.url, valkey_url, worker="off")
    with running(settings) as gateway:
        first, second = (gateway.ask(f"gone [{value}]").json()["review"]["id"] for value in ("0.1", "0.2"))
        gateway.judge(first)
        queue = ReviewQueue(valkey_url, settings.queue_prefix)
        queue.add(first, 1.0, "acme")
        queue.add(second, 2.0, "acme")
        assert next_item(gateway) == second
        assert first not in queue.most_urgent("acme", 10)


def test_worker_brings_items_to_valkey_and_takes_claimed_ones_away(
    home: Path, serving: FakeServing, valkey_url: str
) -> None:
    settings = settings_for(home, serving.url, valkey_url)
    queue = ReviewQueue(valkey_url, settings.queue_prefix)
    with running(settings) as gateway:
        item = gateway.ask("relayed [0.1]").json()["review"]["id"]
        while queue.most_urgent("acme", 10) != [item]:
            time.sleep(0.01)
        assert next_item(gateway) == item
        while queue.depth("acme"):
            time.sleep(0.01)


def test_items_are_still_found_when_valkey_lost_everything(home: Path, serving: FakeServing, valkey_url: str) -> None:
    settings = settings_for(home, serving.url, valkey_url, worker="off")
    with running(settings) as gateway:
        item = gateway.ask("flushed [0.1]").json()["review"]["id"]
        redis.Redis.from_url(valkey_url).delete(f"{settings.queue_prefix}:waiting:acme")
        assert next_item(gateway) == item


def test_database_orders_the_desk_while_valkey_is_away(home: Path, serving: FakeServing) -> None:
    settings = settings_for(home, serving.url, f"unix://{home}/nobody.sock")
    with running(settings) as gateway:
        later, sooner = (gateway.ask(f"alone [{value}]").json()["review"]["id"] for value in ("0.8", "0.1"))
        assert [next_item(gateway), next_item(gateway)] == [sooner, later]
        assert metric(gateway, "countersign_queue_fallbacks_total") >= 2
        with gateway.http(None) as http:
            ready = http.get("/health/ready")
        assert (ready.status_code, ready.json()["queue"]) == (200, "unreachable")


def test_domain_chooses_among_waiting_items(home: Path, serving: FakeServing, valkey_url: str) -> None:
    with running(settings_for(home, serving.url, valkey_url, worker="off")) as gateway:
        item = gateway.ask("domain [0.1]").json()["review"]["id"]
        assert next_item(gateway, domain="history") is None
        assert next_item(gateway, domain="arithmetic") == item


def test_unreviewed_answer_expires_is_withheld_and_wakes_the_waiting_caller(
    home: Path, serving: FakeServing, valkey_url: str
) -> None:
    with running(settings_for(home, serving.url, valkey_url)) as gateway:
        asked = {"model": "countersign-reference", "messages": [{"role": "user", "content": "hurry [0.3]"}]}
        with gateway.http("hurried") as http:
            answer = http.post("/v1/chat/completions", json=asked, headers={"prefer": "wait=25"})
        body = answer.json()
        assert (answer.status_code, body["review"]["status"]) == (200, "expired")
        assert body["choices"][0]["message"]["content"] is None
        with gateway.http("ada") as http:
            late = http.post(f"/v1/reviews/{body['review']['id']}/claim")
        assert (late.status_code, late.json()["error"]["code"]) == (409, "already_decided")


def test_abandoned_claims_return_and_a_poison_item_is_quarantined(
    home: Path, serving: FakeServing, valkey_url: str
) -> None:
    settings = settings_for(home, serving.url, valkey_url, claim_seconds=0.01, max_claims=2)
    with running(settings) as gateway:
        item = gateway.ask("poison [0.1]").json()["review"]["id"]
        with gateway.http("ada") as http:
            while (state := http.get(f"/v1/reviews/{item}").json()["state"]) != "quarantined":
                if state == "pending":
                    http.post(f"/v1/reviews/{item}/claim")
                time.sleep(0.01)
        assert metric(gateway, "countersign_items_quarantined_total") == 1


@pytest.mark.parametrize("valkey", ["away", "there"])
def test_what_waits_for_others_is_not_tried_one_by_one(
    home: Path, serving: FakeServing, valkey_url: str, monkeypatch: pytest.MonkeyPatch, valkey: str
) -> None:
    url = valkey_url if valkey == "there" else f"unix://{home}/nobody.sock"
    settings = settings_for(home, serving.url, url, worker="off")
    with running(settings) as gateway:
        own = [gateway.ask(f"own{n} [0.1]", "admin").json()["review"]["id"] for n in range(3)]
        referred, free = (gateway.ask(f"{word} [0.2]").json()["review"]["id"] for word in ("referred", "free"))
        gateway.judge(referred, "refer", "not mine", who="admin")
        if valkey == "there":
            for urgency, item in enumerate((*own, referred, free)):
                ReviewQueue(valkey_url, settings.queue_prefix).add(item, float(urgency), "acme")
        tries: list[int] = []
        first = reviews.claim_first
        monkeypatch.setattr(
            reviews, "claim_first", lambda *given, **more: tries.append(len(more["item_ids"])) or first(*given, **more)
        )
        assert next_item(gateway, "admin") == free
        assert len(tries) == 1  # one look at what Valkey or SQL names, however much of it waits for others
        assert {next_item(gateway, "ada") for _ in range(4)} == {*own, referred}


def test_a_direct_claim_counts_lapses_as_the_setting_says(home: Path, serving: FakeServing, valkey_url: str) -> None:
    settings = settings_for(home, serving.url, valkey_url, worker="off", claim_seconds=0.001, max_claims=2)
    with running(settings) as gateway:
        item = gateway.ask("lapsing [0.1]").json()["review"]["id"]
        codes: list[str | None] = [None]
        while codes[-1] in (None, "already_claimed"):
            with gateway.http("ada" if len(codes) % 2 else "grace") as http:
                answer = http.post(f"/v1/reviews/{item}/claim")
            codes.append(None if answer.status_code == 200 else answer.json()["error"]["code"])
    assert codes[-1] == "lapsed_too_often"
    assert codes.count(None) == 1 + settings.max_claims
