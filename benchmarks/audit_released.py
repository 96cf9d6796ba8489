"""Records released answers in groups with the sealer beside: how many events a second, how soon are they sealed?"""

from __future__ import annotations

import bisect
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from benchmarks.audit_made import SUBJECTS, TENANT
from benchmarks.queue_leases import percentile
from storage import keys, sealing
from storage.audit_tables import audit_events, audit_leaves
from storage.checkpoint_file import CheckpointFile
from storage.checkpoints import Signer
from storage.database import Database, now
from storage.ids import new_id
from storage.merkle import Frontier
from storage.recording import Recording, record_many
from storage.records import Action, Decision, Interaction, Key, Reason, Role
from storage.storable import content_hash

GROUP = 200  # answers that one commit records
EVENTS_EACH = 2  # audit events of a released answer: it was recorded, it was decided
TURN_SECONDS = 0.5  # the sealer rests so long when nothing waits


@dataclass
class Sealer:
    """Seals in a thread of its own until it is told to stop and nothing waits."""

    database: Database
    signer: Signer
    outside: CheckpointFile
    sizes: list[int] = field(default_factory=list)  # of the tree, after each turn
    times: list[float] = field(default_factory=list)  # monotonic seconds, when that turn was committed
    stop: threading.Event = field(default_factory=threading.Event)
    failed: BaseException | None = None

    def run(self) -> None:
        try:
            frontier: Frontier | None = None
            while True:
                stopping = self.stop.is_set()  # before the turn: what was committed until then is sealed by it
                with self.database.transaction() as conn:
                    turn = sealing.seal(conn, self.signer, frontier=frontier)
                frontier = turn.frontier
                if turn.sealed:
                    self.sizes.append(turn.size)
                    self.times.append(time.monotonic())
                    self.outside.publish(self.database)
                elif stopping:
                    return
                else:
                    self.stop.wait(TURN_SECONDS)
        except BaseException as error:
            self.failed = error

    def sealed_at(self, leaf: int) -> float:
        """Monotonic seconds when the turn that gave this leaf its place was committed."""
        return self.times[bisect.bisect_right(self.sizes, leaf)]


def measure(database: Database, signer: Signer, outside: CheckpointFile, seconds: float, seed: int) -> dict[str, float]:
    """`append_per_s`, audit events committed a second; `seal_lag_p99_ms`, from a commit until its leaves' commit."""
    draw = random.Random(seed)
    with database.transaction() as conn:
        caller, _ = keys.create(conn, TENANT, "asks", {Role.CALLER})
    sealer = Sealer(database, signer, outside)
    thread = threading.Thread(target=sealer.run)
    thread.start()
    begun, commits = time.monotonic(), []
    try:
        while time.monotonic() < begun + seconds and sealer.failed is None:
            commits.append(_group(database, caller, draw))
        taken = time.monotonic() - begun
    finally:
        sealer.stop.set()
        thread.join()
    if sealer.failed is not None:
        raise sealer.failed
    lags = _lags(database, sealer, commits)
    return {
        "append_per_s": round(len(commits) * GROUP * EVENTS_EACH / taken, 1),
        "seal_lag_p99_ms": round(percentile(lags, 0.99) * 1000, 1),
        "commit_p99_ms": round(percentile([commit[1] for commit in commits], 0.99) * 1000, 1),
    }


def _group(database: Database, caller: Key, draw: random.Random) -> tuple[float, float, str]:
    """When it was committed, in how many seconds, and the id of its last interaction."""
    started = time.monotonic()
    with database.transaction() as conn:
        at = now(conn)
        group = [_released(caller, at, draw) for _ in range(GROUP)]
        record_many(conn, group)
    ended = time.monotonic()
    return ended, ended - started, group[-1].interaction.id


def _lags(database: Database, sealer: Sealer, commits: Sequence[tuple[float, float, str]]) -> list[float]:
    """Seconds from each commit until its last event's leaf was committed."""
    table = audit_events.c
    query = sa.select(table.interaction_id, sa.func.max(audit_leaves.c.leaf_index))
    query = query.join_from(audit_events, audit_leaves, audit_leaves.c.event_id == table.id)
    leaves: dict[str, int] = {}
    for start in range(0, len(commits), 500):
        some = [interaction for _, _, interaction in commits[start : start + 500]]
        with database.read() as conn:
            found: Any = conn.execute(query.where(table.interaction_id.in_(some)).group_by(table.interaction_id))
            leaves.update((row[0], row[1]) for row in found)
    return [max(0.0, sealer.sealed_at(leaves[interaction]) - at) for at, _, interaction in commits]


def _released(caller: Key, at: float, draw: random.Random) -> Recording:
    sure, number = 0.85 + draw.random() * 0.15, draw.randrange(10**6)
    text = f"{number} * 2 = {2 * number}. The answer is {2 * number}."
    asked = Interaction(
        id=new_id("chatcmpl"), tenant=TENANT, key_id=caller.id, model="countersign-reference",
        served_model="countersign-reference@0123456789ab",
        messages=({"role": "user", "content": f"What is {number} * 2?"},),
        params={"user": f"person {draw.randrange(SUBJECTS)}"},
        answer={"text": text, "finish_reason": "stop", "tokens": [], "confidence": {"value": sure}},
        content_hash=content_hash(text), confidence=sure, calibration_id="cal_1", created_at=at,
        request_id=new_id("req"), trace_id=f"{draw.getrandbits(128):032x}",
    )  # fmt: skip
    decided = Decision(
        id=new_id("dec"), interaction_id=asked.id, action=Action.RELEASE, reason=Reason.CONFIDENT, confidence=sure,
        threshold=0.85, calibration_id="cal_1", policy_id=caller.policy.id, policy_version=caller.policy.version,
        content_hash=asked.content_hash, created_at=at,
    )  # fmt: skip
    return Recording(asked, decided)
