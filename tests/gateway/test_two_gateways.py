"""Two gateways on one PostgreSQL: a verdict given at one is seen at the other, and conflicts have one winner."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from storage.database import migrate
from tests.gateway.fake_serving import SECRET_TEXT, FakeServing
from tests.gateway.running import Gateway, running, settings_for
from tests.storage.servers import new_database, postgres_server


@pytest.fixture(scope="module")
def gateways(
    serving: FakeServing, valkey_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Gateway]]:
    home: Path = tmp_path_factory.mktemp("two")
    with postgres_server() as server:
        url = new_database(server)
        migrate(url)
        settings = settings_for(home, serving.url, valkey_url, database_url=url)
        with running(settings) as here, running(settings, here.secrets) as there:
            yield here, there


def at_once(*calls: Callable[[], httpx2.Response]) -> list[httpx2.Response]:
    barrier = threading.Barrier(len(calls))
    answers: list[httpx2.Response] = []

    def run(call: Callable[[], httpx2.Response]) -> None:
        barrier.wait()
        answers.append(call())

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


def post(gateway: Gateway, who: str, path: str, body: dict[str, Any] | None = None) -> httpx2.Response:
    with gateway.http(who) as http:
        return http.post(path, json=body)


def test_caller_who_waits_here_gets_the_verdict_given_there(gateways: tuple[Gateway, Gateway]) -> None:
    here, there = gateways
    held = here.ask("across [0.3]").json()
    waiting = threading.Thread(target=lambda: there.judge(held["review"]["id"]))
    waiting.start()
    with here.http() as http:
        answer = http.get(f"/v1/chat/completions/{held['id']}", headers={"prefer": "wait=25"})
    waiting.join()
    assert (answer.status_code, answer.json()["choices"][0]["message"]["content"]) == (200, SECRET_TEXT)


def test_two_claims_at_once_have_one_winner(gateways: tuple[Gateway, Gateway]) -> None:
    here, there = gateways
    item = here.ask("claimed twice [0.3]").json()["review"]["id"]
    path = f"/v1/reviews/{item}/claim"
    answers = at_once(lambda: post(here, "ada", path), lambda: post(there, "grace", path))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


def test_two_verdicts_at_once_have_one_winner_and_the_other_is_recorded(gateways: tuple[Gateway, Gateway]) -> None:
    here, there = gateways
    item = here.ask("judged twice [0.3]").json()["review"]["id"]
    token = here.claim(item)["claim"]["fencing_token"]
    path, body = f"/v1/reviews/{item}/verdict", {"fencing_token": token, "verdict": "approve"}
    other = {**body, "verdict": "reject", "reason": "no"}
    answers = at_once(lambda: post(here, "ada", path, body), lambda: post(there, "ada", path, other))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert len(here.events(item_id=item, kinds="verdict.refused")) == 1
    assert len(here.events(item_id=item, kinds="review.approved,review.rejected")) == 1


def test_next_item_goes_to_one_desk_only(gateways: tuple[Gateway, Gateway]) -> None:
    here, there = gateways
    for number in range(4):
        here.ask(f"shared {number} [0.3]")
    calls = [lambda g=g, who=who: post(g, who, "/v1/reviews/claim") for g, who in ((here, "ada"), (there, "grace")) * 2]
    answers = at_once(*calls)
    claimed = [answer.json()["id"] for answer in answers if answer.status_code == 200]
    assert len(claimed) == len(set(claimed)) == 4


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/%00",
        "/v1/chat/completions?model=%00",
        "/v1/chat/completions?metadata[%00]=a",
        "/v1/reviews/%00",
        "/v1/reviews?after=WzEsICJcdTAwMDAiXQ",
        "/v1/audit/events?after=WzEsICJcdTAwMDAiXQ",
    ],
)
def test_nul_is_400_and_never_reaches_postgresql(gateways: tuple[Gateway, Gateway], path: str) -> None:
    with gateways[0].http("admin") as http:
        assert http.get(path).status_code == 400


def test_key_revoked_here_is_refused_there(gateways: tuple[Gateway, Gateway]) -> None:
    here, there = gateways
    made = post(here, "admin", "/v1/keys", {"name": "brief", "roles": ["caller"]}).json()
    assert there.ask("ok [0.97]", made["key"]).status_code == 200
    with here.http("admin") as http:
        http.delete(f"/v1/keys/{made['id']}").raise_for_status()
    assert there.ask("ok [0.97]", made["key"]).status_code == 401
