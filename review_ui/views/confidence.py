"""Confidence: whether the certificate is in force, whether stated confidence is right, and what the audits find."""

from __future__ import annotations

import time

import streamlit as st

from review_ui import confidence_charts as charts
from review_ui import confidence_words as words
from review_ui.components import draw
from review_ui.confidence_figures import CertificateState, ConfidenceFigures, Drift
from review_ui.inert import visible
from review_ui.measured import percent
from review_ui.moments import utc
from review_ui.seat import Seat
from review_ui.signal_words import NAMES
from review_ui.views.asking import asked

STRETCHES = {"Last 7 days": 168, "Last 30 days": 720, "Last 90 days": 2160}
SAY = {
    CertificateState.IN_FORCE: (st.success, "verified_user"),
    CertificateState.SUSPENDED: (st.error, "gpp_bad"),
    CertificateState.NONE: (st.warning, "gpp_maybe"),
}
BOUNDS = ("Domain", "Certified from", "Share released", "Evidence", "Labelled answers")
MOST_ROWS = 26  # of the curve’s points; those between them tell a reader of tables little
STATED = ("Confidence stated", "Right", "95 % interval", "Answers")
BOUGHT = ("Threshold", "Released", "Wrong among them")
DRIFT = ("Signal", "Usually from", "Middle", "Usually to", "Outside lately", "Found")


def show(seat: Seat) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        stretch = st.segmented_control("Over", list(STRETCHES), default="Last 30 days", key="span", required=True)
        st.button("Refresh", icon=":material/refresh:", key="confidence-refresh")
    hours = STRETCHES[stretch or "Last 30 days"]
    found = asked(lambda: seat.gateway.confidence(hours))
    if found is None:
        return
    _certificate(found)
    for first, second in ((_reliability, _risk_coverage), (_released_risk, _watch)):
        left, right = st.columns(2, gap="medium")
        with left:
            first(found)
        with right:
            second(found)
    _drift(found)
    _as_tables(found)
    st.caption(f"As of {utc(time.time(), time.time())}. Hours are UTC.")


def _certificate(found: ConfidenceFigures) -> None:
    certificate = found.certificate
    say, icon = SAY[certificate.state]
    say(f"**{words.TITLES[certificate.state]}.** {words.promise(found)}", icon=f":material/{icon}:")
    if certificate.why and certificate.state is CertificateState.NONE:  # the other states are told in full already
        st.text(visible(certificate.why))
    if to_do := words.to_do(found):
        st.text(to_do)
    with st.container(border=True, key="certificate"):
        st.subheader("Thresholds, by domain", anchor=False)
        if certificate.bounds:
            if certificate.state is CertificateState.SUSPENDED:
                st.text(words.NOT_NOW)
            lines = [draw.Row(bound.domain, words.bound_cells(bound)) for bound in certificate.bounds]
            draw.rows("What the certificate allows in each domain", BOUNDS, lines, key="bounds")
            st.caption(words.HIGHER)
        else:
            st.text(words.NO_BOUNDS)
        draw.facts(_facts(found), key="certificate-facts")


def _facts(found: ConfidenceFigures) -> list[tuple[str, str]]:
    certificate, now = found.certificate, time.time()
    made = "" if certificate.made_at is None else f", made {utc(certificate.made_at, now)}"
    fitted = "" if found.fitted_at is None else f", fitted {utc(found.fitted_at, now)} on {found.fitted_rows:,} answers"
    return [
        ("Certificate", f"{certificate.id or 'none'}{made}"),
        ("Calibration", f"{found.calibration or 'none'}{fitted}"),
        ("Model", found.model or "unknown"),
    ]


def _reliability(found: ConfidenceFigures) -> None:
    st.subheader("Is confidence right?", anchor=False)
    if not found.reliability:
        st.info(words.NO_RELIABILITY, icon=":material/inbox:")
        return
    told = words.reliability(found.reliability)
    st.altair_chart(charts.reliability(found.reliability), key="reliability", alt=f"Reliability diagram: {told}")
    st.caption(
        f"{told} On the dashed diagonal, confidence is exactly right; bars are 95 % intervals; figures along the foot "
        "count the answers."
    )


def _risk_coverage(found: ConfidenceFigures) -> None:
    st.subheader("What a threshold buys", anchor=False)
    if not found.risk_coverage:
        st.info(words.NO_RISK_COVERAGE, icon=":material/inbox:")
        return
    certificate, points = found.certificate, found.risk_coverage
    told = words.risk_coverage(points, certificate.alpha)
    chart = charts.risk_coverage(points, certificate.bounds, certificate.alpha)
    st.altair_chart(chart, key="risk-coverage", alt=f"Risk-coverage curve: {told}")
    in_force = any(bound.threshold is not None for bound in certificate.bounds)
    st.caption(f"{told}{' Diamonds: the certificate’s thresholds, by domain.' if in_force else ''}")


def _released_risk(found: ConfidenceFigures) -> None:
    st.subheader("Wrong among the released", anchor=False)
    risk = found.released_risk
    if risk is None or risk.audited == 0:
        st.info(words.NO_RELEASED_RISK, icon=":material/inbox:")
        return
    told = words.released_risk(risk)
    if risk.estimate is not None:
        st.metric("Estimated from random audits", percent(risk.estimate, 1), border=False)
        chart = charts.released_risk(risk, found.certificate.alpha)
        st.altair_chart(chart, key="released-risk", alt=f"Estimate and interval: {told}")
    st.caption(told)


def _watch(found: ConfidenceFigures) -> None:
    st.subheader("The alarm", anchor=False)
    if found.watch is None or not found.watch.points:
        st.info(words.NO_WATCH, icon=":material/inbox:")
        return
    told = words.watch(found.watch)
    st.altair_chart(charts.watch(found.watch), key="watch", alt=f"Evidence over time, logarithmic: {told}")
    st.caption(f"{told} Each audited answer that is wrong raises the evidence, each right one lowers it.")


def _drift(found: ConfidenceFigures) -> None:
    with st.container(border=True, key="drift"):
        st.subheader("Signals that moved", anchor=False)
        if not found.drift:
            st.text(words.NO_DRIFT)
            return
        st.text(words.drift(found.drift))
        rows = sorted(found.drift, key=lambda row: (not row.warning, -(row.outside or 0.0)))
        moved = [_drift_row(row) for row in rows if row.warning]
        still = [_drift_row(row) for row in rows if not row.warning]
        if moved:
            draw.rows("Signals that moved", DRIFT, moved, key="drift-moved")
        if still:
            with st.expander(f"The other {len(still)} signals" if moved else "All signals"):
                draw.rows("Signals that did not move", DRIFT, still, key="drift-still")
        st.caption(words.DRIFT_IS_NO_ALARM)


def _drift_row(row: Drift) -> draw.Row:
    lies = tuple("–" if value is None else f"{value:.2f}" for value in (row.low, row.middle, row.high))
    name = NAMES.get(row.signal, row.signal)
    return draw.Row(row.signal, (name, *lies, percent(row.outside), "▲ warning" if row.warning else "as usual"))


def _as_tables(found: ConfidenceFigures) -> None:
    """The diagrams' points for who reads tables better, or not at all otherwise."""
    if not found.reliability and not found.risk_coverage:
        return
    with st.expander("The diagrams as tables"):
        stated = [draw.Row(str(n), words.reliability_cells(row)) for n, row in enumerate(found.reliability)]
        points = found.risk_coverage[:: 1 + len(found.risk_coverage) // MOST_ROWS]
        bought = [draw.Row(str(n), words.risk_cells(point)) for n, point in enumerate(points)]
        draw.rows("Is confidence right?", STATED, stated, key="reliability-rows")
        draw.rows("What a threshold buys", BOUGHT, bought, key="risk-coverage-rows")
