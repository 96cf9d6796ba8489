"""Whoever writes to the database past the program gets nothing out of it: each change of a row is known."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from storage import interactions, reviews, vouching
from storage.database import Database, open_database
from storage.errors import NotVouched, NotVouchedYet, VouchedElsewhere
from storage.records import Action, ItemState, Key, Outcome, ReviewItem, VerdictKind, Vouched
from storage.storable import content_hash
from storage.tables import decisions, review_items, verdicts
from storage.tables import interactions as asked_table
from storage.vault import Vault
from tests.storage.conftest import VAULT
from tests.storage.made import as_if_asked, held, record, reread
from tests.storage.reviewing import claim, decide, events

TABLES = {"interactions": asked_table, "decisions": decisions, "review_items": review_items, "verdicts": verdicts}
APPROVE, EDIT = VerdictKind.APPROVE, VerdictKind.EDIT


def outcome(database: Database, interaction_id: str) -> Outcome:
    with database.read() as conn:
        found = interactions.get_outcome(conn, interaction_id, "acme")
    assert found is not None
    return found


def forge(database: Database, table: str, where: dict[str, Any], **columns: Any) -> None:
    rows = TABLES[table]
    with database.transaction() as conn:
        matching = [rows.c[name] == value for name, value in where.items()]
        assert conn.execute(sa.update(rows).where(*matching).values(columns)).rowcount == 1


def released(database: Database, caller: Key, action: Action = Action.RELEASE) -> str:
    with database.transaction() as conn:
        asked, _ = record(conn, caller, action)
    return str(asked.id)


def approved(database: Database, waiting: ReviewItem, ada: Key, kind: VerdictKind = APPROVE, **said: Any) -> Any:
    return decide(database, waiting, ada, claim(database, waiting, ada), kind, **said)[1]


def test_what_was_written_here_is_vouched_for_and_leaves(database: Database, caller, ada, waiting) -> None:
    for action in (Action.RELEASE, Action.FLAG):
        found = outcome(database, released(database, caller, action))
        assert (found.vouched, found.released_text) == (Vouched.OURS, "42")
    approved(database, waiting, ada)
    assert outcome(database, waiting.interaction_id).released_text == "42"


@pytest.mark.parametrize("action", ["release", "flag"])
def test_a_held_answer_that_is_set_to_leave_does_not(database: Database, waiting, action) -> None:
    forge(database, "decisions", {"interaction_id": waiting.interaction_id}, action=action)
    found = outcome(database, waiting.interaction_id)
    assert (found.vouched, found.released_text) == (Vouched.NOT, None)


@pytest.mark.parametrize("with_item", [True, False])
def test_a_decision_put_in_the_place_of_another_is_not_vouched_for(database: Database, caller, with_item) -> None:
    """The MAC of a released answer's decision is of no use for a held one."""
    waiting, free = held(database, caller), released(database, caller)
    with database.transaction() as conn:
        mac = conn.execute(sa.select(decisions.c.vouched).where(decisions.c.interaction_id == free)).scalar_one()
        if not with_item:
            conn.execute(sa.delete(review_items).where(review_items.c.id == waiting.id))
    changes = {"action": "release", "reason": "confident", "vouched": mac}
    forge(database, "decisions", {"interaction_id": waiting.interaction_id}, **changes)
    assert outcome(database, waiting.interaction_id).released_text is None


@pytest.mark.parametrize("mac", ["", "ours", "mk_0:00", f"{VAULT.id}:", f"{VAULT.id}:{'0' * 64}", "\u20ac"])
def test_a_mac_that_is_none_is_not_vouched_for(database: Database, caller, mac) -> None:
    free = released(database, caller)
    forge(database, "decisions", {"interaction_id": free}, vouched=mac)
    assert outcome(database, free).vouched is Vouched.NOT


def test_what_has_no_mac_is_withheld_and_can_be_vouched_for(database: Database, caller, waiting, ada) -> None:
    """As everything of before; an insider who takes a MAC away gains nothing, and ends nothing."""
    free = released(database, caller)
    for each in (free, waiting.interaction_id):
        forge(database, "decisions", {"interaction_id": each}, vouched=None)
    found = outcome(database, free)
    assert (found.vouched, found.released_text) == (Vouched.BEFORE, None)
    with pytest.raises(NotVouchedYet):
        decide(database, waiting, ada, claim(database, waiting, ada))
    with database.transaction() as conn:
        assert reviews.quarantine_unvouched(conn, waiting.id, "acme") is None


@pytest.mark.parametrize(
    ("decision", "verdict", "both"),
    [
        (None, None, Vouched.BEFORE),
        (None, "forged", Vouched.NOT),
        ("forged", None, Vouched.NOT),
        (f"mk_{'0' * 16}:{'0' * 64}", None, Vouched.NOT),
        (None, f"mk_{'0' * 16}:{'0' * 64}", Vouched.OTHER_KEY),
        ("as it was", None, Vouched.NOT),  # only both are of before, or none
    ],
)
def test_the_worse_of_decision_and_verdict_counts(database, waiting, ada, decision, verdict, both) -> None:
    approved(database, waiting, ada)
    if decision != "as it was":
        forge(database, "decisions", {"interaction_id": waiting.interaction_id}, vouched=decision)
    forge(database, "verdicts", {"item_id": waiting.id}, vouched=verdict)
    assert outcome(database, waiting.interaction_id).vouched is both


FORGED_DECISION = {
    "id": "dec_forged", "tenant": "other", "reason": "low_confidence", "confidence": 0.99, "threshold": 0.1,
    "calibration_id": None, "policy_id": "pol_2", "policy_version": 2, "content_hash": content_hash("forged"),
    "created_at": 1.0,
}  # fmt: skip
FORGED_INTERACTION = {
    "key_id": "key_other", "model": "other", "served_model": "other@1", "messages": "[]", "params": '{"logprobs":true}',
    "answer": '{"text":"42","finish_reason":"stop","tokens":["forged"]}', "content_hash": content_hash("forged"),
    "confidence": 0.99, "calibration_id": "cal_2", "created_at": 2.0, "metadata": '{"a":"b"}', "body_hash": "another",
}  # fmt: skip


@pytest.mark.parametrize(
    ("table", "column"),
    [*(("decisions", name) for name in FORGED_DECISION), *(("interactions", name) for name in FORGED_INTERACTION)],
)
def test_no_column_of_what_a_caller_or_reviewer_sees_can_be_altered(database, caller, table, column) -> None:
    free = released(database, caller)
    name, values = ("interaction_id", FORGED_DECISION) if table == "decisions" else ("id", FORGED_INTERACTION)
    forge(database, table, {name: free}, **{column: values[column]})
    found = outcome(database, free)
    assert (found.vouched, found.released_text) == (Vouched.NOT, None)


def test_an_answer_altered_with_every_hash_of_it_does_not_leave(database: Database, waiting, ada) -> None:
    approved(database, waiting, ada)
    hash_ = content_hash("forged")
    answer = '{"confidence":{"domain":"arithmetic","value":0.5},"finish_reason":"stop","text":"forged"}'
    forge(database, "interactions", {"id": waiting.interaction_id}, answer=answer, content_hash=hash_)
    forge(database, "decisions", {"interaction_id": waiting.interaction_id}, content_hash=hash_)
    forge(database, "verdicts", {"item_id": waiting.id}, content_hash=hash_)
    found = outcome(database, waiting.interaction_id)
    assert (found.content_changed, found.vouched, found.released_text) == (False, Vouched.NOT, None)


def test_a_final_verdict_that_nobody_gave_releases_nothing(database: Database, waiting, ada) -> None:
    with database.transaction() as conn:
        row = {
            "id": "ver_forged", "item_id": waiting.id, "tenant": "acme", "reviewer_id": ada.id, "kind": "approve",
            "reason": "", "content_hash": content_hash("42"), "fencing_token": 1, "created_at": 1.0, "final": True,
        }  # fmt: skip
        conn.execute(verdicts.insert(), row)
    forge(database, "review_items", {"id": waiting.id}, state="approved", claimed_by=ada.id)
    found = outcome(database, waiting.interaction_id)
    assert (found.vouched, found.released_text) == (Vouched.NOT, None)


def test_a_rejection_cannot_become_an_approval(database: Database, waiting, ada) -> None:
    approved(database, waiting, ada, VerdictKind.REJECT)
    changed = {"kind": "approve", "content_hash": content_hash("42")}
    forge(database, "verdicts", {"item_id": waiting.id}, **changed)
    forge(database, "review_items", {"id": waiting.id}, state="approved")
    assert outcome(database, waiting.interaction_id).released_text is None


def test_a_flagged_answer_that_was_rejected_does_not_leave_when_the_verdict_goes(database, caller, ada) -> None:
    with database.transaction() as conn:
        asked, flagged = record(conn, caller, Action.FLAG)
    approved(database, flagged, ada, VerdictKind.REJECT)
    assert outcome(database, asked.id).released_text is None
    with database.transaction() as conn:
        conn.execute(sa.delete(verdicts).where(verdicts.c.item_id == flagged.id))
    assert outcome(database, asked.id).released_text is None


@pytest.mark.parametrize("column", ["content", "reviewer_id", "reason", "created_at", "fencing_token", "id"])
def test_no_word_of_a_verdict_can_be_altered(database: Database, waiting, ada, column) -> None:
    approved(database, waiting, ada, EDIT, content="forty-two")
    assert outcome(database, waiting.interaction_id).released_text == "forty-two"
    hash_ = {"content_hash": content_hash("forged")} if column == "content" else {}
    value = 9 if column in ("created_at", "fencing_token") else "forged"
    forge(database, "verdicts", {"item_id": waiting.id}, **{column: value}, **hash_)
    found = outcome(database, waiting.interaction_id)
    assert (found.vouched, found.released_text) == (Vouched.NOT, None)


def test_the_first_of_two_words_cannot_be_made_the_last(database: Database, caller, ada) -> None:
    watched = as_if_asked(database, held(database, caller), four_eyes=True)
    approved(database, watched, ada)
    with pytest.raises(IntegrityError):
        forge(database, "verdicts", {"item_id": watched.id}, final=True)
    with database.transaction() as conn:  # an agreement that nobody gave
        word = conn.execute(sa.select(verdicts)).one()._asdict()
        conn.execute(verdicts.insert(), {**word, "id": "ver_forged", "reviewer_id": "key_nobody"})
    agrees = {"agrees_with": "ver_forged", "agrees_with_reviewer": "key_nobody"}
    forge(database, "verdicts", {"id": word["id"]}, final=True, **agrees)
    forge(database, "review_items", {"id": watched.id}, state="approved")
    found = outcome(database, watched.interaction_id)
    assert (found.vouched, found.released_text) == (Vouched.NOT, None)


def test_a_first_word_that_nobody_gave_does_not_make_one_persons_word_two(database, caller, ada, bob) -> None:
    watched = as_if_asked(database, held(database, caller), four_eyes=True)
    approved(database, watched, ada)
    forge(database, "verdicts", {"item_id": watched.id}, kind="approve", reason="of nobody", reviewer_id=caller.id)
    token = claim(database, watched, bob)
    with pytest.raises(NotVouched):
        decide(database, watched, bob, token)
    with database.transaction() as conn:
        assert reviews.quarantine_unvouched(conn, watched.id, "acme") is not None


@pytest.mark.parametrize("column", ["four_eyes", "domain", "asked_by", "action"])
def test_whom_an_item_is_for_and_how_many_cannot_be_altered(database: Database, caller, ada, column) -> None:
    watched = as_if_asked(database, held(database, caller), four_eyes=True)
    token = claim(database, watched, ada)
    value = {"four_eyes": False, "domain": "law", "asked_by": "key_nobody", "action": "flag"}[column]
    forge(database, "review_items", {"id": watched.id}, **{column: value})
    with pytest.raises(NotVouched):
        decide(database, watched, ada, token)


@pytest.mark.parametrize("kind", list(VerdictKind))
def test_no_verdict_counts_on_a_question_that_was_altered_and_the_item_ends(database, waiting, ada, kind) -> None:
    """Approved over a question that was never asked, the answer would leave as if it had been judged."""
    token = claim(database, waiting, ada)
    forge(database, "interactions", {"id": waiting.interaction_id}, messages='[{"role":"user","content":"harmless"}]')
    content = "forty-two" if kind is EDIT else None
    with pytest.raises(NotVouched, match="Tell an operator"):
        decide(database, waiting, ada, token, kind, content=content)
    with database.transaction() as conn:
        ended = reviews.quarantine_unvouched(conn, waiting.id, "acme")
    assert ended is not None
    assert ended.state is ItemState.QUARANTINED
    assert events(database, waiting)[-1] == "review.quarantined"


def test_an_item_as_it_was_written_is_not_quarantined(database: Database, waiting, ada) -> None:
    with database.transaction() as conn:
        assert reviews.quarantine_unvouched(conn, waiting.id, "acme") is None
        assert reviews.quarantine_unvouched(conn, "rev_none", "acme") is None
    approved(database, waiting, ada)
    with database.transaction() as conn:
        assert reviews.quarantine_unvouched(conn, waiting.id, "acme") is None


def test_another_master_key_is_named_and_nothing_is_quarantined(database: Database, caller, ada, waiting) -> None:
    free, token = released(database, caller), claim(database, waiting, ada)
    other = open_database(database.url.render_as_string(hide_password=False), Vault(b"\x07" * 32))
    try:
        found = outcome(other, free)
        assert (found.vouched, found.released_text) == (Vouched.OTHER_KEY, None)
        with pytest.raises(VouchedElsewhere, match="restores that key"):
            decide(other, waiting, ada, token)
        with other.transaction() as conn:
            assert reviews.quarantine_unvouched(conn, waiting.id, "acme") is None
    finally:
        other.close()
    assert reread(database, waiting).state is ItemState.CLAIMED
    assert outcome(database, free).released_text == "42"


def test_without_a_master_key_nothing_leaves(database: Database, caller) -> None:
    free = released(database, caller)
    bare = open_database(database.url.render_as_string(hide_password=False))
    try:
        assert outcome(bare, free).released_text is None
    finally:
        bare.close()


def test_what_was_deleted_does_not_come_back_with_its_old_answer(database: Database, caller) -> None:
    free = released(database, caller)
    with database.transaction() as conn:
        before = conn.execute(sa.select(asked_table).where(asked_table.c.id == free)).one()._asdict()
        assert interactions.delete(conn, free, "acme", "key:k")
    forge(database, "interactions", {"id": free}, **{name: before[name] for name in before if name != "id"})
    forge(database, "decisions", {"interaction_id": free}, content_hash=content_hash("42"))
    assert outcome(database, free).released_text is None


def test_a_row_of_bytes_in_place_of_text_is_not_vouched_for_and_no_error(database: Database, caller) -> None:
    free = outcome(database, released(database, caller))
    row = {**dataclasses.asdict(free.interaction), "messages": b"[]", "params": "{}", "answer": "{}", "metadata": "{}"}
    decided = {**dataclasses.asdict(free.decision), "tenant": "acme", "vouched": f"{VAULT.id}:{'0' * 64}"}
    assert vouching.decision_vouched(VAULT, row, decided, None) is Vouched.NOT
