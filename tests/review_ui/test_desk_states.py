"""The desk's states, each drawn by Streamlit's own test driver over a gateway double."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.review_ui.gateway_double import GatewayDouble
from tests.review_ui.samples import item


def desk_script(url: str, secret: str, dwell: float, skills: tuple[str, ...] | None = None) -> None:
    from review_ui.client import Gateway, Me, connect
    from review_ui.seat import Seat
    from review_ui.settings import Settings
    from review_ui.views import desk

    me = Me("key_ada", "Ada Lovelace", "acme", frozenset({"reviewer"}), skills)
    desk.show(Seat(Gateway(connect(url, 5.0), secret), me, Settings(dwell_seconds=dwell, undo_seconds=0)))


def open_desk(url: str, dwell: float = 0.0) -> AppTest:
    return AppTest.from_function(desk_script, args=(url, "csk_ada", dwell), default_timeout=30).run()


def said(app: AppTest) -> str:
    """Everything in words on the page."""
    kinds = (
        app.title,
        app.subheader,
        app.text,
        app.markdown,
        app.caption,
        app.info,
        app.warning,
        app.error,
        app.success,
    )
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if label in button.label).click().run()


def test_an_empty_queue_says_so_and_offers_nothing(double: GatewayDouble, gateway_url: str) -> None:
    double.items.clear()

    app = open_desk(gateway_url)

    assert "Nothing waits for you" in said(app)
    assert [button.disabled for button in app.button] == [True]


def test_a_waiting_item_can_be_claimed_and_then_offers_no_preselected_verdict(gateway_url: str) -> None:
    app = open_desk(gateway_url)
    assert "1 answer waits" in said(app)

    press(app, "Claim the next")

    assert [button.label for button in app.button] == ["Approve", "Edit", "Reject", "Refer", "Skip"]
    assert "under the threshold" in said(app)
    assert app.query_params["item"] == "rev_0000"


def test_an_approval_is_sent_and_confirmed_with_the_confidence(double: GatewayDouble, gateway_url: str) -> None:
    app = press(open_desk(gateway_url), "Claim the next")
    assert "61%" not in said(app)

    press(app, "Approve")

    assert double.items["rev_0000"]["state"] == "approved"
    assert "Approved: the model’s answer is released. The model’s confidence was 61%" in said(app)


def test_a_verdict_before_the_item_could_be_read_does_not_count(double: GatewayDouble, gateway_url: str) -> None:
    app = press(open_desk(gateway_url, dwell=3600), "Claim the next")

    press(app, "Approve")

    assert double.items["rev_0000"]["state"] == "claimed"
    assert "too quick" in said(app)


def test_a_decision_by_another_is_told_with_their_name(double: GatewayDouble, gateway_url: str) -> None:
    app = press(open_desk(gateway_url), "Claim the next")
    double.decided_by_another("rev_0000", "Grace Hopper")

    press(app, "Approve")

    assert "Already decided: rejected" in said(app)
    assert "Grace Hopper" in said(app)


def test_an_item_that_another_reviewer_reads_is_not_offered(double: GatewayDouble, gateway_url: str) -> None:
    double.items["rev_0000"] |= {"state": "claimed", "claimed_by": {"id": "key_g", "name": "Grace Hopper"}}
    app = AppTest.from_function(desk_script, args=(gateway_url, "csk_ada", 0.0), default_timeout=30)
    app.query_params["item"] = "rev_0000"

    app.run()

    assert "Someone else has this review" in said(app)
    assert [button.label for button in app.button] == ["Claim the next"]


def test_a_gateway_that_fails_gives_a_sentence_and_a_way_to_try_again(double: GatewayDouble, gateway_url: str) -> None:
    app = press(open_desk(gateway_url), "Claim the next")
    double.broken = True

    app.run()

    assert "The database does not answer." in said(app)
    assert "may be out of date" in said(app)
    assert all(button.disabled for button in app.button if button.label != "Try again")


def test_a_claim_held_before_a_restart_is_found_again(double: GatewayDouble, gateway_url: str) -> None:
    double.add_item(item(1, 0.0))
    press(open_desk(gateway_url), "Claim the next")

    fresh = open_desk(gateway_url)

    assert "Approve" in [button.label for button in fresh.button]
