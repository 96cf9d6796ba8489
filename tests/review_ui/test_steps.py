"""Self-verified steps on the desk: their place in the answer, their words, and what a random audit says."""

from __future__ import annotations

from typing import Any

import pytest

from review_ui import step_words
from review_ui.components.spans import MOST_PIECES, pieces, placed
from review_ui.reviews import Review, Step, StepState, Token, review
from review_ui.verdict_words import confirmation, note_label, proposed, send_label
from review_ui.views.reading import AUDIT, WHY
from storage.records import Reason, VerdictKind
from tests.review_ui.gateway_double import GatewayDouble
from tests.review_ui.samples import checked, item
from tests.review_ui.test_desk_states import open_desk, press, said


def token(text: str) -> Token:
    return Token(text, -0.1, (("other", -3.0),))


def step(start: int, end: int, state: StepState = StepState.VALID, why: str = "") -> Step:
    return Step(start, end, state, why)


def case(**changes: Any) -> Review:
    return review(checked(item(0, 0.0)) | changes)


def test_a_token_is_parted_where_a_step_begins_or_ends_and_still_tells_of_the_whole() -> None:
    drawn = pieces([token("1 + 1"), token(" = 2. So"), token(" it is.")], [step(0, 8), step(9, 13)])

    assert [(piece["text"], piece["step"]) for piece in drawn] == [
        ("1 + 1", 0), (" = ", 0), ("2", None), (". So", 1), (" it is.", None),
    ]  # fmt: skip
    assert {piece["token"] for piece in drawn if piece["step"] == 1} == {" = 2. So"}
    assert all(piece["alternatives"] == [["other", pytest.approx(0.0498, abs=1e-4)]] for piece in drawn)


@pytest.mark.parametrize("steps", [[], [step(0, 11)], [step(3, 4), step(4, 9)], [step(0, 1), step(10, 11)]])
def test_the_pieces_spell_the_answer_whatever_the_steps(steps: list[Step]) -> None:
    drawn = pieces([token("ab"), token("cdefg"), token(""), token("hijk")], steps)

    assert "".join(piece["text"] for piece in drawn) == "abcdefghijk"


def test_of_very_many_pieces_the_rest_is_drawn_as_one() -> None:
    drawn = pieces([token("x")] * (MOST_PIECES + 500), [step(0, MOST_PIECES + 500)])

    assert len(drawn) == MOST_PIECES + 1
    assert drawn[-1] == {"text": "x" * 500, "token": "", "probability": 1.0, "alternatives": [], "step": None}


def test_steps_that_have_no_place_in_the_text_are_not_drawn() -> None:
    odd = [step(-1, 3), step(0, 4), step(2, 6), step(5, 5), step(6, 8), step(8, 99)]

    assert placed(odd, 10) == (step(0, 4), step(6, 8))


def test_only_what_is_wrong_is_told_in_a_word_within_the_answer() -> None:
    marks = [step_words.badge(step(0, 1, state), 2) for state in StepState]

    assert marks == ["✓ 2", "✗ 2 wrong", "○ 2"]
    assert step_words.told(step(0, 1, StepState.INVALID, "2 is \u202e3"), 2) == "Step 2: wrong. 2 is ⟨U+202E⟩3"
    assert step_words.tally(case().steps) == "1 wrong, 1 right, 1 not checked"


def test_a_state_that_the_desk_does_not_know_says_nothing_of_the_step() -> None:
    shown = case(steps=[{"start": 0, "end": 3, "state": "brilliant", "why": None}])

    assert shown.steps == (step(0, 3, StepState.UNKNOWN),)


def test_every_reason_has_words_on_the_desk() -> None:
    assert {str(reason) for reason in Reason} <= WHY.keys()
    assert {"uncertified", "drift", "random_audit"} <= WHY.keys()


def test_the_desk_lists_what_is_wrong_and_unfolds_the_rest(double: GatewayDouble, gateway_url: str) -> None:
    double.items["rev_0000"] |= checked(item(0, 0.0))

    app = press(open_desk(gateway_url), "Claim the next")

    assert "Steps, checked by computation" in said(app)
    assert "The other steps: 1 right, 1 not checked" in [fold.label for fold in app.expander]
    assert step_words.LIMIT in said(app)


def test_an_answer_without_steps_says_nothing_of_them(gateway_url: str) -> None:
    assert "Steps" not in said(press(open_desk(gateway_url), "Claim the next"))


def test_a_random_audit_says_that_the_caller_has_it_and_what_the_verdict_does(
    double: GatewayDouble, gateway_url: str
) -> None:
    double.items["rev_0000"] |= {"action": "release", "reason": "random_audit", "audit": True}

    app = press(open_desk(gateway_url), "Claim the next")
    assert AUDIT in said(app)
    assert "nothing leaves before your verdict" not in said(app)
    press(app, "Approve")

    assert "Approved: the answer that the caller has counts as right." in said(app)


@pytest.mark.parametrize("action", ["flag", "release"])
def test_of_an_answer_that_the_caller_has_nothing_is_released_or_kept_back(action: str) -> None:
    there, held = case(action=action).summary, case().summary

    assert "released" not in confirmation(VerdictKind.REJECT, there)
    assert (note_label(VerdictKind.REJECT, there), note_label(VerdictKind.REJECT, held)) == (
        "Why is it wrong?", "Why must it not leave?",
    )  # fmt: skip
    assert send_label(VerdictKind.EDIT, there) == "Correct it with my text"
    assert proposed(VerdictKind.EDIT, there) == "You correct it with your own text"
    assert proposed(VerdictKind.EDIT, held) == "You release your own text"
