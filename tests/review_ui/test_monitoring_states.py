"""Monitoring's states, each drawn by Streamlit's own test driver over a gateway double."""

from __future__ import annotations

import time

from streamlit.testing.v1 import AppTest

from review_ui import confidence_words as words
from review_ui.views.asking import OLD
from tests.review_ui.confidence_samples import nothing_yet, suspended
from tests.review_ui.gateway_double import GatewayDouble
from tests.review_ui.test_desk_states import said


def monitoring_script(url: str) -> None:
    from review_ui.client import Gateway, Me, connect
    from review_ui.seat import Seat
    from review_ui.settings import Settings
    from review_ui.views import monitoring

    me = Me("key_ada", "Ada Lovelace", "acme", frozenset({"reviewer"}))
    monitoring.show(Seat(Gateway(connect(url, 5.0), "csk_ada"), me, Settings()))


def opened(url: str, part: str) -> AppTest:
    app = AppTest.from_function(monitoring_script, args=(url,), default_timeout=30)
    app.session_state["monitoring-part"] = part
    return app.run()


def charts(app: AppTest) -> int:
    return len(app.get("vega_lite_chart"))


def test_the_certificates_state_comes_first_and_every_figure_is_drawn(gateway_url: str) -> None:
    app = opened(gateway_url, "Confidence")

    assert app.success[0].value.startswith("**The certificate is in force.** Of the answers released")
    assert charts(app) == 4
    assert "1 of 3 signals has moved" in said(app)
    assert "Warnings, not alarms" in said(app)


def test_a_gateway_that_was_just_started_says_what_would_make_each_figure_appear(
    double: GatewayDouble, gateway_url: str
) -> None:
    double.confidence = nothing_yet()

    app = opened(gateway_url, "Confidence")

    assert charts(app) == 0
    for sentence in (words.NO_RELIABILITY, words.NO_RISK_COVERAGE, words.NO_RELEASED_RISK, words.NO_WATCH,
                     words.NO_DRIFT, words.NO_BOUNDS, "with 188 more, a certificate can be made"):  # fmt: skip
        assert sentence in said(app)


def test_a_suspended_certificate_is_told_whatever_is_looked_at(double: GatewayDouble, gateway_url: str) -> None:
    double.confidence = suspended(time.time())

    for part in ("Traffic", "Confidence", "Capacity"):
        assert "suspended: everything is held" in opened(gateway_url, part).error[0].value


def test_an_old_gateway_shows_its_traffic_and_says_why_it_tells_no_more(
    double: GatewayDouble, gateway_url: str
) -> None:
    double.confidence = None

    assert charts(opened(gateway_url, "Traffic")) == 4
    for part in ("Confidence", "Capacity"):
        assert OLD in said(opened(gateway_url, part))


def test_a_fault_of_the_gateway_is_told_in_its_words_and_nothing_in_them_is_markup(
    double: GatewayDouble, gateway_url: str
) -> None:
    double.confidence = {"model": "x"}
    assert "unexpected shape \\(KeyError\\:" in opened(gateway_url, "Confidence").error[0].value

    double.broken = True
    assert "The database does not answer" in opened(gateway_url, "Confidence").error[0].value


def test_hours_and_budget_become_one_threshold_or_the_statement_that_none_does(gateway_url: str) -> None:
    app = opened(gateway_url, "Capacity")
    assert "Release from a confidence of 84.0 % on" in app.success[0].value
    assert "about 119 a day of the 160 there is time for" in app.success[0].value  # of as many as lately
    assert charts(app) == 1

    app.number_input(key="capacity-asks").set_value(5000)
    app.button[0].click().run()

    assert "No threshold meets both." in app.warning[0].value
