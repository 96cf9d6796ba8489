"""What a case tells of an answer's steps, of what it was compared with, and of its being a random audit."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.review_shapes import Desk, detail
from storage.records import Action, Key, Outcome, Policy, Role, Vouched
from tests.storage import made

ADA = Key("key_ada", "acme", "Ada", frozenset({Role.REVIEWER}), Policy("pol_1"), 0.0)
ASKER = Key("key_chat", "acme", "chat", frozenset({Role.CALLER}), Policy("pol_1"), 0.0)
ANSWER = {
    "text": "2 + 2 = 5", "finish_reason": "stop", "tokens": [], "confidence": {"samples": 3},
    "steps": [[0, 9, "invalid", "2 + 2 is 4"]],
}  # fmt: skip


def case(action: Action, *, answer: dict[str, Any] = ANSWER, own: bool = False) -> dict[str, Any]:
    asked = made.interaction(ASKER, ANSWER["text"], answer=answer)
    item = made.item(asked, 1_000.0, action=action)
    outcome = Outcome(asked, made.decision(asked, action), item, None, Vouched.OURS)
    return detail(Desk(outcome, item, {}, own, None, {}, "default"), ADA)


def test_an_answer_of_before_steps_were_checked_has_none() -> None:
    shown = case(Action.HOLD, answer={"text": "2 + 2 = 5", "finish_reason": "stop", "tokens": []})

    assert (shown["steps"], shown["samples"]) == ([], 0)


@pytest.mark.parametrize(("action", "audit"), [(Action.HOLD, False), (Action.FLAG, False), (Action.RELEASE, True)])
def test_only_an_answer_that_left_on_its_own_confidence_is_a_random_audit(action: Action, audit: bool) -> None:
    assert case(action)["audit"] is audit


def test_who_asked_sees_no_steps_of_an_answer_that_is_withheld_from_them() -> None:
    withheld, shown = case(Action.HOLD, own=True), case(Action.HOLD)

    assert (withheld["steps"], withheld["samples"]) == ([], 0)
    assert shown["steps"] == [{"start": 0, "end": 9, "state": "invalid", "why": "2 + 2 is 4"}]
