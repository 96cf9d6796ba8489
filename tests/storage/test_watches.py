"""The watch counts each audit of its certificate's releases once, whoever leads and however late its verdict came."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from storage import calibrations, certificates, interactions, watches
from storage.certified import StoredCertificate, Watched, WatchPoint
from storage.database import Database
from storage.records import Key
from storage.tables import decisions
from tests.storage.labelled import MODEL, label

NAMES = ("crt_1", "crt_2")


@pytest.fixture
def certificate(database: Database) -> StoredCertificate:
    with database.transaction() as conn:
        calibrations.store(conn, {"id": "cal_1", "model": MODEL})
        for name in NAMES:
            body = {"id": name, "model": MODEL, "calibration_id": "cal_1", "alpha": 0.15, "delta": 0.05, "made_at": 1.0}
            certificates.store(conn, body)
        return certificates.activate(conn, "crt_1", "system")


def audits(
    database: Database, certificate: StoredCertificate, limit: int = 100
) -> tuple[Watched, list[watches.Audited]]:
    with database.read() as conn:
        watched = watches.of(conn, certificate)
        return watched, watches.unseen(conn, watched, limit)


def count(database: Database, watched: Watched, found: list[watches.Audited]) -> Watched:
    points = [
        WatchPoint(audit.interaction_id, watched.audited + number, audit.at, audit.wrong, 0.5 + number)
        for number, audit in enumerate(found, 1)
    ]
    after = dataclasses.replace(
        watched, state={"together": [0.1, 0.2]}, audited=watched.audited + len(found), seen_at=found[-1].at
    )
    with database.transaction() as conn:
        watches.advance(conn, after, points, 0.5)
    return after


def test_audits_of_its_own_releases_are_counted_in_their_order(
    database: Database, certificate: StoredCertificate, caller: Key, ada: Key
) -> None:
    with database.transaction() as conn:
        wrong = label(conn, caller, ada, 0.9, right=False, share=0.04, certificate="crt_1")
        right = label(conn, caller, ada, 0.9, share=0.04, certificate="crt_1")
        label(conn, caller, ada, 0.9, share=0.04, certificate="crt_2")  # another certificate's
        label(conn, caller, ada, 0.9, share=0.04)  # nobody's: the policy said that its threshold is enough
        label(conn, caller, ada, 0.5, certificate="crt_1")  # held
        let_out = label(conn, caller, ada, 0.5, share=0.04, certificate="crt_1")  # by a policy, under the threshold
        low = sa.update(decisions).where(decisions.c.interaction_id == let_out.id)
        conn.execute(low.values(reason="low_confidence"))
    watched, found = audits(database, certificate)
    assert [(audit.interaction_id, audit.wrong) for audit in found] == [(wrong.id, True), (right.id, False)]
    assert audits(database, certificate, limit=1)[1] == found[:1]
    after = count(database, watched, found)
    assert audits(database, certificate) == (after, [])
    with database.read() as conn:
        assert [(point.number, point.wrong) for point in watches.points(conn, "crt_1")] == [(1, True), (2, False)]


def test_a_verdict_that_was_committed_late_is_counted_and_none_is_counted_twice(
    database: Database, certificate: StoredCertificate, caller: Key, ada: Key
) -> None:
    with database.transaction() as conn:
        first, second = (label(conn, caller, ada, 0.9, share=0.04, certificate="crt_1") for _ in range(2))
    watched, found = audits(database, certificate)
    assert [audit.interaction_id for audit in found] == [first.id, second.id]
    after = count(database, watched, found[1:])  # the first one's verdict was not committed yet
    assert audits(database, certificate) == (after, found[:1])
    with pytest.raises(IntegrityError):
        count(database, watched, found[1:])  # a second leader, who did not know of it
    assert audits(database, certificate) == (after, found[:1])


def test_records_that_were_not_written_here_and_deleted_ones_are_not_counted_and_stop_nothing(
    database: Database, certificate: StoredCertificate, caller: Key, ada: Key
) -> None:
    with database.transaction() as conn:
        forged, deleted, good = (label(conn, caller, ada, 0.9, share=0.04, certificate="crt_1") for _ in range(3))
        conn.execute(sa.update(decisions).where(decisions.c.interaction_id == forged.id).values(audit_share=1.0))
        interactions.delete(conn, deleted.id, "acme", "key:chat")
    assert [audit.interaction_id for audit in audits(database, certificate, limit=1)[1]] == [good.id]


def test_a_drawing_of_many_points_is_thinned_and_keeps_the_last(
    database: Database, certificate: StoredCertificate
) -> None:
    many = [watches.Audited(f"chatcmpl-{number}", None, False, float(number)) for number in range(25)]
    with database.read() as conn:
        watched = watches.of(conn, certificate)
    count(database, watched, many)
    with database.read() as conn:
        assert [point.number for point in watches.points(conn, "crt_1", most=10)] == [3, 6, 9, 12, 15, 18, 21, 24, 25]
