"""Looks through all stored decisions and verdicts for those not written here, and vouches once for those of before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log, subjects, vouching
from storage.audit_query import event_from
from storage.audit_tables import audit_events
from storage.database import Database
from storage.errors import AlreadyVouched
from storage.records import AuditEvent, ItemState, Vouched
from storage.rows import Part, parts
from storage.storable import content_hash, from_json
from storage.tables import decisions, interactions, review_items, verdicts
from storage.vault import Vault, vault_of

KIND = "records.vouched"
OPERATIONS_TENANT = "default"  # whose auditors see what concerns the whole database
_AT_ONCE = 500  # interactions of one page
_WHOLE = (interactions, decisions, review_items)
_TOLD = ("decision", "review.approved", "review.edited", "review.rejected", "review.referred")
_ENDED_BY_VERDICT = frozenset({ItemState.APPROVED.value, ItemState.EDITED.value, ItemState.REJECTED.value})
Events = dict[str, list[AuditEvent]]  # by interaction


@dataclass(frozen=True, slots=True)
class Checked:
    """What a look over all records found."""

    decisions: int  # vouched for
    verdicts: int  # vouched for, those that ended nothing included
    deleted: int  # interactions without content: nothing of them can leave
    bad: int  # interactions with something that is not vouched for
    first_bad: str | None  # of these the first by id
    why: str | None  # what is the matter with it


@dataclass(frozen=True, slots=True)
class Case:
    """The rows of one interaction as they are stored."""

    interaction: Part
    decision: Part
    item: Part  # NULLs only where there is none
    words: tuple[Part, ...]

    @property
    def id(self) -> str:
        return str(self.interaction.id)


def check(database: Database) -> Checked:
    """Over every tenant's records. Raises DatabaseUnreachable."""
    decided = judged = deleted = bad = 0
    first: tuple[str, str] | None = None
    for conn, cases in _pages(database):
        vault = vault_of(conn)
        for case in cases:
            if case.interaction.deleted_at is not None:
                deleted += 1
                continue
            why = _matter(vault, case)
            if why is None:
                decided, judged = decided + 1, judged + len(case.words)
            else:
                bad, first = bad + 1, first or (case.id, why)
    return Checked(decided, judged, deleted, bad, *(first or (None, None)))


def vouch_for_earlier(database: Database, actor: str) -> tuple[int, list[str]]:
    """Vouches for the records that were written before there were MACs, where the audit log tells the same of them.

    How many interactions it vouched for, and the ids of those it did not; all in one transaction, with an event.
    Raises AlreadyVouched the second time: whoever can write to the database could take MACs away in between.
    """
    done, left = 0, list[str]()
    with database.transaction() as conn:
        vault = vault_of(conn)
        if vault is None:
            raise ValueError("vault: the database was opened without one, so there is nothing to vouch with.")
        if conn.execute(sa.select(audit_events.c.id).where(audit_events.c.kind == KIND).limit(1)).first() is not None:
            raise AlreadyVouched
        for cases in _all(conn):
            earlier = [case for case in cases if case.decision.vouched is None and case.interaction.deleted_at is None]
            told = _events(conn, [case.id for case in earlier])
            for case in earlier:
                if _as_told(case, told.get(case.id, [])):
                    _vouch(conn, vault, case)
                    done += 1
                else:
                    left.append(case.id)
        data = {"interactions": done, "left": len(left)}
        audit_log.append(conn, KIND, actor, OPERATIONS_TENANT, data=data)
    return done, left


def _matter(vault: Vault | None, case: Case) -> str | None:
    """What is not as it was written; None: nothing."""
    found = vouching.decision_vouched(vault, case.interaction.columns, case.decision.columns, case.item.columns)
    if found is not Vouched.OURS:
        return f"its decision is {found.value}"
    for word in case.words:
        found = vouching.verdict_vouched(vault, word.columns, case.id)
        if found is not Vouched.OURS:
            return f"its verdict {word.id} is {found.value}"
    if case.item.state in _ENDED_BY_VERDICT and not any(word.final for word in case.words):
        return f"it is {case.item.state}, and there is no verdict"
    return None


def _pages(database: Database) -> Iterator[tuple[Connection, list[Case]]]:
    """Each page in a transaction of its own: no snapshot stays open for as long as all of it takes."""
    after = ""
    while True:
        with database.read() as conn:
            cases = _page(conn, after)
            yield conn, cases
        if not cases:
            return
        after = cases[-1].id


def _all(conn: Connection) -> Iterator[list[Case]]:
    after = ""
    while cases := _page(conn, after):
        yield cases
        after = cases[-1].id


def _page(conn: Connection, after: str) -> list[Case]:
    tables = interactions.outerjoin(decisions).outerjoin(
        review_items, review_items.c.interaction_id == interactions.c.id
    )
    query = sa.select(*_WHOLE).select_from(tables).where(interactions.c.id > after)
    rows = [parts(row, _WHOLE) for row in conn.execute(query.order_by(interactions.c.id).limit(_AT_ONCE))]
    said: dict[str, list[Part]] = {}
    of_these = verdicts.c.item_id.in_([item.id for _, _, item in rows if item.id is not None])
    for row in conn.execute(sa.select(verdicts).where(of_these).order_by(verdicts.c.fencing_token)):
        said.setdefault(row.item_id, []).append(parts(row, (verdicts,))[0])
    return [Case(asked, decided, item, tuple(said.get(item.id, ()))) for asked, decided, item in rows]


def _events(conn: Connection, interaction_ids: Sequence[str]) -> Events:
    """What the log tells of these interactions' decisions and verdicts, with their private facts."""
    table = audit_events.c
    about = (table.interaction_id.in_(interaction_ids), table.kind.in_(_TOLD))
    found = [event_from(row) for row in conn.execute(sa.select(audit_events).where(*about))]
    told: Events = {}
    for event in subjects.revealed(conn, [each for each in found if audit_log.event_hash(each) == each.hash]):
        told.setdefault(event.interaction_id or "", []).append(event)
    return told


def _as_told(case: Case, told: Sequence[AuditEvent]) -> bool:
    """Whether the log has an event that says of the decision and of each verdict what their rows say."""
    text = from_json(case.interaction.answer).get("text")
    if not isinstance(text, str) or content_hash(text) != case.decision.content_hash:
        return False
    row = case.decision.columns
    decided = {
        name: row[name] for name in ("action", "reason", "confidence", "threshold", "policy_id", "policy_version")
    }
    decided |= {"decision_id": row["id"], "calibration": row["calibration_id"]}
    facts = [(decided, row["content_hash"])]
    facts += [
        ({"verdict_id": word.id, "verdict": word.kind, "reviewer": word.reviewer_id}, word.content_hash)
        for word in case.words
    ]
    return all(any(_tells(event, data, hash_) for event in told) for data, hash_ in facts)


def _tells(event: AuditEvent, data: dict[str, Any], hash_: str | None) -> bool:
    known = {**event.data, **(event.private or {})}
    return {**data, "content_hash": hash_}.items() <= {"content_hash": None, **known}.items()


def _vouch(conn: Connection, vault: Vault, case: Case) -> None:
    mac = vouching.decision_mac(vault, case.interaction.columns, case.decision.columns, case.item.columns)
    conn.execute(sa.update(decisions).where(decisions.c.id == case.decision.id).values(vouched=mac))
    for word in case.words:
        mac = vouching.verdict_mac(vault, word.columns, case.id)
        conn.execute(sa.update(verdicts).where(verdicts.c.id == word.id).values(vouched=mac))
