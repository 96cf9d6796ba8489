"""Traffic: how sure the model was, how much a person had to read, and how fast."""

from __future__ import annotations

import time

import altair as alt
import streamlit as st

from review_ui.figures import ACTIONS, Figures
from review_ui.moments import span, utc
from review_ui.seat import Seat
from review_ui.views.asking import asked

STRETCHES = {"Last hour": 1, "Last 24 hours": 24, "Last 7 days": 168}
COLORS = {"release": "#2f857e", "flag": "#b7791f", "hold": "#c2560c", "escalate": "#6b5fb5"}
HEIGHT = 230


def show(seat: Seat) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        stretch = st.segmented_control("Over", list(STRETCHES), default="Last 24 hours", key="stretch", required=True)
        st.button("Refresh", icon=":material/refresh:", key="monitoring-refresh")
    hours = STRETCHES[stretch or "Last 24 hours"]
    found = asked(lambda: seat.gateway.traffic(hours))
    if found is None:
        return
    _headline(found)
    if found.answers == 0:
        st.info("No answers in this stretch of time.", icon=":material/inbox:")
        return
    _charts(found)
    st.caption(f"As of {utc(time.time(), time.time())}. Hours are UTC.")


def _headline(found: Figures) -> None:
    places = st.columns(5)
    places[0].metric("Answers", f"{found.answers:,}", border=True)
    places[1].metric(
        "Review rate", _share(found.review_rate), border=True, help="Share of answers that a person reviews"
    )
    places[2].metric("Waiting now", found.queue_depth, border=True)
    oldest = found.oldest_waiting_seconds
    places[3].metric("Oldest waiting", "none" if oldest is None else span(oldest), border=True)
    median = found.median_seconds_to_verdict
    places[4].metric("Median to verdict", "none" if median is None else span(median), border=True)


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.0%}"


def _charts(found: Figures) -> None:
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Confidence, by what was done", anchor=False)
        if found.histogram:
            st.altair_chart(histogram(found), key="histogram", alt=_histogram_words(found))
        else:
            st.info("No answer in this stretch had a confidence.")
        st.subheader("Verdicts", anchor=False)
        st.altair_chart(verdicts(found), key="verdicts-chart", alt=_counts_words("Verdicts", found.verdicts))
    with right:
        st.subheader("Answers an hour", anchor=False)
        st.altair_chart(volume(found), key="volume", alt=_counts_words("Answers", found.actions))
        st.subheader("Review rate an hour", anchor=False)
        st.altair_chart(rate(found), key="rate", alt=f"Review rate over time; overall {_share(found.review_rate)}")


def _action_color(found: Figures) -> alt.Color:
    happened = [action for action in ACTIONS if found.actions.get(action)]
    scale = alt.Scale(domain=happened, range=[COLORS[action] for action in happened])
    return alt.Color("action:N", scale=scale, legend=alt.Legend(title=None, orient="top"))


def histogram(found: Figures) -> alt.LayerChart:
    """Bars of answers by confidence, with the threshold as a dashed line."""
    bars = (
        alt.Chart(alt.Data(values=found.histogram))
        .mark_bar()
        .encode(
            x=alt.X("from:Q", bin=alt.BinParams(binned=True), title="Confidence", scale=alt.Scale(domain=[0, 1]),
                    axis=alt.Axis(format="%")),
            x2="to:Q",
            y=alt.Y("answers:Q", title="Answers"),
            color=_action_color(found),
            tooltip=["action:N", "answers:Q", alt.Tooltip("from:Q", format=".0%"), alt.Tooltip("to:Q", format=".0%")],
        )
    )  # fmt: skip
    if found.threshold is None:
        return alt.layer(bars).properties(height=HEIGHT)
    place = alt.Data(values=[{"at": found.threshold, "label": f"threshold {found.threshold:.0%}"}])
    line = alt.Chart(place).mark_rule(strokeDash=[6, 4], strokeWidth=2, color="#8a9491").encode(x="at:Q")
    name = alt.Chart(place).mark_text(align="right", dx=-6, baseline="top", color="#8a9491").encode(
        x="at:Q", y=alt.value(4), text="label:N")  # fmt: skip
    return alt.layer(bars, line, name).properties(height=HEIGHT)


def _hour_axis() -> alt.X:
    # unix milliseconds are UTC; the scale keeps them so whatever the browser's zone
    return alt.X(
        "hour:T", title=None, scale=alt.Scale(type="utc"), axis=alt.Axis(format="%d %b %H:%M", labelOverlap=True)
    )


def volume(found: Figures) -> alt.Chart:
    return (
        alt.Chart(alt.Data(values=found.volume))
        .mark_bar()
        .encode(x=_hour_axis(), y=alt.Y("answers:Q", title="Answers"), color=_action_color(found),
                tooltip=["action:N", "answers:Q"])
        .properties(height=HEIGHT)
    )  # fmt: skip


def rate(found: Figures) -> alt.Chart:
    return (
        alt.Chart(alt.Data(values=found.rate))
        .mark_line(point=alt.OverlayMarkDef(color=COLORS["hold"]), color=COLORS["hold"])
        .encode(x=_hour_axis(), 
                y=alt.Y("rate:Q", title="Reviewed", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
                tooltip=[alt.Tooltip("rate:Q", format=".0%")])
        .properties(height=HEIGHT)
    )  # fmt: skip


def verdicts(found: Figures) -> alt.Chart:
    rows = [{"verdict": name, "count": count} for name, count in found.verdicts.items()]
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(color=COLORS["release"])
        .encode(y=alt.Y("verdict:N", title=None, sort=None, axis=alt.Axis(labelOverlap=False)),
                x=alt.X("count:Q", title="Verdicts"),
                tooltip=["verdict:N", "count:Q"])
        .properties(height=190)
    )  # fmt: skip


def _histogram_words(found: Figures) -> str:
    under = sum(row["answers"] for row in found.histogram if found.threshold and row["to"] <= found.threshold)
    total = sum(row["answers"] for row in found.histogram)
    return f"Histogram of confidence: {under} of {total} answers lie under the threshold."


def _counts_words(what: str, counts: dict[str, int]) -> str:
    return f"{what}: " + ", ".join(f"{count} {name}" for name, count in counts.items())
