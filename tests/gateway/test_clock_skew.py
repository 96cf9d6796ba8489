"""A gateway whose own clock is a day off: leases, expiry, sign-in and idempotency go by the database's clock."""

import ast
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage import keys, proofs
from storage.checkpoints import read_note
from storage.database import migrate, now
from storage.tables import idempotency, review_items
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for, until
from tests.storage.servers import new_database, postgres_server

DAY = 86_400.0
SKEWS = list(product(("sqlite", "postgresql"), (-DAY, DAY)))  # seconds
ROOT = Path(__file__).parents[2]
# The time in an event's id only orders the events of one process and instant; nothing is decided by it.
ALLOWED = {"storage/ids.py"}


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module", params=SKEWS, ids=[f"{kind}, {off / DAY:+.0f} day" for kind, off in SKEWS])
def skewed(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    serving: FakeServing,
    valkey_url: str,
    migrated: Path,
) -> Iterator[Gateway]:
    """The worker and the sealer within it have the wrong clock too; databases ask the system, past Python."""
    home, (kind, off) = tmp_path_factory.mktemp("skewed"), request.param
    if kind == "sqlite":
        (home / "countersign.db").write_bytes(migrated.read_bytes())
        url = f"sqlite:///{home / 'countersign.db'}"
    else:
        url = new_database(request.getfixturevalue("postgres"))
        migrate(url)
    right, right_ns = time.time, time.time_ns
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: right() + off)
        patch.setattr(time, "time_ns", lambda: right_ns() + int(off * 1e9))
        with running(settings_for(home, serving.url, valkey_url, database_url=url)) as gateway:
            yield gateway


def database_time(gateway: Gateway) -> float:
    with gateway.database.read() as conn:
        return now(conn)


def test_no_module_of_gateway_or_storage_asks_its_own_clock() -> None:
    asking = set()
    for file in [*(ROOT / "gateway").rglob("*.py"), *(ROOT / "storage").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in {"time.time", "time.time_ns", "time", "datetime.now", "datetime.utcnow", "date.today"}:
                asking.add(str(file.relative_to(ROOT)))
    assert asking == ALLOWED


def test_claims_lease_and_items_deadline_are_the_databases(skewed: Gateway) -> None:
    item = skewed.ask("claimed [0.3]").json()["review"]["id"]
    claim = skewed.claim(item)["claim"]
    assert abs(claim["expires_at"] - database_time(skewed) - skewed.settings.claim_seconds) < 60
    with skewed.http("ada") as http:
        shown = http.get(f"/v1/reviews/{item}").json()
    assert abs(shown["expires_at"] - database_time(skewed) - DAY) < 60
    assert shown["state"] == "claimed"


def test_lapsed_claim_returns_and_one_that_holds_does_not(skewed: Gateway) -> None:
    lapsed, holds = (skewed.ask(f"{word} [0.3]").json()["review"]["id"] for word in ("lapsed", "holds"))
    for item in (lapsed, holds):
        skewed.claim(item)
    with skewed.database.transaction() as conn:
        past = {"claim_expires_at": now(conn) - 1}
        conn.execute(sa.update(review_items).where(review_items.c.id == lapsed).values(past))

    def state(item: str) -> str:
        with skewed.http("ada") as http:
            return str(http.get(f"/v1/reviews/{item}").json()["state"])

    until(lambda: state(lapsed) == "pending")
    assert state(holds) == "claimed"


def test_item_past_its_deadline_expires(skewed: Gateway) -> None:
    held = skewed.ask("hurried [0.3]", "hurried").json()
    with skewed.http("hurried") as http:
        until(lambda: http.get(f"/v1/chat/completions/{held['id']}").json()["review"]["status"] == "expired")


def test_events_and_their_seal_carry_the_databases_time(skewed: Gateway) -> None:
    asked = skewed.ask("sealed [0.97]").json()["id"]
    newest = skewed.events(interaction_id=asked)[0]
    assert abs(newest["at"] - database_time(skewed)) < 60

    def sealed_at() -> float | None:
        with skewed.database.read() as conn:
            place, last = proofs.leaf_index(conn, newest["id"]), proofs.latest_note(conn)
        return None if place is None or last is None else read_note(last[1]).sealed_at

    until(lambda: sealed_at() is not None)
    assert abs((sealed_at() or 0.0) - database_time(skewed)) < 60


def test_key_is_valid_until_the_database_says_it_ended(skewed: Gateway) -> None:
    with skewed.http("admin") as http:
        made = http.post("/v1/keys", json={"name": "brief", "roles": ["caller"], "expires_in": 3600}).json()
        ended = http.post("/v1/keys", json={"name": "ended", "roles": ["caller"], "expires_in": 0.001}).json()
    assert skewed.ask("valid [0.97]", made["key"]).status_code == 200
    assert skewed.ask("ended [0.97]", ended["key"]).status_code == 401


def test_sign_in_link_lives_by_the_databases_clock(skewed: Gateway) -> None:
    with skewed.database.transaction() as conn:
        ada = keys.by_secret(conn, skewed.secrets["ada"])
        assert ada is not None
        link = keys.create_signin_link(conn, ada.id, 600)
        late = keys.create_signin_link(conn, ada.id, -1)
    with skewed.http(None) as http:
        signed_in = http.post("/v1/signin", json={"link": link})
        assert http.post("/v1/signin", json={"link": late}).status_code == 410
    assert signed_in.status_code == 200
    with skewed.http(signed_in.json()["key"]) as http:
        assert http.get("/v1/whoami").json()["id"] == ada.id


def test_idempotency_goes_by_the_databases_clock(skewed: Gateway) -> None:
    body = {"model": "countersign-reference", "messages": [{"role": "user", "content": "once [0.97]"}]}
    with skewed.http() as http:
        ids = [
            http.post("/v1/chat/completions", json=body, headers={"idempotency-key": "once"}).json()["id"]
            for _ in range(2)
        ]
        retry = http.post("/v1/chat/completions", json={**body, "seed": 1}).json()["id"]
        again = http.post("/v1/chat/completions", json={**body, "seed": 1}, headers={"x-stainless-retry-count": "1"})
    assert ids[0] == ids[1]
    assert again.json()["id"] == retry
    with skewed.database.read() as conn:
        entry = conn.execute(sa.select(idempotency)).one()
    assert abs(entry.expires_at - database_time(skewed) - DAY) < 60


def test_monitoring_counts_the_last_hours_of_the_database(skewed: Gateway) -> None:
    skewed.ask("counted [0.97]")
    with skewed.http("ada") as http:
        assert http.get("/v1/monitoring?hours=1").json()["total"] > 0
