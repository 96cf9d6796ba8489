"""A sound history passes the check; one that was doctored in a single point is reported under its invariant."""

import copy
from collections.abc import Callable

import pytest

from tests.faults.checker import INVARIANTS, check
from tests.faults.history import Accepted, Acknowledged, Content, Granted, History, Missing, Probed, hash_of
from tests.faults.snapshot import Row, Snapshot

TEXT = "Answer 1"
HASH = hash_of(TEXT)


class Told:
    """A history and a snapshot that agree: q1 was released, q2 approved, q3 waits, q4 was flagged, q5 audited."""

    def __init__(self) -> None:
        self.history = History()
        self.rows = Snapshot(at=1_000.0, waiting={"rev3", "rev4", "rev5"})
        for number, action in ((1, "release"), (2, "hold"), (3, "hold"), (4, "flag")):
            self.record(number, action)
        self.record(5, "release", audited=True)
        self.approve("rev2", token=1)
        self.say(Content("c1", TEXT, True, "none"))
        self.say(Content("c4", TEXT, True, "pending"))
        self.say(Content("c2", TEXT, True, "approved"))
        self.say(Content("c2", TEXT[:4], False, "approved"))  # a stream that was cut off
        self.say(Probed("GET /v1/reviews/rev2", 404, False))
        self.say(Probed("GET /v1/reviews/rev2", 503, False))

    def say(self, fact: object, at: float = 0.0) -> None:
        self.history.facts.append((at, fact))  # type: ignore[arg-type]

    def record(self, number: int, action: str, audited: bool = False) -> None:
        item = f"rev{number}" if audited or action != "release" else None
        reason = "random_audit" if audited else "low_confidence"
        confidence = 0.9 if action == "release" else 0.5
        interaction = {"id": f"c{number}", "content_hash": HASH, "text": TEXT, "deleted_at": None}
        self.rows.interactions.append({**interaction, "question": f"q{number}"})
        decision = {"id": f"dec{number}", "interaction_id": f"c{number}", "action": action, "content_hash": HASH}
        share = 0.3 if action == "release" else None
        self.rows.decisions.append({**decision, "confidence": confidence, "audit_share": share})
        self.event(None, "interaction.recorded", {}, of=f"c{number}")
        self.event(item, "decision", {"decision_id": f"dec{number}", "action": action}, of=f"c{number}")
        told = None if audited else item  # whoever asked is told nothing of it
        self.say(Acknowledged(f"c{number}", f"q{number}", None, 200, action, told, confidence, "instant"))
        if item:
            row = {"id": item, "interaction_id": f"c{number}", "state": "pending", "version": 1}
            row |= {"action": action, "reason": reason}
            self.rows.items.append({**row, "expires_at": 2_000.0, "claim_expires_at": None})
            self.event(item, "review.created", {"to": "pending", "version": 1})

    def event(self, item: str | None, kind: str, data: Row, of: str = "") -> None:
        interaction = of or self.item(item or "")["interaction_id"]
        self.rows.events.append({"item_id": item, "interaction_id": interaction, "kind": kind, "data": data})

    def forget(self, kind: str, interaction: str) -> None:
        """The log loses an event."""
        mine = [row for row in self.rows.events if (row["kind"], row["interaction_id"]) == (kind, interaction)]
        self.rows.events.remove(mine[0])

    def move(self, kind: str) -> Row:
        """The event of one of q2's steps."""
        return next(row for row in self.rows.events if row["kind"] == kind and row["item_id"] == "rev2")

    def approve(self, item: str, token: int) -> None:
        claimed = {"from": "pending", "to": "claimed", "version": 2, "fencing_token": token, "reviewer": "ada"}
        self.event(item, "review.claimed", claimed)
        decided = {"from": "claimed", "to": "approved", "version": 3, "fencing_token": token, "verdict_id": "ver1"}
        self.event(item, "review.approved", decided)
        self.item(item).update(state="approved", version=3)
        verdict = {"id": "ver1", "item_id": item, "reviewer_id": "ada", "kind": "approve", "final": True}
        self.rows.verdicts.append({**verdict, "content": None, "content_hash": HASH, "fencing_token": token})
        self.say(Granted(item, token, "ada"), at=1.0)
        self.say(Accepted(item, token, "ada", "approve", 2.0, True), at=3.0)

    def item(self, name: str) -> Row:
        return next(row for row in self.rows.items if row["id"] == name)

    def found(self) -> set[str]:
        return {violation.invariant for violation in check(self.history, self.rows)}

    def kinds(self) -> set[str]:
        return {violation.kind for violation in check(self.history, self.rows)}


Doctor = Callable[[Told], object]


def second_verdict(told: Told) -> None:
    told.rows.verdicts.append({**told.rows.verdicts[0], "id": "ver2", "reviewer_id": "bob", "kind": "reject"})


def stale_token(told: Told) -> None:
    """Bob had a newer claim, and had been told so, when Ada's verdict left."""
    told.say(Granted("rev2", 2, "bob"), at=1.5)


def stale_verdict_in_the_database(told: Told) -> None:
    told.rows.verdicts[0]["fencing_token"] = 0


def tokens_repeat(told: Told) -> None:
    event = copy.deepcopy(told.move("review.claimed"))
    event["data"]["version"] = 5
    told.rows.events.append(event)


def another_decision_in_the_log(told: Told) -> None:
    told.rows.decisions[3].update(action="release")  # the event says: flag


def another_verdict_was_acknowledged(told: Told) -> None:
    told.say(Accepted("rev2", 1, "ada", "reject", 2.0, True), at=3.0)


DOCTORED: tuple[tuple[str, str, Doctor], ...] = (
    ("I1", "lost", lambda told: told.rows.interactions.pop(0)),
    ("I1", "lost", lambda told: told.rows.decisions.pop(0)),
    ("I1", "", lambda told: told.rows.decisions.append(dict(told.rows.decisions[0]))),
    ("I1", "", lambda told: told.rows.decisions[2].update(content_hash="0" * 64)),
    ("I1", "lost", lambda told: told.say(Acknowledged("c9", "q9", "name", 202, "hold", None, 0.5, "instant"))),
    ("I1", "lost", lambda told: told.rows.items.remove(told.item("rev3"))),
    ("I1", "lost", lambda told: told.say(Missing("c1"))),
    ("I1", "", lambda told: told.rows.interactions.append({**told.rows.interactions[0], "id": "c8"})),
    ("I1", "", lambda told: told.rows.items.append({**told.item("rev3"), "id": "rev8"})),
    ("I1", "", lambda told: told.item("rev5").update(reason="low_confidence")),
    ("I1", "", lambda told: told.item("rev5").update(action="hold")),
    ("I1", "", lambda told: told.rows.decisions[4].update(audit_share=None)),
    ("I1", "", lambda told: told.item("rev3").update(reason="random_audit")),
    ("I2", "released unreviewed", lambda told: told.say(Content("c3", TEXT, True, "pending"))),
    ("I2", "released unreviewed", lambda told: told.say(Content("c1", "Other words", True, "none"))),
    ("I2", "released unreviewed", lambda told: told.say(Content("c1", "Spliced", False, "none"))),
    ("I2", "released unreviewed", lambda told: told.forget("review.approved", "c2")),
    ("I2", "released unreviewed", lambda told: told.forget("decision", "c1")),
    ("I2", "released unreviewed", lambda told: told.forget("decision", "c4")),
    ("I3", "double verdict", second_verdict),
    ("I3", "double verdict", another_verdict_was_acknowledged),
    ("I3", "lost", lambda told: told.rows.verdicts.clear()),
    ("I3", "lost", lambda told: told.item("rev2").update(state="expired")),
    ("I4", "", stale_token),
    ("I4", "", stale_verdict_in_the_database),
    ("I4", "", tokens_repeat),
    ("I5", "", lambda told: told.forget("review.created", "c3")),
    ("I5", "", lambda told: told.forget("interaction.recorded", "c1")),
    ("I5", "", lambda told: told.forget("interaction.recorded", "c4")),
    ("I5", "", lambda told: told.forget("decision", "c3")),
    ("I5", "", lambda told: told.rows.events.append(dict(told.rows.events[0]))),
    ("I5", "", another_decision_in_the_log),
    ("I5", "", lambda told: told.item("rev2").update(version=4)),
    ("I5", "", lambda told: told.move("review.approved")["data"].update({"from": "pending"})),
    ("I5", "", lambda told: told.item("rev3").update(state="rejected")),
    ("I6", "", lambda told: told.rows.waiting.clear()),
    ("I6", "", lambda told: told.rows.waiting.add("rev2")),
    ("I7", "", lambda told: told.say(Probed("GET /v1/reviews/rev2", 200, False))),
    ("I7", "", lambda told: told.say(Probed("POST /v1/reviews/rev2/claim", 409, False))),
    ("I7", "", lambda told: told.say(Probed("LIST /v1/reviews", 200, True))),
    ("I8", "released unreviewed", lambda told: told.rows.decisions[0].update(confidence=None)),
    (
        "I8",
        "released unreviewed",
        lambda told: told.say(Acknowledged("c1", "q1", None, 200, "release", None, None, "x")),
    ),
    ("I9", "", lambda told: told.item("rev3").update(expires_at=900.0)),
    ("I9", "", lambda told: told.item("rev3").update(state="claimed", claim_expires_at=900.0)),
)


def test_a_sound_history_has_no_violation():
    told = Told()
    assert check(told.history, told.rows) == []


@pytest.mark.parametrize(("invariant", "kind", "doctor"), DOCTORED)
def test_one_doctored_fact_is_reported_under_its_invariant(invariant, kind, doctor):
    told = Told()
    doctor(told)
    assert invariant in told.found()
    assert kind in told.kinds()


def test_each_invariant_is_doctored():
    assert {invariant for invariant, _, _ in DOCTORED} == set(INVARIANTS)


def test_a_deleted_question_whose_content_is_gone_accuses_nobody():
    told = Told()
    told.rows.interactions[0].update(deleted_at=5.0, content_hash="", text=None)
    told.rows.decisions[0].update(content_hash="")
    assert check(told.history, told.rows) == []


def test_what_valkey_was_not_asked_for_is_not_held_against_it():
    told = Told()
    told.rows.waiting = None
    assert check(told.history, told.rows) == []
