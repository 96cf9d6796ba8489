"""Policies change in versions: of two changes at once both are kept, one after the other."""

from functools import partial

import pytest

from storage import audit_query, policies
from storage.audit_query import Filters
from storage.database import Database
from storage.errors import InvalidValue, NotFound
from storage.records import Tier
from tests.storage.reviewing import race


def test_two_changes_at_once_are_two_versions(database: Database) -> None:
    with database.transaction() as conn:
        policy = policies.create_policy(conn, "acme", name="busy")

    def change(field: str, value: object):
        with database.transaction() as conn:
            return policies.update_policy(conn, policy.id, "acme", **{field: value})

    wanted = {"tier": Tier.ULTRA, "four_eyes": True, "threshold": 0.5, "review_seconds": 9.0}
    made = race(*(partial(change, field, value) for field, value in wanted.items()))
    assert sorted(each.version for each in made) == [2, 3, 4, 5]
    with database.read() as conn:
        last = policies.get_policy(conn, policy.id, "acme")
        told = audit_query.query(conn, "acme", Filters(kinds=["policy.updated"]))
    assert {field: getattr(last, field) for field in wanted} == wanted
    assert sorted(event.data["policy_version"] for event in told) == [2, 3, 4, 5]


@pytest.mark.parametrize("change", [{"threshold": 1.5}, {"review_seconds": 0.0}, {"name": "a\x00b"}])
def test_a_change_that_cannot_be_is_refused_and_makes_no_version(database: Database, change) -> None:
    with database.transaction() as conn:
        policy = policies.create_policy(conn, "acme", name="calm")
    with pytest.raises(InvalidValue, match=next(iter(change))), database.transaction() as conn:
        policies.update_policy(conn, policy.id, "acme", **change)
    with database.read() as conn:
        assert policies.get_policy(conn, policy.id, "acme") == policy


def test_another_tenants_policy_is_not_changed(database: Database) -> None:
    with database.transaction() as conn:
        policy = policies.create_policy(conn, "acme", name="ours")
    with pytest.raises(NotFound), database.transaction() as conn:
        policies.update_policy(conn, policy.id, "rival", threshold=0.0)
