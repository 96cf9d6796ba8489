"""What people's last words say of confidences: of reviewed answers once, of audited ones for those not looked at."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from storage import audit_query, interactions, labels, recording, review_sweeps, reviews
from storage.audit_query import Filters
from storage.database import Database
from storage.errors import InvalidValue
from storage.records import Action, ItemState, Key, Outcome, Role, VerdictKind, Vouched
from storage.tables import decisions, review_items
from tests.storage.labelled import MODEL, answered, judge, label
from tests.storage.made import decision, interaction, item, key, reread


def newest(database: Database, **fields):
    with database.read() as conn:
        return labels.newest(conn, "cal_1", **fields)


def test_a_last_word_is_a_label_with_the_weight_of_its_draw(database: Database, caller: Key, ada: Key) -> None:
    with database.transaction() as conn:
        for kind in (VerdictKind.APPROVE, VerdictKind.EDIT, VerdictKind.REJECT):
            judge(conn, answered(conn, caller, 0.6)[2], ada, kind)
        judge(conn, answered(conn, caller, 0.9, share=0.04, domain=None)[2], ada)
    found = newest(database)
    assert [(each.confidence, each.right, each.weight, each.released, each.domain) for each in found] == [
        (0.9, True, 25.0, True, None),
        (0.6, False, 1.0, False, "sums"),
        (0.6, False, 1.0, False, "sums"),
        (0.6, True, 1.0, False, "sums"),
    ]
    assert {(each.model, each.calibration_id, each.tenant) for each in found} == {(MODEL, "cal_1", "acme")}


def test_what_nobody_decided_has_no_label(database: Database, caller: Key, ada: Key) -> None:
    with database.transaction() as conn:
        answered(conn, caller, 0.6)
        judge(conn, answered(conn, caller, 0.6)[2], ada, VerdictKind.REFER)
        reviews.withdraw(conn, answered(conn, caller, 0.9, share=0.5)[2].id, "key:chat", "acme")
        label(conn, caller, ada, 0.6, calibration="cal_2")
    assert newest(database) == []
    with database.read() as conn:
        assert labels.count(conn, "cal_1") == 0
        assert labels.count(conn, "cal_2") == 1


def test_pages_go_back_in_time_and_end_where_they_are_told(database: Database, caller: Key, ada: Key) -> None:
    stranger, judge_ = key(database, "chat", Role.CALLER, "other"), key(database, "Eve", tenant="other")
    with database.transaction() as conn:
        for number in range(5):
            label(conn, caller, ada, number / 10)
        label(conn, stranger, judge_, 0.9)
    first = newest(database, tenant="acme", limit=3)
    rest = newest(database, tenant="acme", limit=3, after=first[-1])
    assert [each.confidence for each in (*first, *rest)] == [0.4, 0.3, 0.2, 0.1, 0.0]
    assert newest(database, tenant="acme", limit=3, after=rest[-1]) == []
    assert len(newest(database)) == 6
    assert newest(database, since=9e9) == []
    with database.read() as conn:
        assert [each.confidence for each in labels.every(conn, "cal_1", most=2)] == [0.9, 0.4]
        assert labels.count(conn, "cal_1", tenant="other") == 1


def test_certificates_are_made_of_records_that_were_written_here(database: Database, caller: Key, ada: Key) -> None:
    with database.transaction() as conn:
        good, forged, deleted = (label(conn, caller, ada, 0.5) for _ in range(3))
        interactions.delete(conn, deleted.id, "acme", "key:chat")
        lie = sa.update(decisions).where(decisions.c.interaction_id == forged.id)
        conn.execute(lie.values(confidence=0.99))
    assert len(newest(database)) == 3
    with database.read() as conn:
        assert [each.interaction_id for each in labels.every(conn, "cal_1")] == [good.id]


def test_share_of_audits_and_certificate_are_vouched_for_with_the_decision(database: Database, caller: Key) -> None:
    with database.transaction() as conn:
        asked, decided, _ = answered(conn, caller, 0.9, share=0.04, certificate="crt_1")
    assert outcome(database, asked.id).decision == decided
    assert outcome(database, asked.id).vouched is Vouched.OURS
    for lie in ({"audit_share": 0.9}, {"certificate_id": None}, {"domain": "law"}):
        with database.transaction() as conn:
            conn.execute(sa.update(decisions).values(lie))
        assert outcome(database, asked.id).vouched is Vouched.NOT
        with database.transaction() as conn:
            conn.execute(sa.update(decisions).values(audit_share=0.04, certificate_id="crt_1", domain="sums"))
    none = {"audit_share": None, "certificate_id": None, "domain": None}
    with database.transaction() as conn:
        conn.execute(sa.update(decisions).values(none))  # as if it were of before there were certificates
    assert outcome(database, asked.id).vouched is Vouched.NOT


def test_audited_answer_is_the_callers_until_somebody_says_otherwise(database: Database, caller: Key, ada: Key) -> None:
    texts = {}
    for kind in (None, VerdictKind.APPROVE, VerdictKind.EDIT, VerdictKind.REJECT):
        with database.transaction() as conn:
            asked, _, waiting = answered(conn, caller, 0.9, share=1.0)
            if kind is not None:
                judge(conn, waiting, ada, kind)
        texts[kind] = outcome(database, asked.id).released_text
    assert list(texts.values()) == ["42", "42", "Forty-three.", None]


def test_audit_that_expires_takes_nothing_back(database: Database, caller: Key) -> None:
    with database.transaction() as conn:
        asked, _, waiting = answered(conn, caller, 0.9, share=1.0)
        conn.execute(sa.update(review_items).values(expires_at=0.0))
        review_sweeps.expire_due(conn)
    assert reread(database, waiting).state is ItemState.EXPIRED
    assert outcome(database, asked.id).released_text == "42"


def test_decision_and_item_of_an_audit_must_agree(database: Database, caller: Key) -> None:
    with pytest.raises(InvalidValue, match="item"), database.transaction() as conn:
        answered(conn, caller, 0.9, share=0.0)  # a share of nothing draws nobody
    with database.transaction() as conn:
        asked, _, _ = answered(conn, caller, 0.9, share=0.25, certificate="crt_1")
        (told,) = audit_query.query(conn, "acme", Filters(interaction_id=asked.id, kinds=("decision",)))
        assert (told.data["audit_share"], told.data["certificate"]) == (0.25, "crt_1")
    asked = interaction(caller)
    held = decision(asked, Action.HOLD, audit_share=0.5), item(asked, 1.0)
    with pytest.raises(InvalidValue, match="audit_share"), database.transaction() as conn:
        recording.record(conn, asked, *held)


def outcome(database: Database, interaction_id: str) -> Outcome:
    with database.read() as conn:
        found = interactions.get_outcome(conn, interaction_id, "acme")
    assert found is not None
    return found
