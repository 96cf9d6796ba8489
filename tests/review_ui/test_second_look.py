"""Two people who must agree, and items that are for others: what the desk says of them."""

from __future__ import annotations

import inspect

import pytest
from streamlit.testing.v1 import AppTest

from review_ui.client import Me
from review_ui.faults import CONFLICTS
from review_ui.reviews import review
from review_ui.verdict_words import REASONS
from review_ui.views import judging, waiting
from review_ui.views.desk import listed
from storage import errors
from storage.records import VerdictKind
from tests.review_ui import samples
from tests.review_ui.gateway_double import GatewayDouble
from tests.review_ui.test_desk_states import desk_script, open_desk, press, said


def test_every_refusal_of_storage_has_words_on_the_desk() -> None:
    conflicts = {
        kind.code
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.Conflict) and "item" in inspect.signature(kind.__init__).parameters
    }
    assert conflicts <= CONFLICTS.keys()
    assert set(waiting.BARRED) <= CONFLICTS.keys()


def test_the_second_person_reads_who_proposed_what(double: GatewayDouble, gateway_url: str) -> None:
    double.four_eyes("rev_0000", "Grace Hopper", "edit", "Better words.")
    app = press(open_desk(gateway_url), "Claim the next")
    assert "yours is the second look" in said(app)
    assert "Grace Hopper would release this text instead: “a slip”" in said(app)
    assert "To agree, press Edit" in said(app)


def test_the_first_person_reads_that_another_must_agree_and_is_told_so_again(
    double: GatewayDouble, gateway_url: str
) -> None:
    double.items["rev_0000"] |= {"four_eyes": True, "proposal": None, "opinions": []}
    app = press(open_desk(gateway_url), "Claim the next")
    assert "Your word is kept, and another person looks" in said(app)
    press(app, "Approve")
    assert "Approved: nothing is released yet, a second person must agree with you." in said(app)


def test_one_person_who_decides_alone_reads_nothing_of_it(gateway_url: str) -> None:
    app = press(open_desk(gateway_url), "Claim the next")
    assert "another person" not in said(app)


def test_editing_begins_with_the_proposed_text_and_offers_to_agree(double: GatewayDouble) -> None:
    double.add_item(samples.item(0, 0.0))
    double.four_eyes("rev_0000", "Grace Hopper", "edit", "Better words.")
    shown = review(double.items["rev_0000"])
    assert judging._first_text(shown) == "Better words."
    assert judging._reasons(shown, VerdictKind.EDIT)[0] == "I agree with Grace Hopper"
    assert judging._reasons(shown, VerdictKind.REJECT) == REASONS[VerdictKind.REJECT]


@pytest.mark.parametrize("code", ["not_skilled", "referred_by_self", "own_request"])
def test_an_item_for_others_is_not_offered_and_says_why(double: GatewayDouble, gateway_url: str, code: str) -> None:
    double.items["rev_0000"] |= {"barred_by": code}
    app = AppTest.from_function(desk_script, args=(gateway_url, "csk_ada", 0.0), default_timeout=30)
    app.query_params["item"] = "rev_0000"
    app.run()
    assert "This review is not for you" in said(app)
    assert CONFLICTS[code] in said(app)
    assert [button.label for button in app.button] == ["Claim the next"]
    press(app, "Claim the next")
    assert "Nothing waits that is yours to decide." in said(app)


def test_a_reviewers_skills_are_told_where_nothing_is_in_hand(double: GatewayDouble, gateway_url: str) -> None:
    skills = ("arithmetic", "word-problem")
    app = AppTest.from_function(desk_script, args=(gateway_url, "csk_ada", 0.0, skills), default_timeout=30).run()
    assert "You decide arithmetic, word-problem; others are asked" in said(app)


def test_skills_stay_text_in_a_caption() -> None:
    assert listed(["![x](http://evil)", "law"]) == "\\!\\[x\\]\\(http\\:\\/\\/evil\\), law"


def test_who_decides_everything_is_told_nothing_of_skills(gateway_url: str) -> None:
    assert Me("key_1", "Ada", "acme", frozenset()).skills is None
    assert "others are asked" not in said(open_desk(gateway_url))
