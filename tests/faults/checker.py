"""Holds what everybody was told against what the database keeps, and names each breach of I1 … I9."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.faults.history import Accepted, Acknowledged, Content, Granted, History, Missing, Probed, hash_of
from tests.faults.snapshot import Row, Snapshot

OPEN = frozenset({"pending", "claimed", "referred"})
FINAL = {"approve": "approved", "edit": "edited", "reject": "rejected"}
OVERDUE_SECONDS = 15.0  # how long a sweep may take to end what is due
INVARIANTS = tuple(f"I{number}" for number in range(1, 10))


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach. `kind` is "lost", "released unreviewed", "double verdict" or ""."""

    invariant: str
    what: str
    ids: tuple[str, ...]
    kind: str = ""


class Evidence:
    """The history and the snapshot, indexed."""

    def __init__(self, history: History, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.acknowledged = [fact for _, fact in history.of(Acknowledged) if isinstance(fact, Acknowledged)]
        self.contents = [fact for _, fact in history.of(Content) if isinstance(fact, Content)]
        self.granted = [(at, fact) for at, fact in history.of(Granted) if isinstance(fact, Granted)]
        self.accepted = [(at, fact) for at, fact in history.of(Accepted) if isinstance(fact, Accepted)]
        self.probes = [fact for _, fact in history.of(Probed) if isinstance(fact, Probed)]
        self.missing = [fact for _, fact in history.of(Missing) if isinstance(fact, Missing)]
        self.interactions = {row["id"]: row for row in snapshot.interactions}
        self.decisions = grouped(snapshot.decisions, "interaction_id")
        self.items = {row["id"]: row for row in snapshot.items}
        self.items_of = grouped(snapshot.items, "interaction_id")
        self.verdicts = grouped(snapshot.verdicts, "item_id")
        self.events = grouped([row for row in snapshot.events if row["item_id"]], "item_id")


Check = Callable[[Evidence], Iterator[Violation]]


def check(history: History, snapshot: Snapshot) -> list[Violation]:
    evidence = Evidence(history, snapshot)
    return [violation for one in CHECKS for violation in one(evidence)]


def grouped(rows: list[Row], column: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[column]].append(row)
    return found


def acknowledged_is_recorded(evidence: Evidence) -> Iterator[Violation]:
    """I1: one interaction with one decision over the same content; the item that was told of is there."""
    for told in evidence.acknowledged:
        row = evidence.interactions.get(told.interaction)
        decided = evidence.decisions.get(told.interaction, [])
        if row is None or not decided:
            yield Violation("I1", "acknowledged and not recorded", (told.interaction, told.question), "lost")
        elif len(decided) > 1:
            yield Violation("I1", "decided several times", (told.interaction,))
        elif row["deleted_at"] is None and decided[0]["content_hash"] != row["content_hash"]:
            yield Violation("I1", "decided over other content than recorded", (told.interaction,))
        if told.item is not None and told.item not in evidence.items:
            yield Violation("I1", "its review item is not recorded", (told.interaction, told.item), "lost")
    for gone in evidence.missing:
        yield Violation("I1", "acknowledged and then not found", (gone.interaction,), "lost")


def one_question_one_record(evidence: Evidence) -> Iterator[Violation]:
    """I1: however often a question was sent, one interaction and at most one item came of it."""
    recorded: dict[str, set[str]] = defaultdict(set)
    for row in evidence.snapshot.interactions:
        if row["question"]:
            recorded[row["question"]].add(row["id"])
    for told in evidence.acknowledged:
        recorded[told.question].add(told.interaction)
    for question, ids in recorded.items():
        if len(ids) > 1:
            yield Violation("I1", "one question became several records", (question, *sorted(ids)))
    for interaction, items in evidence.items_of.items():
        if len(items) > 1:
            yield Violation("I1", "one interaction has several review items", (interaction,))


def released_was_decided(evidence: Evidence) -> Iterator[Violation]:
    """I2: every text that reached a caller was let out by a committed decision or verdict over that very text."""
    events = {row["data"].get("verdict_id") for row in evidence.snapshot.events}
    for seen in evidence.contents:
        row = evidence.interactions.get(seen.interaction)
        if row is None:
            yield Violation("I2", "content of an unknown interaction", (seen.interaction,), "released unreviewed")
            continue
        allowed: list[tuple[str, str | None]] = []  # (hash, text where it is still kept)
        for decision in evidence.decisions.get(seen.interaction, []):
            if decision["action"] in ("release", "flag"):
                allowed.append((decision["content_hash"], row["text"]))
        for item in evidence.items_of.get(seen.interaction, []):
            for verdict in evidence.verdicts.get(item["id"], []):
                if verdict["final"] and verdict["kind"] in ("approve", "edit") and verdict["id"] in events:
                    text = verdict["content"] if verdict["kind"] == "edit" else row["text"]
                    allowed.append((verdict["content_hash"], text))
        if row["deleted_at"] is not None and allowed and not all(hash_ for hash_, _ in allowed):
            continue  # taken back meanwhile: nothing is left to compare with
        if not any(fits(seen, *one) for one in allowed):
            yield Violation("I2", "text without a decision over it", (seen.interaction,), "released unreviewed")


def fits(seen: Content, hash_: str, text: str | None) -> bool:
    """A whole text by its hash; one that was cut off must at least begin as the recorded one does."""
    return hash_of(seen.text) == hash_ if seen.complete else text is None or text.startswith(seen.text)


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


def tenants_are_apart(evidence: Evidence) -> Iterator[Violation]:
    """I7: a foreign id is not found, behind whatever door."""
    for probe in evidence.probes:
        if probe.foreign_seen:
            yield Violation("I7", "another tenant's row was listed", (probe.path,))
        elif not probe.path.startswith("LIST") and probe.status < 500 and probe.status not in (404, 429):
            yield Violation("I7", f"answered {probe.status} instead of 404", (probe.path,))


def unknown_is_never_released(evidence: Evidence) -> Iterator[Violation]:
    """I8: no decision to release, and no text, without a confidence."""
    for row in evidence.snapshot.decisions:
        if row["action"] == "release" and row["confidence"] is None:
            yield Violation("I8", "released without a confidence", (row["interaction_id"],), "released unreviewed")
    for told in evidence.acknowledged:
        if told.action == "release" and told.confidence is None:
            yield Violation("I8", "told released without a confidence", (told.interaction,), "released unreviewed")


def every_item_ends(evidence: Evidence) -> Iterator[Violation]:
    """I9: what is open has a deadline to come; what is past it has been swept."""
    for item in evidence.snapshot.items:
        if item["state"] in OPEN and item["expires_at"] < evidence.snapshot.at - OVERDUE_SECONDS:
            yield Violation("I9", f"{item['state']} past its deadline", (item["id"],))
        lapsed = item["claim_expires_at"]
        if item["state"] == "claimed" and lapsed is not None and lapsed < evidence.snapshot.at - OVERDUE_SECONDS:
            yield Violation("I9", "claimed under a lease that ran out", (item["id"],))


CHECKS: tuple[Check, ...] = (
    acknowledged_is_recorded,
    one_question_one_record,
    released_was_decided,
    one_final_verdict,
    tokens_only_grow,
    transitions_have_events,
    queue_follows_database,
    tenants_are_apart,
    unknown_is_never_released,
    every_item_ends,
)
