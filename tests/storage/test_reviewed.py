"""Answers with a last word are found for every tenant, in the order asked; what is open or deleted is not."""

import math

import sqlalchemy as sa

from storage import interactions, policies
from storage.database import Database
from storage.records import Key, Role, VerdictKind, Vouched
from storage.reviewed import reviewed, reviewed_models
from storage.tables import decisions
from tests.storage.labelled import MODEL, answered, judge, label
from tests.storage.made import key


def test_last_words_of_all_tenants_are_found_in_the_order_asked(database: Database, caller: Key, ada: Key) -> None:
    stranger, eve = key(database, "chat", Role.CALLER, "other"), key(database, "Eve", tenant="other")
    asked = []
    for asker, reviewer, right in ((caller, ada, True), (stranger, eve, False), (caller, ada, False)):
        with database.transaction() as conn:
            asked.append(label(conn, asker, reviewer, 0.5, right=right).id)
    with database.read() as conn:
        found = list(reviewed(conn, MODEL))
        assert reviewed_models(conn) == {MODEL: 3}
        assert list(reviewed(conn, "another")) == []
    assert [each.outcome.interaction.id for each in found] == asked
    kinds = [each.outcome.verdict.kind for each in found if each.outcome.verdict]
    assert kinds == [VerdictKind.APPROVE, VerdictKind.REJECT, VerdictKind.REJECT]
    assert {each.outcome.vouched for each in found} == {Vouched.OURS}


def test_it_is_told_how_each_came_to_be_looked_at(database: Database, caller: Key, ada: Key) -> None:
    with database.transaction() as conn:
        seldom, never = (policies.create_policy(conn, "acme", name="p", audit_share=share) for share in (0.05, 0.0))
    rules = (
        {"reason": "uncalibrated", "policy_id": never.id},  # nothing was released at that time
        {"reason": "low_confidence", "policy_id": seldom.id},
        {"reason": "low_confidence", "policy_id": never.id},  # what was released was never looked at
        {"reason": "low_confidence"},  # its policy is gone
    )
    for rule in rules:
        with database.transaction() as conn:
            mine = label(conn, caller, ada, 0.5)
            conn.execute(sa.update(decisions).where(decisions.c.interaction_id == mine.id).values(rule))
    with database.transaction() as conn:
        label(conn, caller, ada, 0.9, share=0.04)
    with database.read() as conn:
        found = [(each.weight, each.heaviest) for each in reviewed(conn, MODEL)]
    assert found == [(1.0, 1.0), (1.0, 20.0), (1.0, math.inf), (1.0, None), (25.0, 25.0)]


def test_what_is_open_referred_or_deleted_is_not_found(database: Database, caller: Key, ada: Key) -> None:
    with database.transaction() as conn:
        answered(conn, caller, 0.5)
        judge(conn, answered(conn, caller, 0.5)[2], ada, VerdictKind.REFER)
        deleted = label(conn, caller, ada, 0.5)
        interactions.delete(conn, deleted.id, "acme", "key:chat")
    with database.read() as conn:
        assert list(reviewed(conn, MODEL)) == []
        assert reviewed_models(conn) == {}
