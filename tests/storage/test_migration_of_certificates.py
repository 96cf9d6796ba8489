"""Rows of before there were certificates keep their meaning and their MACs, up and down again."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from storage import calibrations, certificates, earlier_records, interactions, keys, policies, sealing, vouching
from storage.database import Database, open_database
from storage.event_format import frame
from storage.records import Action, Key, Role, Vouched
from storage.schema import downgrade, upgrade
from storage.tables import decisions, review_items
from storage.tables import interactions as asked_rows
from tests.storage.conftest import VAULT
from tests.storage.labelled import MODEL, answered
from tests.storage.logs import SIGNER
from tests.storage.made import record

BEFORE = "0010"


@pytest.fixture
def url(empty_url: str) -> str:
    """A held answer without anything that came with certificates, and one that was released by one and audited."""
    upgrade(empty_url, vault=VAULT)
    database = open_database(empty_url, VAULT)
    with database.transaction() as conn:
        policies.create_policy(conn, "acme", name="mine", threshold=0.7, audit_share=0.5)
        caller, _ = keys.create(conn, "acme", "chat", [Role.CALLER])
        calibrations.store(conn, {"id": "cal_1", "model": MODEL})
        certificates.store(conn, {"id": "crt_1", "model": MODEL, "calibration_id": "cal_1"})
        certificates.activate(conn, "crt_1", "system")
        record(conn, caller, Action.HOLD, id="chatcmpl-old")
        answered(conn, caller, 0.9, share=0.04, certificate="crt_1", id="chatcmpl-new")
        sealing.seal(conn, SIGNER)
    database.close()
    return empty_url


def vouched(database: Database) -> dict[str, Vouched]:
    with database.read() as conn:
        found = interactions.get_outcomes(conn, ["chatcmpl-old", "chatcmpl-new"], "acme")
    return {name: outcome.vouched for name, outcome in found.items()}


def test_rows_keep_their_macs_and_policies_get_the_products_own_rules(url: str) -> None:
    downgrade(url, BEFORE)
    upgrade(url, vault=VAULT)
    database = open_database(url, VAULT)
    assert vouched(database) == {"chatcmpl-old": Vouched.OURS, "chatcmpl-new": Vouched.BEFORE}
    with database.read() as conn:
        policy_id = conn.execute(sa.text("SELECT id FROM policies WHERE name = 'mine'")).scalar_one()
        policy = policies.get_policy(conn, policy_id, "acme")
        assert (policy.threshold, policy.without_certificate, policy.audit_share) == (0.7, Action.HOLD, 0.04)
        assert certificates.list_all(conn) == []
    # the audited answer's MAC was over what a downgrade takes away: an operator vouches for it as the log tells it
    assert earlier_records.vouch_for_earlier(database, "operator", SIGNER, again=True) == (1, [])
    assert vouched(database) == {"chatcmpl-old": Vouched.OURS, "chatcmpl-new": Vouched.OURS}
    database.close()


def test_what_the_row_says_of_audits_must_be_what_the_log_tells_before_it_is_vouched_for(url: str) -> None:
    downgrade(url, BEFORE)
    upgrade(url, vault=VAULT)
    database = open_database(url, VAULT)
    with database.transaction() as conn:
        conn.execute(sa.update(decisions).where(decisions.c.action == "release").values(audit_share=0.9))
    assert earlier_records.vouch_for_earlier(database, "operator", SIGNER, again=True) == (0, ["chatcmpl-new"])
    database.close()


def test_mac_of_a_row_without_a_certificate_is_over_what_it_was_always_over(database: Database, caller: Key) -> None:
    with database.transaction() as conn:
        asked, _ = record(conn, caller)
        row, interaction, item = (
            conn.execute(sa.select(table).where(column == asked.id)).one()._mapping
            for table, column in (
                (decisions, decisions.c.interaction_id),
                (asked_rows, asked_rows.c.id),
                (review_items, review_items.c.interaction_id),
            )
        )
    of_before = (
        *(row[name] for name in (
            "id", "interaction_id", "tenant", "action", "reason", "confidence", "threshold", "calibration_id",
            "policy_id", "policy_version", "content_hash", "created_at",
        )),
        *(interaction[name] for name in (
            "id", "tenant", "key_id", "model", "served_model", "messages", "params", "answer", "content_hash",
            "confidence", "calibration_id", "created_at", "metadata", "body_hash",
        )),
        *(item[name] for name in ("id", "interaction_id", "tenant", "asked_by", "action", "domain", "four_eyes")),
    )  # fmt: skip
    framed = b"".join(frame(value + 0.0 if isinstance(value, int | float) else value) for value in of_before)
    assert VAULT.vouch(b"countersign/decision/1" + framed) == row["vouched"]
    assert row["vouched"] == vouching.decision_mac(VAULT, interaction, row, item)


def test_policy_of_shares_and_words_that_are_none_is_refused(database: Database) -> None:
    with database.transaction() as conn:
        made = policies.create_policy(conn, "acme", name="p", audit_share=1.0, without_certificate=Action.RELEASE)
        assert policies.get_policy(conn, made.id, "acme") == made
        key, secret = keys.create(conn, "acme", "k", [Role.CALLER], made.id)
        assert keys.by_secret(conn, secret) == dataclasses.replace(key, policy=made)
        for wrong in ({"audit_share": 1.1}, {"audit_share": float("nan")}, {"without_certificate": Action.FLAG}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                policies.update_policy(conn, made.id, "acme", **wrong)
