"""What cannot be opened holds up nobody: the next claim passes it over, lists go on, and an operator is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from storage.database import migrate
from storage.tables import decisions, interactions, review_items
from tests.gateway.fake_serving import SECRET_TEXT, FakeServing
from tests.gateway.running import Gateway, running, settings_for
from tests.storage.servers import new_database, postgres_server

OTHER_KEY = f"mk_{'0' * 16}:{'0' * 64}"
# what somebody did to it, and what a claim says when nothing else waits
SPOILT = [
    (decisions, {"vouched": OTHER_KEY}, (409, "other_master_key")),
    (decisions, {"vouched": None}, (409, "not_vouched_yet")),
    (interactions, {"deleted_at": 1.0}, (204, None)),
]
SPOILT_TEXTS = [("messages", "7"), ("messages", "[7]"), ("params", "[" * 100_000), ("answer", "7"), ("metadata", "[7]")]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def desk(
    request: pytest.FixtureRequest, serving: FakeServing, valkey_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    home: Path = tmp_path_factory.mktemp("passed-over")
    with contextlib.ExitStack() as stack:
        on_postgresql = request.param == "postgresql"
        url = new_database(stack.enter_context(postgres_server())) if on_postgresql else f"sqlite:///{home}/desk.db"
        migrate(url)
        with running(settings_for(home, serving.url, valkey_url, database_url=url)) as found:
            yield found


def forge(desk: Gateway, table: sa.Table, interaction_id: str, columns: dict[str, Any]) -> None:
    mine = table.c.id == interaction_id if table is interactions else table.c.interaction_id == interaction_id
    with desk.database.transaction() as connection:
        assert connection.execute(sa.update(table).where(mine).values(columns)).rowcount == 1


def claim_next(desk: Gateway) -> tuple[int, Any]:
    with desk.http("ada") as http:
        answer = http.post("/v1/reviews/claim")
    return answer.status_code, answer.json() if answer.content else {}


def passed_over(desk: Gateway) -> float:
    with desk.http(None) as http:
        told = http.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in told if line.startswith("countersign_items_passed_over_total"))


@pytest.mark.parametrize(("table", "columns", "alone"), SPOILT, ids=["other key", "no key", "deleted"])
def test_the_next_claim_passes_over_what_cannot_be_opened(desk: Gateway, table: Any, columns: Any, alone: Any) -> None:
    spoilt = [desk.ask(f"spoilt {n} [0.1]").json() for n in range(3)]  # the less sure, the more urgent
    whole = desk.ask("whole [0.6]").json()
    for each in spoilt:
        forge(desk, table, each["id"], columns)
    before = passed_over(desk)
    status, case = claim_next(desk)
    assert (status, case["id"]) == (200, whole["review"]["id"])
    assert passed_over(desk) == before + 3
    status, refused = claim_next(desk)
    assert (status, refused.get("error", {}).get("code")) == alone
    for each in spoilt:
        assert [event["kind"] for event in desk.events(item_id=each["review"]["id"])].count("review.claimed") == 0
    for each in spoilt:
        forge(desk, review_items, each["id"], {"state": "withdrawn"})


@pytest.mark.parametrize(("column", "spoilt"), SPOILT_TEXTS, ids=["number", "numbers", "endless", "no answer", "list"])
def test_spoilt_texts_are_withheld_listed_and_set_aside(desk: Gateway, column: str, spoilt: str) -> None:
    held = desk.ask(f"{column} {spoilt[:9]} [0.2]").json()
    forge(desk, interactions, held["id"], {column: spoilt})
    with desk.http() as http:
        assert http.get(f"/v1/chat/completions/{held['id']}").json()["review"]["status"] == "not_vouched"
        assert held["id"] in [each["id"] for each in http.get("/v1/chat/completions?order=desc").json()["data"]]
    with desk.http("ada") as http:
        listed = http.get("/v1/reviews?state=pending&limit=100").raise_for_status()
    assert held["review"]["id"] in [each["id"] for each in listed.json()["data"]]
    status, refused = claim_next(desk)
    assert (status, refused["error"]["code"]) == (409, "not_vouched")
    with desk.http("ada") as http:
        seen = http.get(f"/v1/reviews/{held['review']['id']}")
    assert (seen.status_code, seen.json()["state"]) == (200, "quarantined")
    assert SECRET_TEXT not in seen.text
