"""The checks of what callers and strangers were told: I1, I2, I5 of answers, I7 and I8."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.faults.evidence import Evidence, Violation
from tests.faults.history import Content, hash_of
from tests.faults.snapshot import Row


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
            if decision["action"] in ("release", "flag") and told_in_the_log(evidence, decision):
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


def decisions_have_events(evidence: Evidence) -> Iterator[Violation]:
    """I5: what was recorded and decided has one event of each, and that of the decision tells the same."""
    for decided in evidence.snapshot.decisions:
        interaction = decided["interaction_id"]
        kinds = [row["kind"] for row in evidence.events_of.get(interaction, [])]
        for kind in ("interaction.recorded", "decision"):
            if kinds.count(kind) != 1:
                yield Violation("I5", f"{kinds.count(kind)} events {kind} of it", (interaction,))
        if "decision" in kinds and not told_in_the_log(evidence, decided):
            yield Violation("I5", "the log tells another decision", (interaction, decided["id"]))


def told_in_the_log(evidence: Evidence, decided: Row) -> bool:
    """Whether an event tells of this very decision and what it was."""
    wanted = (decided["id"], decided["action"])
    told = [row["data"] for row in evidence.events_of.get(decided["interaction_id"], []) if row["kind"] == "decision"]
    return any((data["decision_id"], data["action"]) == wanted for data in told)


def tenants_are_apart(evidence: Evidence) -> Iterator[Violation]:
    """I7: a foreign id is not found, behind whatever door; 429 and 5xx say nothing of it."""
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
