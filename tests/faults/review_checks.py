"""The checks of what became of review items: I1 of items, I3, I4, I5, I6 and I9."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.faults.evidence import Evidence, Violation
from tests.faults.snapshot import Row

OPEN = frozenset({"pending", "claimed", "referred"})
FINAL = {"approve": "approved", "edit": "edited", "reject": "rejected"}
OVERDUE_SECONDS = 15.0  # how long a sweep may take to end what is due


def items_are_of_their_decisions(evidence: Evidence) -> Iterator[Violation]:
    """I1: what is held or flagged has its item; what was released has one only if it was drawn for audit."""
    for interaction, decided in evidence.decisions.items():
        items = evidence.items_of.get(interaction, [])
        for decision in decided:
            if decision["action"] in ("hold", "flag") and not items:
                yield Violation("I1", "to be reviewed, and without a review item", (interaction,), "lost")
            for item in items:
                drawn = item["reason"] == "random_audit"
                could_be = decision["action"] == "release" and bool(decision["audit_share"])
                if item["action"] != decision["action"] or drawn != could_be:
                    yield Violation("I1", "its review item is of another decision", (interaction, item["id"]))


def one_final_verdict(evidence: Evidence) -> Iterator[Violation]:
    """I3: at most one final verdict an item, and each that was acknowledged is the one that stands."""
    for item, given in evidence.verdicts.items():
        if sum(bool(verdict["final"]) for verdict in given) > 1:
            yield Violation("I3", "several final verdicts", (item,), "double verdict")
    told: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for _, fact in evidence.accepted:
        kept = [row for row in evidence.verdicts.get(fact.item, []) if row["reviewer_id"] == fact.reviewer]
        if fact.what in (*FINAL, "refer") and not any(row["kind"] == fact.what for row in kept):
            yield Violation("I3", f"the acknowledged verdict {fact.what} is gone", (fact.item, fact.reviewer), "lost")
        if fact.final:
            told[fact.item].add((fact.reviewer, fact.what))
            if evidence.items.get(fact.item, {"state": None})["state"] != FINAL[fact.what]:
                yield Violation("I3", f"acknowledged as {FINAL[fact.what]}, now otherwise", (fact.item,), "lost")
    for item, verdicts in told.items():
        if len(verdicts) > 1:
            yield Violation("I3", "several verdicts were acknowledged as final", (item,), "double verdict")


def tokens_only_grow(evidence: Evidence) -> Iterator[Violation]:
    """I4: each claim has a higher token than the last; nothing is written under a token that was superseded."""
    first_told: dict[tuple[str, int], float] = {}
    for at, grant in evidence.granted:
        first_told.setdefault((grant.item, grant.token), at)
    newer: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for (item, token), at in first_told.items():
        newer[item].append((token, at))
    for _, fact in evidence.accepted:
        if any(token > fact.token and at < fact.sent_at for token, at in newer[fact.item]):
            yield Violation("I4", f"{fact.what} under the superseded token {fact.token}", (fact.item, fact.reviewer))
    for item, events in evidence.events.items():
        claims = sorted((row["data"]["version"], row["data"]["fencing_token"]) for row in events if is_claim(row))
        tokens = [token for _, token in claims]
        if tokens != sorted(set(tokens)):
            yield Violation("I4", f"tokens {tokens} do not grow", (item,))
        yield from stale_verdicts(evidence, item, events)


def stale_verdicts(evidence: Evidence, item: str, events: list[Row]) -> Iterator[Violation]:
    """A verdict names the token it came under; it must be the item's, and its claimant's, at that moment."""
    holder = {row["data"]["fencing_token"]: row["data"].get("reviewer") for row in events if is_claim(row)}
    tokens = {row["data"].get("verdict_id"): row["data"].get("fencing_token") for row in events}
    for verdict in evidence.verdicts.get(item, []):
        token = verdict["fencing_token"]
        if (
            token != tokens.get(verdict["id"], token)
            or holder.get(token, verdict["reviewer_id"]) != (verdict["reviewer_id"])
        ):
            yield Violation("I4", f"a verdict under the stale token {token}", (item, verdict["id"]))


def is_claim(row: Row) -> bool:
    return bool(row["kind"] == "review.claimed")


def transitions_have_events(evidence: Evidence) -> Iterator[Violation]:
    """I5: versions 1 … n, one event each, each from where the last one led, the last one where the item is."""
    for item in evidence.snapshot.items:
        moves = [row["data"] for row in evidence.events.get(item["id"], []) if "to" in row["data"]]
        moves.sort(key=lambda data: data["version"])
        versions = [data["version"] for data in moves]
        if versions != list(range(1, item["version"] + 1)):
            yield Violation("I5", f"version {item['version']} with events of {versions}", (item["id"],))
        elif any(one["to"] != two.get("from") for one, two in pairwise(moves)):
            yield Violation("I5", "its events do not lead into one another", (item["id"],))
        elif moves[-1]["to"] != item["state"]:
            yield Violation("I5", f"{item['state']} after an event to {moves[-1]['to']}", (item["id"],))


def queue_follows_database(evidence: Evidence) -> Iterator[Violation]:
    """I6: Valkey holds what waits, and nothing else."""
    if evidence.snapshot.waiting is None:
        return
    pending = {row["id"] for row in evidence.snapshot.items if row["state"] == "pending"}
    for one in sorted(pending - evidence.snapshot.waiting):
        yield Violation("I6", "waits and is not queued", (one,))
    for one in sorted(evidence.snapshot.waiting - pending):
        yield Violation("I6", "is queued and does not wait", (one,))


def every_item_ends(evidence: Evidence) -> Iterator[Violation]:
    """I9: what is open has a deadline to come; what is past it has been swept."""
    for item in evidence.snapshot.items:
        if item["state"] in OPEN and item["expires_at"] < evidence.snapshot.at - OVERDUE_SECONDS:
            yield Violation("I9", f"{item['state']} past its deadline", (item["id"],))
        lapsed = item["claim_expires_at"]
        if item["state"] == "claimed" and lapsed is not None and lapsed < evidence.snapshot.at - OVERDUE_SECONDS:
            yield Violation("I9", "claimed under a lease that ran out", (item["id"],))
