"""Capacity: which threshold these reviewers and this error budget allow, or that none does."""

from __future__ import annotations

import streamlit as st

from review_ui import capacity_chart, capacity_words
from review_ui.capacity_figures import Capacity, Wish
from review_ui.inert import visible
from review_ui.seat import Seat
from review_ui.views.asking import asked


def show(seat: Seat) -> None:
    wish = _wish()
    found = asked(lambda: seat.gateway.capacity(wish))
    if found is not None:
        _advice(found, wish)


def _wish() -> Wish:
    """What the form says, from its first moment on."""
    with st.form("capacity", enter_to_submit=True):
        columns = st.columns(4, vertical_alignment="bottom")
        hours = columns[0].number_input(
            "Reviewers’ hours a day", 0.1, 10_000.0, 8.0, 1.0, "%.1f", key="capacity-hours", help="Of all together."
        )
        minutes = columns[1].number_input("Minutes per item", 0.1, 1_440.0, 3.0, 0.5, "%.1f", key="capacity-minutes")
        budget = columns[2].number_input(
            "Error budget, in %", 0.0, 100.0, 2.0, 0.5, "%.1f", key="capacity-budget",
            help="Share of the released answers that may be wrong.",
        )  # fmt: skip
        asks = columns[3].number_input(
            "Answers a day", 1, 100_000_000, None, 100, key="capacity-asks", placeholder="as over the last 30 days"
        )
        st.form_submit_button("Work it out", type="primary")
    return Wish(hours, minutes, budget / 100, asks)


def _advice(found: Capacity, wish: Wish) -> None:
    told = capacity_words.advice(found, wish)
    if found.chosen is not None:
        st.success(told, icon=":material/task_alt:")
    elif found.curve:
        st.warning(told, icon=":material/block:")
    else:
        st.info(told, icon=":material/inbox:")
    if not found.curve:
        if found.why:
            st.text(visible(found.why))
        return
    st.subheader("Reviews a day against errors released", anchor=False)
    st.altair_chart(capacity_chart.curve(found, wish), key="capacity-curve", alt=capacity_words.described(found))
    st.caption(f"Left of and under both dashed lines, both wishes are met. {capacity_words.PREDICTED}")
