"""A reviewer is offered and granted only what they are skilled for; what nobody may decide raises an alarm."""

import pytest

from storage import audit_query, keys, review_alarms, review_reads, reviews
from storage.audit_query import Filters
from storage.database import Database
from storage.errors import InvalidValue, NotFound, NotSkilled
from storage.records import ItemState, Key, ReviewItem, Role, VerdictKind
from tests.storage.made import LEASE, as_if_asked, held, key, pass_time
from tests.storage.reviewing import claim, decide


def skilled(database: Database, name: str, *skills: str) -> Key:
    with database.transaction() as conn:
        return keys.create(conn, "acme", name, [Role.REVIEWER], skills=skills)[0]


def about(database: Database, caller: Key, domain: str | None, urgency: float = 1.0) -> ReviewItem:
    return as_if_asked(database, held(database, caller, urgency), domain=domain)


def test_an_item_outside_the_reviewers_skills_is_not_granted(database: Database, caller) -> None:
    lawyer = skilled(database, "Lou", "law")
    with pytest.raises(NotSkilled, match="'arithmetic'"):
        claim(database, about(database, caller, "arithmetic"), lawyer)
    assert claim(database, about(database, caller, "law"), lawyer) == 1
    assert claim(database, about(database, caller, None), lawyer) == 1


def test_the_first_grant_passes_over_what_others_must_decide(database: Database, caller, ada) -> None:
    lawyer = skilled(database, "Lou", "law")
    sums, own, law = (about(database, asker, domain) for asker, domain in
                      ((caller, "arithmetic"), (lawyer, "law"), (caller, "law")))  # fmt: skip
    ids = [sums.id, own.id, law.id]
    with database.transaction() as conn:
        granted, stale = reviews.claim_first(conn, ids, lawyer, LEASE)
        nothing, gone = reviews.claim_first(conn, ids, lawyer, LEASE)
        other, _ = reviews.claim_first(conn, ids, ada, LEASE, domain="arithmetic")
    assert (granted.item.id, stale) == (law.id, [])
    assert (nothing, gone) == (None, [law.id])
    assert other.item.id == sums.id


def test_lists_leave_out_or_name_what_is_not_for_this_reviewer(database: Database, caller, ada) -> None:
    lawyer = skilled(database, "Lou", "law")
    sums, own, law, said = (about(database, asker, domain) for asker, domain in
                            ((caller, "arithmetic"), (lawyer, "law"), (caller, "law"), (caller, "law")))  # fmt: skip
    decide(database, said, lawyer, claim(database, said, lawyer), VerdictKind.REFER)
    with database.read() as conn:
        every = review_reads.list_items(conn, "acme")
        assert [item.id for item in review_reads.list_items(conn, "acme", for_reviewer=lawyer)] == [law.id]
        assert {item.id for item in review_reads.list_items(conn, "acme", domain="arithmetic")} == {sums.id}
        assert review_reads.barred(conn, every, lawyer) == {
            sums.id: "not_skilled",
            own.id: "own_request",
            said.id: "referred_by_self",
        }
        assert review_reads.barred(conn, every, ada) == {}


def test_changed_skills_hold_for_the_next_claim_and_leave_an_event(database: Database, caller) -> None:
    lawyer, sums = skilled(database, "Lou", "law"), about(database, caller, "arithmetic")
    with database.transaction() as conn:
        assert keys.set_skills(conn, lawyer.id, "acme", ["law", "arithmetic"], "key:root").skills == {
            "arithmetic",
            "law",
        }
        changed = keys.get(conn, lawyer.id, "acme")
        keys.set_skills(conn, lawyer.id, "acme", ["arithmetic", "law"], "key:root")  # no change, no event
        assert keys.set_skills(conn, lawyer.id, "acme", None, "key:root").skills is None
        events = audit_query.query(conn, "acme", Filters(kinds=["key.updated"]))
    assert claim(database, sums, changed) == 1
    assert [event.data["skills"] for event in events] == [None, ["arithmetic", "law"]]
    assert events[1].data["skills_before"] == ["law"]


@pytest.mark.parametrize("skills", [[], [""], [" law"], ["x" * 101], ["a\x00b"]])
def test_skills_that_are_no_names_are_refused(database: Database, skills) -> None:
    with pytest.raises(InvalidValue, match=r"^skills: "), database.transaction() as conn:
        keys.create(conn, "acme", "Lou", [Role.REVIEWER], skills=skills)


def test_another_tenants_key_gets_no_skills(database: Database, ada) -> None:
    with pytest.raises(NotFound), database.transaction() as conn:
        keys.set_skills(conn, ada.id, "rival", ["law"], "key:root")


def lonely(database: Database) -> dict[tuple[str, str | None], int]:
    with database.read() as conn:
        return review_alarms.without_reviewer(conn)


def test_items_that_no_present_reviewer_may_decide_are_counted(database: Database, caller) -> None:
    law, sums, free = (about(database, caller, domain) for domain in ("law", "arithmetic", None))
    assert lonely(database) == {("acme", "law"): 1, ("acme", "arithmetic"): 1, ("acme", None): 1}
    lawyer = skilled(database, "Lou", "law")
    assert lonely(database) == {("acme", "arithmetic"): 1}
    own = about(database, lawyer, "law")
    assert lonely(database) == {("acme", "arithmetic"): 1, ("acme", "law"): 1}
    decide(database, law, lawyer, claim(database, law, lawyer), VerdictKind.REFER)
    assert lonely(database) == {("acme", "arithmetic"): 1, ("acme", "law"): 2}
    key(database, "root", Role.ADMIN)
    assert lonely(database) == {}
    assert {own.state, sums.state, free.state} == {ItemState.PENDING}


def test_a_revoked_or_expired_reviewer_is_not_present(database: Database, caller, ada) -> None:
    about(database, caller, "law")
    with database.transaction() as conn:
        keys.create(conn, "acme", "gone", [Role.REVIEWER], expires_at=1.0)
        keys.create(conn, "rival", "elsewhere", [Role.REVIEWER])
        keys.revoke(conn, ada.id, "acme", "key:root")
    assert lonely(database) == {("acme", "law"): 1}


def test_an_item_that_nobody_ended_in_time_is_counted(database: Database, waiting) -> None:
    with database.read() as conn:
        assert review_alarms.overdue(conn) == 0
    pass_time(database, waiting.id, 86_400 + 30)
    with database.read() as conn:
        assert review_alarms.overdue(conn) == 0  # the sweeper has a minute
    pass_time(database, waiting.id, 31)
    with database.read() as conn:
        assert review_alarms.overdue(conn) == 1
