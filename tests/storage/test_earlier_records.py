"""Records of before there were MACs are held until an operator vouches for those that the log tells the same of."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from storage import audit_log, audit_query, earlier_records, interactions, reviews, subjects, vouched_records
from storage.database import open_database
from storage.errors import AlreadyVouched, NotVouchedYet
from storage.records import Key, Policy, Role, VerdictKind, Vouched
from tests.storage.conftest import VAULT
from tests.storage.first_version import ASKED, ROWS, TEXT_HASH, WORD, bring_up, make, writing
from tests.storage.logs import SIGNER
from tests.storage.made import LEASE

ADA = Key("key_2", "acme", "K2", frozenset({Role.REVIEWER}), Policy("pol_1"), 1.0)
GRACE = Key("key_3", "acme", "K3", frozenset({Role.REVIEWER}), Policy("pol_1"), 1.0)
FIRST, SECOND = "chatcmpl_1", "chatcmpl_2"  # approved after a referral; waiting, with one of two people's words on it
FIRST_OF_TWO = {**WORD, "id": "ver_3", "item_id": "rev_2", "kind": "approve", "content_hash": TEXT_HASH}
INSERT = "INSERT INTO verdicts ({}, final) VALUES ({}, false)".format(
    ", ".join(FIRST_OF_TWO), ", ".join(f":{name}" for name in FIRST_OF_TWO)
)


@pytest.fixture
def old_url(empty_url: str) -> str:
    """A database of before that was just brought up, with a log that tells of its records."""
    bring_up(make(empty_url))
    with writing(empty_url) as conn:
        conn.execute(sa.text(INSERT), FIRST_OF_TWO)
        tell(conn)
    return empty_url


def tell(conn: sa.Connection, **more: Any) -> None:
    """What versions without MACs wrote about ROWS into the log; `more`: what else they say of a decision."""
    who = {name: ASKED[name] for name in ("model", "served_model")} | {"key_id": "key_1"}
    for row in ROWS["decisions"]:
        names = ("action", "reason", "threshold", "policy_id", "policy_version", "content_hash")
        data = {name: row[name] for name in names} | {"decision_id": row["id"], "confidence": None, "calibration": None}
        told = {**who, **data, **more}
        audit_log.append(conn, "decision", "key:key_1", "acme", interaction_id=row["interaction_id"], data=told)
    words = {row["id"]: row for row in (*ROWS["verdicts"], FIRST_OF_TWO)}
    _move(conn, FIRST, "review.created", "pending", 1)
    _move(conn, FIRST, "review.referred", "referred", 2, words["ver_1"])
    _move(conn, FIRST, "review.approved", "approved", 3, words["ver_2"])
    _move(conn, SECOND, "review.created", "pending", 1)
    _move(conn, SECOND, "review.referred", "referred", 2, words["ver_3"])
    _move(conn, SECOND, "review.reopened", "pending", 3)


def _move(
    conn: sa.Connection, interaction_id: str, kind: str, to: str, version: int, word: dict[str, Any] | None = None
) -> None:
    data: dict[str, Any] = {"to": to, "version": version, "key_id": "key_1"}
    if word is not None:
        data |= {"verdict_id": word["id"], "verdict": word["kind"], "reviewer": word["reviewer_id"]}
        data["content_hash"] = word.get("content_hash")
    audit_log.append(conn, kind, "key:key_2", "acme", interaction_id=interaction_id, data=data)


def vouch(url: str, *, again: bool = False) -> tuple[int, list[str]]:
    database = open_database(url, VAULT)
    try:
        return earlier_records.vouch_for_earlier(database, "operator", SIGNER, again=again)
    finally:
        database.close()


def test_before_an_operator_vouches_nothing_leaves_and_nothing_is_lost(old_url: str) -> None:
    with writing(old_url) as conn:
        found = interactions.get_outcomes(conn, [FIRST, SECOND], "acme")
        assert [(each.vouched, each.released_text) for each in found.values()] == [(Vouched.BEFORE, None)] * 2
        claim = reviews.claim(conn, "rev_2", GRACE, LEASE)
        with pytest.raises(NotVouchedYet, match="countersign audit vouch"):
            reviews.decide(conn, "rev_2", GRACE, claim.fencing_token, VerdictKind.APPROVE, "fine", None)
        assert reviews.quarantine_unvouched(conn, "rev_2", "acme") is None
        reviews.release_claim(conn, "rev_2", GRACE, claim.fencing_token)
    assert vouch(old_url) == (2, [])
    with writing(old_url) as conn:
        claim = reviews.claim(conn, "rev_2", GRACE, LEASE)
        reviews.decide(conn, "rev_2", GRACE, claim.fencing_token, VerdictKind.APPROVE, "fine", None)
        approved = audit_query.query(conn, "acme", limit=1)
        assert subjects.revealed(conn, approved)[0].private == {"content_hash": TEXT_HASH, "said": "fine"}
        assert {each.released_text for each in interactions.get_outcomes(conn, [FIRST, SECOND], "acme").values()} == {
            "42"
        }
        assert interactions.delete(conn, SECOND, "acme", "key:key_1")


OF_THE_SECOND = {"interactions": "id", "decisions": "interaction_id", "review_items": "interaction_id"}
FORGERIES: dict[str, tuple[list[str], list[str]]] = {  # what somebody did, and what then is not vouched for
    "threshold": (["UPDATE decisions SET threshold = 0.1 WHERE id = 'dec_2'"], [SECOND]),
    "action": (["UPDATE decisions SET action = 'flag' WHERE id = 'dec_2'"], [SECOND]),
    "one word for two": (
        [
            "UPDATE verdicts SET final = true WHERE id = 'ver_3'",
            "UPDATE review_items SET state = 'approved' WHERE id = 'rev_2'",
        ],
        [SECOND],
    ),
    "state": (["UPDATE review_items SET state = 'approved' WHERE id = 'rev_2'"], [SECOND]),
    "verdict taken back": (
        ["DELETE FROM verdicts WHERE id = 'ver_2'", "UPDATE review_items SET state = 'pending' WHERE id = 'rev_1'"],
        [FIRST],
    ),
    "word taken away": (["DELETE FROM verdicts WHERE id = 'ver_3'"], [SECOND]),
    "reviewer": (["UPDATE verdicts SET reviewer_id = 'key_1' WHERE id = 'ver_3'"], [SECOND]),
    "who asked": (["UPDATE review_items SET asked_by = 'key_9' WHERE id = 'rev_2'"], [SECOND]),
    "no item": ([f"DELETE FROM {name} WHERE {column} = 'rev_2'" for name, column in
                 (("drafts", "item_id"), ("verdicts", "item_id"), ("review_items", "id"))], [SECOND]),
    "tenant": (
        [f"UPDATE {name} SET tenant = 'other' WHERE {column} = '{SECOND}'" for name, column in OF_THE_SECOND.items()],
        [SECOND],
    ),
    "no JSON": ([f"UPDATE interactions SET answer = '{{' WHERE id = '{SECOND}'"], [SECOND]),
    "no answer": ([f"UPDATE interactions SET answer = '[1]' WHERE id = '{SECOND}'"], [SECOND]),
    "answer": ([f"""UPDATE interactions SET answer = '{{"text":"43"}}' WHERE id = '{SECOND}'"""], [SECOND]),
    "events that the sealer refuses": (
        [
            "UPDATE audit_unsealed SET vouched = 'forged' WHERE event_id IN "
            f"(SELECT id FROM audit_events WHERE interaction_id = '{SECOND}')"
        ],
        [SECOND],
    ),
    "events that were altered": (
        [f"UPDATE audit_events SET actor = 'key:x' WHERE kind = 'decision' AND interaction_id = '{SECOND}'"],
        [SECOND],
    ),
    "events that are none": (
        [f"UPDATE audit_events SET data = '{{' WHERE kind = 'decision' AND interaction_id = '{SECOND}'"],
        [SECOND],
    ),
}  # fmt: skip


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)  # the rows are the same
@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_the_log_does_not_tell_is_not_vouched_for(old_url: str, forgery: str) -> None:
    statements, left = FORGERIES[forgery]
    with writing(old_url) as conn:
        for statement in statements:
            conn.exec_driver_sql(statement)
    assert vouch(old_url) == (2 - len(left), left)
    with writing(old_url) as conn:
        (event,) = audit_query.query(conn, "default", audit_query.Filters(kinds=("records.vouched",)))
        assert event.data == {"interactions": 2 - len(left), "left": len(left)}
    database = open_database(old_url, VAULT)
    checked = vouched_records.check(database)
    database.close()
    assert (checked.bad, checked.first_bad) == (len(left), left[0])


def test_what_was_deleted_is_not_vouched_for_when_its_content_is_put_back(old_url: str) -> None:
    with writing(old_url) as conn:
        audit_log.append(conn, "interaction.deleted", "key:key_1", "acme", interaction_id=SECOND)
    assert vouch(old_url) == (1, [SECOND])


def test_it_is_done_once_unless_an_operator_insists(old_url: str) -> None:
    assert vouch(old_url) == (2, [])
    with writing(old_url) as conn:
        conn.execute(sa.text("UPDATE decisions SET vouched = NULL"))
    with pytest.raises(AlreadyVouched, match="already"):
        vouch(old_url)
    assert vouch(old_url, again=True) == (2, [])


def test_records_of_a_version_that_knows_macs_are_not_of_before(old_url: str) -> None:
    """Also when a purge removed the event that says that it was done: somebody took their MACs away."""
    with writing(old_url) as conn:
        tell(conn, tier="base")
    assert vouch(old_url) == (0, [FIRST, SECOND])
    assert vouch(old_url, again=True) == (2, [])
