"""Fills a database with items that wait for review, in bulk, and reads back who held what when."""

from __future__ import annotations

import random
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from benchmarks.queue_leases import Grant
from gateway.policy import decide, urgency
from serving.answer import Confidence
from storage import calibrations, keys
from storage.audit_tables import audit_events
from storage.database import Database, now
from storage.ids import new_id
from storage.records import Decision, Interaction, ItemState, Key, ReviewItem, Role
from storage.rows import decision_row, interaction_row, item_row
from storage.storable import content_hash, from_json
from storage.tables import decisions, interactions, review_items
from storage.vault import vault_of
from storage.vouching import decision_mac

TENANT = "benchmark"
CALIBRATION = "cal_1"
_CHUNK = 1_000
_ENDS = (
    "review.claim_released", "review.claim_lapsed", "review.approved", "review.edited", "review.rejected",
    "review.referred", "review.expired", "review.quarantined", "review.withdrawn",
)  # fmt: skip


def people(database: Database, reviewers: int) -> tuple[Key, list[tuple[Key, str]]]:
    """The key that asks, and the reviewers' keys with their secrets."""
    with database.transaction() as conn:
        calibrations.store(conn, {"id": CALIBRATION, "model": "benchmark"})
        caller, _ = keys.create(conn, TENANT, "asks", {Role.CALLER})
        made = [keys.create(conn, TENANT, f"reviewer {n}", {Role.REVIEWER}) for n in range(reviewers)]
    return caller, made


def fill(database: Database, caller: Key, count: int, draw: random.Random) -> None:
    """`count` held answers that wait, as the gateway would have recorded them; without their audit events."""
    for start in range(0, count, _CHUNK):
        with database.transaction() as conn:
            at = now(conn)
            made = [_held(caller, at - draw.random() * 3600, draw) for _ in range(min(_CHUNK, count - start))]
            rows = [
                (interaction_row(asked), decision_row(decided, TENANT), item_row(item, asked))
                for asked, decided, item in made
            ]
            vault = vault_of(conn)
            vouched = [{"vouched": None if vault is None else decision_mac(vault, *each)} for each in rows]
            conn.execute(interactions.insert(), [asked for asked, _, _ in rows])
            conn.execute(decisions.insert(), [each[1] | mac for each, mac in zip(rows, vouched, strict=True)])
            conn.execute(review_items.insert(), [item for _, _, item in rows])
    if database.dialect == "postgresql":
        with database.transaction() as conn:
            conn.exec_driver_sql("ANALYZE")  # as autovacuum has done on a server that was filled over days


def waiting(conn: Connection) -> int:
    query = sa.select(sa.func.count()).select_from(review_items)
    return int(conn.execute(query.where(review_items.c.state == ItemState.PENDING.value)).scalar_one())


def grants(conn: Connection, told: Iterable[tuple[str, int, str, float]]) -> list[Grant]:
    """What reviewers were told (item, token, reviewer, end of the lease), with beginnings and ends from the audit log.

    Raises LookupError for a grant that the log does not know, or knows for another reviewer.
    """
    table = audit_events.c
    query = sa.select(table.kind, table.item_id, table.at, table.data).where(table.kind.in_(("review.claimed", *_ENDS)))
    begun: dict[tuple[str, int], tuple[float, str]] = {}
    ended: dict[tuple[str, int], float] = {}
    for kind, item, at, data in conn.execute(query):
        facts = from_json(data)
        if kind == "review.claimed":
            begun[item, facts["fencing_token"]] = (at, facts["reviewer"])
        else:
            ended[item, facts["fencing_token"]] = at
    found = []
    for item, token, reviewer, lease_end in told:
        at, holder = begun.get((item, token), (0.0, "nobody"))
        if holder != reviewer:
            raise LookupError(f"{reviewer} was granted {item} under token {token}; the log says {holder}.")
        found.append(Grant(item, token, reviewer, at, min(lease_end, ended.get((item, token), lease_end))))
    return found


def _held(caller: Key, at: float, draw: random.Random) -> tuple[Interaction, Decision, ReviewItem]:
    sure, number = draw.random() * 0.84, draw.randrange(10**6)
    ruling = decide(Confidence(value=sure, calibration_id=CALIBRATION, calibrated=True), caller.policy, "stop")
    text = f"{number} * 2 = {2 * number}. The answer is {2 * number}."
    answer = {"text": text, "finish_reason": "stop", "tokens": [], "confidence": {"value": sure}}
    asked = Interaction(
        id=f"chatcmpl-{new_id('b')}", tenant=TENANT, key_id=caller.id, model="benchmark", served_model="benchmark",
        messages=({"role": "user", "content": f"What is {number} * 2?"},), params={}, answer=answer,
        content_hash=content_hash(text), confidence=sure, calibration_id=CALIBRATION, created_at=at,
        request_id=new_id("req"),
    )  # fmt: skip
    decided = Decision(
        id=new_id("dec"), interaction_id=asked.id, action=ruling.action, reason=ruling.reason, confidence=sure,
        threshold=ruling.threshold, calibration_id=CALIBRATION, policy_id=caller.policy.id,
        policy_version=caller.policy.version, content_hash=asked.content_hash, created_at=at,
    )  # fmt: skip
    item = ReviewItem(
        id=new_id("rev"), interaction_id=asked.id, tenant=TENANT, state=ItemState.PENDING, version=1,
        urgency=urgency(ruling, caller.policy, at), reason=ruling.reason, action=ruling.action,
        domain=draw.choice(("arithmetic", "word-problem", None)), created_at=at,
        expires_at=at + caller.policy.review_seconds,
    )  # fmt: skip
    return asked, decided, item
