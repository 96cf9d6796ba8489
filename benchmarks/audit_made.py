"""Makes a large audit log through the product's own storage: months of questions and reviews, all of it sealed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log, partitions, sealing, subjects
from storage.audit_log import NewEvent
from storage.audit_tables import audit_events
from storage.bulk import insert_rows
from storage.checkpoint_file import CheckpointFile
from storage.checkpoints import Signer
from storage.database import Database, now
from storage.merkle import Frontier
from storage.storable import content_hash
from storage.subjects import Subject
from storage.tables import interactions, words

TENANT = "benchmark"
SPREAD_SECONDS = 183 * 86_400.0  # the events happened over the past half year
SUBJECTS = 200
REVIEWED = (
    1 / 6
)  # of the questions: then a third of the events are of reviews, as a review has five for a release's two
_BATCH = 5_000  # events in one transaction
_MODELS = ("countersign-reference",) * 90 + ("qwen3-8b",) * 9 + ("gpt-oss-20b",)
_TIERS = ("base",) * 90 + ("pro",) * 9 + ("ultra",)
_VERDICTS = ("approve",) * 70 + ("edit",) * 20 + ("reject",) * 9 + ("refer",)
_KINDS = {
    "approve": "review.approved",
    "edit": "review.edited",
    "reject": "review.rejected",
    "refer": "review.referred",
}
# An interaction of which only the words count.
_EMPTY = {
    **dict.fromkeys(("key_id", "model", "served_model", "content_hash", "request_id"), ""),
    **{"tenant": TENANT, "messages": "[]", "params": "{}", "answer": "{}", "metadata": "{}", "created_at": 0.0},
}
_SELDOM = 1 / 20_000  # of the stories: somebody makes a key, changes a policy, or exports the log
_SELDOM_KINDS = ("key.created", "key.revoked", "policy.updated", "calibration.activated", "access.export")

Told = Callable[[str, int], None]  # what is being done, and how many events are


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part: ids of keys and reviewers, a few of them busy and most of them seldom heard of."""

    keys: tuple[str, ...]
    reviewers: tuple[str, ...]
    subjects: tuple[Subject, ...]


def make(database: Database, signer: Signer, outside: CheckpointFile, events: int, seed: int, told: Told) -> None:
    """Adds `events` events and seals them. The indexes for filters are built afterwards, as a restored database's."""
    draw = random.Random(seed)
    with database.transaction() as conn:
        end = now(conn)
        _make_months(conn, end)
        known = subjects.known_many(conn, [(TENANT, f"person {number}") for number in range(SUBJECTS)])
        _without_indexes(conn)
    cast = Cast(_ids(draw, "key", 40), _ids(draw, "key", 30), tuple(known.values()))
    _append(database, _stories(draw, cast, events, end), events, told)
    with database.transaction() as conn:
        _with_indexes(conn)
    seal_all(database, signer, outside, lambda sealed: told("seal", sealed))


def seal_all(database: Database, signer: Signer, outside: CheckpointFile, told: Callable[[int], None]) -> None:
    """Turns of the sealer until nothing waits."""
    frontier: Frontier | None = None
    while True:
        with database.transaction() as conn:
            turn = sealing.seal(conn, signer, frontier=frontier)
        frontier = turn.frontier
        if not turn.sealed:
            break
        told(turn.size)
    outside.publish(database)


def _append(database: Database, events: Iterator[NewEvent], wanted: int, told: Told) -> None:
    done = 0
    while batch := list(islice(events, min(_BATCH, wanted - done))):
        with database.transaction() as conn:
            if database.dialect == "sqlite":
                conn.exec_driver_sql("PRAGMA cache_size = -200000")  # KiB
            audit_log.append_many(conn, batch)
            _keep_words(conn, batch)
        done += len(batch)
        told("append", done)


def _keep_words(conn: Connection, batch: Sequence[NewEvent]) -> None:
    """As if each question had held a word of all, one of every twentieth, and one of very few."""
    asked = [event.interaction_id or "" for event in batch if event.kind == "interaction.recorded"]
    insert_rows(conn, interactions, [{**_EMPTY, "id": id_} for id_ in asked])
    kept = [(id_, word) for id_ in asked for word in words_of(id_)]
    insert_rows(conn, words, [{"interaction_id": id_, "word": word, "tenant": TENANT} for id_, word in kept])


def words_of(interaction_id: str) -> Iterator[str]:
    number = int(interaction_id[-12:], 16)
    yield "the"
    if number % 20 == 0:
        yield "invoice"
    yield f"case{number % 100_000}"


def _stories(draw: random.Random, cast: Cast, events: int, end: float) -> Iterator[NewEvent]:
    """In the order in which they happened; each question's events within a few minutes."""
    begin, step = end - SPREAD_SECONDS, SPREAD_SECONDS / events
    done = 0
    while True:
        story = list(_story(draw, cast, min(begin + done * step, end - 600)))
        done += len(story)
        yield from story


def _story(draw: random.Random, cast: Cast, at: float) -> Iterator[NewEvent]:
    if draw.random() < _SELDOM:
        yield NewEvent(draw.choice(_SELDOM_KINDS), "system", TENANT, data={"name": "something"}, at=at)
    asked = _Asked(draw, cast, at)
    held = draw.random() < REVIEWED
    yield from asked.recorded(held)
    if held:
        yield from asked.reviewed(draw, cast)


class _Asked:
    """One question: what all of its events say of it."""

    def __init__(self, draw: random.Random, cast: Cast, at: float) -> None:
        self.draw, self.at = draw, at
        self.id = f"chatcmpl-{_hex(draw)}"
        self.item = f"rev_{_hex(draw)}"
        self.key = cast.keys[min(int(draw.expovariate(0.3)), len(cast.keys) - 1)]
        self.trace = f"{draw.getrandbits(128):032x}" if draw.random() < 0.5 else None
        self.subject = draw.choice(cast.subjects)
        model = draw.choice(_MODELS)
        self.facts = {"key_id": self.key, "model": model, "served_model": f"{model}@0123456789ab"}

    def recorded(self, held: bool) -> Iterator[NewEvent]:
        sure = self.draw.random() * 0.85 if held else 0.85 + self.draw.random() * 0.15
        reason = "confident" if not held else "unknown_confidence" if sure < 0.01 else "low_confidence"
        ruled = {
            "decision_id": f"dec_{_hex(self.draw)}",
            "action": "hold" if held else "release",
            "reason": reason,
            "confidence": None if reason == "unknown_confidence" else sure,
            "threshold": 0.85,
            "policy_id": "pol_1",
            "policy_version": 1,
            "tier": self.draw.choice(_TIERS),
        }
        private = {"content_hash": content_hash(self.id)}
        yield self.event("interaction.recorded", 0.0, {}, private)
        yield self.event("decision", 0.0, ruled, private, item=held)
        if held:
            facts = {"to": "pending", "version": 1, "action": "hold", "reason": reason}
            yield self.event("review.created", 0.0, facts, item=True)

    def reviewed(self, draw: random.Random, cast: Cast) -> Iterator[NewEvent]:
        reviewer = cast.reviewers[min(int(draw.expovariate(0.3)), len(cast.reviewers) - 1)]
        by, verdict = {"reviewer": reviewer, "fencing_token": 1}, draw.choice(_VERDICTS)
        claimed = {"from": "pending", "to": "claimed", "version": 2, **by}
        yield self.event("review.claimed", 60.0, claimed, item=True, actor=reviewer)
        decided = {"from": "claimed", "version": 3, "verdict": verdict, **by}
        private = {"reason": "So it is."} if verdict != "approve" else None
        yield self.event(_KINDS[verdict], 120.0, decided, private, item=True, actor=reviewer)

    def event(
        self,
        kind: str,
        later: float,
        facts: dict[str, Any],
        private: dict[str, Any] | None = None,
        *,
        item: bool = False,
        actor: str = "",
    ) -> NewEvent:
        return NewEvent(
            kind=kind,
            actor=f"key:{actor or self.key}",
            tenant=TENANT,
            interaction_id=self.id,
            item_id=self.item if item else None,
            trace_id=self.trace,
            data={**self.facts, **facts},
            private=private,
            subject=self.subject if private else None,
            at=self.at + later,
        )


def _make_months(conn: Connection, end: float) -> None:
    """Partitions are made for the months that the default one holds events of: so one event in each."""
    months = range(int(SPREAD_SECONDS // (28 * 86_400)) + 1)
    first = [NewEvent("calibration.stored", "system", TENANT, at=end - month * 28 * 86_400.0) for month in months]
    audit_log.append_many(conn, [*first, NewEvent("calibration.stored", "system", TENANT, at=end - SPREAD_SECONDS)])
    partitions.ensure_partitions(conn)


def _without_indexes(conn: Connection) -> None:
    for index in _filters():
        index.drop(conn)


def _with_indexes(conn: Connection) -> None:
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql("SET LOCAL statement_timeout = 0")
        conn.exec_driver_sql("SET LOCAL maintenance_work_mem = '512MB'")
    for index in _filters():
        index.create(conn)


def _filters() -> list[sa.Index]:
    return sorted(audit_events.indexes, key=lambda index: str(index.name))


def _ids(draw: random.Random, prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}_{_hex(draw)}" for _ in range(count))


def _hex(draw: random.Random) -> str:
    return f"{draw.getrandbits(96):024x}"
