"""Holds what everybody was told against what the database keeps, and names each breach of I1 … I9."""

from __future__ import annotations

from tests.faults import answer_checks, review_checks
from tests.faults.evidence import Check, Evidence, Violation
from tests.faults.history import History
from tests.faults.snapshot import Snapshot

INVARIANTS = tuple(f"I{number}" for number in range(1, 10))
CHECKS: tuple[Check, ...] = (
    answer_checks.acknowledged_is_recorded,
    answer_checks.one_question_one_record,
    answer_checks.released_was_decided,
    review_checks.items_are_of_their_decisions,
    review_checks.one_final_verdict,
    review_checks.tokens_only_grow,
    review_checks.transitions_have_events,
    answer_checks.decisions_have_events,
    review_checks.queue_follows_database,
    answer_checks.tenants_are_apart,
    answer_checks.unknown_is_never_released,
    review_checks.every_item_ends,
)


def check(history: History, snapshot: Snapshot) -> list[Violation]:
    evidence = Evidence(history, snapshot)
    return [violation for one in CHECKS for violation in one(evidence)]
