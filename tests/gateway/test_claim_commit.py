"""A claim, the case it shows and the record of that reading are one commit: all of it, or nothing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa

from gateway.access_log import AccessLog
from gateway.case_facts import MOST_REMEMBERED, NAME_SECONDS, CaseFacts
from gateway.claims import claim_most_urgent
from gateway.context import Context
from gateway.hints import Hints
from gateway.recorder import Recorder
from storage import audit_log, calibrations, policies, subjects, tables
from storage.audit_tables import audit_events
from storage.database import Database, migrate, open_database
from storage.errors import NotFound
from storage.records import Role
from storage.review_queue import ReviewQueue
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for
from tests.storage.conftest import VAULT
from tests.storage.made import held, key, reread

REFUSING = (
    "CREATE TRIGGER full BEFORE INSERT ON audit_events WHEN NEW.kind = 'access.review' "
    "BEGIN SELECT RAISE(ABORT, 'no more'); END"
)


@pytest.fixture
def database(tmp_path: Path) -> Any:
    migrate(f"sqlite:///{tmp_path}/a.db")
    opened = open_database(f"sqlite:///{tmp_path}/a.db", VAULT)
    yield opened
    opened.close()


def kinds(gateway: Gateway, item: str) -> set[str]:
    return {event["kind"] for event in gateway.events(item_id=item)} - {"decision"}


def test_a_claim_whose_reading_cannot_be_recorded_is_neither_shown_nor_made(
    home: Path, serving: FakeServing, valkey_url: str
) -> None:
    with running(settings_for(home, serving.url, valkey_url, worker="off")) as gateway:
        item = gateway.ask("claimed [0.3]").json()["review"]["id"]
        with gateway.database.transaction() as conn:
            conn.exec_driver_sql(REFUSING)
        for path in ("/v1/reviews/claim", f"/v1/reviews/{item}/claim"):
            with gateway.http("ada") as http:
                refused = http.post(path)
            assert refused.status_code >= 500
            assert "answer" not in refused.json()
        assert kinds(gateway, item) == {"review.created"}


def test_a_verdict_whose_reading_cannot_be_recorded_is_not_given(
    home: Path, serving: FakeServing, valkey_url: str
) -> None:
    with running(settings_for(home, serving.url, valkey_url, worker="off")) as gateway:
        item = gateway.ask("judged [0.3]").json()["review"]["id"]
        token = gateway.claim(item)["claim"]["fencing_token"]
        with gateway.database.transaction() as conn:
            conn.exec_driver_sql(REFUSING)
        with gateway.http("ada") as http:
            refused = http.post(f"/v1/reviews/{item}/verdict", json={"fencing_token": token, "verdict": "approve"})
        assert refused.status_code >= 500
        assert kinds(gateway, item) == {"review.created", "review.claimed", "access.review"}


async def test_a_first_claim_is_nine_statements_and_its_two_events_one_of_them(database: Database) -> None:
    caller, ada = key(database, "chat", Role.CALLER), key(database, "Ada")
    items = [held(database, caller, urgency=float(n)) for n in range(2)]
    with database.transaction() as conn:
        calibrations.store(conn, {"id": "cal_1", "model": "m"})
        named = {"id": "pol_1", "version": 1, "tenant": "acme", "name": "strict", "threshold": 0.5, "below": "hold"}
        conn.execute(tables.policies.insert(), {**named, "review_seconds": 60.0, "created_at": 0.0})
    recorder = Recorder(database, waiting=8, batch=8, readers=1)
    recorder.start()
    orders = SimpleNamespace(
        most_urgent=lambda tenant, limit, offset: [each.id for each in items],
        remove_all=lambda ids, tenant: None,
    )
    shared = SimpleNamespace(
        settings=SimpleNamespace(claim_seconds=60.0),
        recorder=recorder,
        access=AccessLog(recorder, 60.0),
        facts=CaseFacts(),
        hints=Hints(cast(ReviewQueue, orders)),
    )
    ran: list[str] = []

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        ran.append(statement.split(" (")[0])

    try:
        for item in items:  # the second finds in memory what never changes
            ran.clear()
            case = await claim_most_urgent(cast(Context, shared), ada, None)
            assert case is not None
            assert case.item == reread(database, item)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
        recorder.close()
    of_claim = ran[: next(n for n, statement in enumerate(ran[1:], 1) if statement.startswith("BEGIN"))]
    assert len(of_claim) == 9
    assert [statement for statement in of_claim if "audit_events" in statement] == ["INSERT INTO audit_events"]
    with database.read() as conn:
        written = sa.select(audit_events.c.kind, audit_events.c.at).where(audit_events.c.item_id == items[1].id)
        (_, claimed), (_, read) = conn.execute(written.where(audit_events.c.actor == f"key:{ada.id}")).all()
    assert claimed == read


def test_events_appended_together_are_written_at_the_end_or_not_at_all(database: Database) -> None:
    def count(conn: Any) -> int:
        return int(conn.execute(sa.select(sa.func.count()).select_from(audit_events)).scalar_one())

    with database.transaction() as conn:
        before = count(conn)
        with audit_log.together(conn):
            for _ in range(2):
                audit_log.append(conn, "signin.linked", "system", "acme")
            assert count(conn) == before
        assert count(conn) == before + 2
        with pytest.raises(ValueError, match="kind"), audit_log.together(conn):
            _append_a_known_and_an_unknown(conn)
        assert count(conn) == before + 2
        audit_log.append(conn, "signin.linked", "system", "acme")
        assert count(conn) == before + 3


def _append_a_known_and_an_unknown(conn: Any) -> None:
    for kind in ("signin.linked", "no.such.kind"):
        audit_log.append(conn, kind, "system", "acme")


async def test_a_write_that_is_refused_alone_leaves_nothing(database: Database) -> None:
    recorder = Recorder(database, waiting=8, batch=8, readers=1)
    recorder.start()

    def refused(connection: Any) -> None:
        audit_log.append(connection, "signin.linked", "system", "acme")
        raise NotFound("key", "key_1")

    with pytest.raises(NotFound):
        await recorder.write(refused, tenant="acme")
    recorder.close()
    with database.read() as conn:
        assert conn.execute(sa.select(audit_events.c.id)).all() == []


def test_what_is_remembered_of_policies_is_the_tenants_own_for_seconds_and_bounded(database: Database) -> None:
    clock = 1.0
    facts = CaseFacts(lambda: clock)
    with database.transaction() as conn:
        policy = policies.create_policy(conn, "acme", name="strict")
        assert facts.policy_name(conn, "acme", policy.id, 1) == "strict"
        assert facts.policy_name(conn, "rival", policy.id, 1) == facts.policy_name(conn, "acme", policy.id, 2) == ""
        conn.execute(sa.update(tables.policies).values(name=subjects.ERASED_NAME))
        assert facts.policy_name(conn, "acme", policy.id, 1) == "strict"
        clock += NAME_SECONDS
        assert facts.policy_name(conn, "acme", policy.id, 1) == subjects.ERASED_NAME
        assert facts.signal_ranges(conn, "cal_0") == {}
        for number in range(MOST_REMEMBERED + 1):
            calibrations.store(conn, {"id": f"cal_{number}", "model": "m"})
            facts.signal_ranges(conn, f"cal_{number}")
    assert len(facts._ranges) == 1
