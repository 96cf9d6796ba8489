"""Many questions recorded together leave the same rows and events as one by one, all of them or none."""

import pytest
import sqlalchemy as sa

from storage import audit_query, recording
from storage.audit_query import Filters
from storage.database import Database
from storage.errors import InvalidValue
from storage.recording import Recording
from storage.records import Action, Key
from storage.retries import Sent
from storage.tables import decisions, interactions, outbox, review_items
from tests.storage.made import decision, interaction, item

ACTIONS = (Action.RELEASE, Action.HOLD, Action.FLAG, Action.RELEASE)
TABLES = (interactions, decisions, review_items, outbox)


def recordings(asker: Key, prefix: str) -> list[Recording]:
    made = []
    for number, action in enumerate(ACTIONS):
        asked = interaction(
            asker, text=f"{number}", id=f"chatcmpl-{prefix}{number}", params={"user": f"person {number}"}
        )
        waits = None if action is Action.RELEASE else item(asked, 1_000.0, action=action)
        made.append(Recording(asked, decision(asked, action), waits))
    return made


def rows(database: Database, prefix: str) -> list[list[dict[str, object]]]:
    """What differs from one recording to the next by chance or clock is left out."""
    by_chance = {"id", "interaction_id", "subject", "request_id", "created_at", "payload", "vouched"}
    with database.read() as conn:
        return [
            [
                {name: value for name, value in row._mapping.items() if name not in by_chance}
                for row in conn.execute(sa.select(table).order_by(table.c.get("interaction_id", table.c.id)))
                if prefix in str(row._mapping.get("interaction_id") or row._mapping["id"]) or table is outbox
            ]
            for table in TABLES
        ]


def told(database: Database, each: Recording) -> list[tuple[object, ...]]:
    with database.read() as conn:
        found = audit_query.query(conn, "acme", Filters(interaction_id=each.interaction.id))
    by_chance = {"decision_id", "request_id"}
    return sorted(
        (
            event.kind,
            event.actor,
            {name: event.data[name] for name in event.data.keys() - by_chance},
            event.commitment is None,
        )
        for event in found
    )


def test_together_is_as_one_by_one(database: Database, caller: Key) -> None:
    apart, together = recordings(caller, "apart"), recordings(caller, "together")
    for each in apart:
        with database.transaction() as conn:
            recording.record(conn, each.interaction, each.decision, each.item)
    with database.transaction() as conn:
        notes = conn.execute(sa.select(sa.func.count()).select_from(outbox)).scalar_one()
        stands = recording.record_many(conn, together)
    assert stands == [each.interaction.id for each in together]
    assert rows(database, "apart")[:3] == rows(database, "together")[:3]
    assert [len(found) for found in rows(database, "together")] == [4, 4, 2, 2 * notes]
    assert [told(database, each) for each in apart] == [told(database, each) for each in together]


def test_none_is_written_when_one_contradicts_itself(database: Database, caller: Key) -> None:
    good, bad = recordings(caller, "good"), interaction(caller, content_hash="0" * 64)
    with pytest.raises(InvalidValue, match="content_hash"), database.transaction() as conn:
        recording.record_many(conn, [*good, Recording(bad, decision(bad, Action.RELEASE))])
    assert rows(database, "good") == [[], [], [], []]


def test_a_retry_in_the_same_group_stands_behind_its_first_attempt(database: Database, caller: Key) -> None:
    first, again = (interaction(caller, body_hash="b" * 64, retry_count=count) for count in (0, 1))
    group = [
        Recording(
            each, decision(each, Action.RELEASE), None, Sent(each.id, caller.id, "b" * 64, each.retry_count, 0.1, 60.0)
        )
        for each in (first, again)
    ]
    with database.transaction() as conn:
        assert recording.record_many(conn, group) == [first.id, first.id]
        assert conn.execute(sa.select(interactions.c.id)).scalars().all() == [first.id]


def test_nothing_to_record_is_nothing(database: Database) -> None:
    with database.transaction() as conn:
        assert recording.record_many(conn, []) == []
