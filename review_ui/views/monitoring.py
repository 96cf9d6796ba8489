"""Monitoring: the certificate's state above all, then traffic, confidence or capacity."""

from __future__ import annotations

import streamlit as st

from review_ui import confidence_words as words
from review_ui.confidence_figures import CertificateState
from review_ui.faults import GatewayFault, SignedOut
from review_ui.seat import Seat
from review_ui.views import capacity, confidence, traffic

PARTS = {"Traffic": traffic.show, "Confidence": confidence.show, "Capacity": capacity.show}


def show(seat: Seat) -> None:
    st.title("Monitoring", anchor=False)
    part = st.segmented_control("Show", list(PARTS), default="Traffic", key="monitoring-part", required=True)
    if part != "Confidence":
        _suspended(seat)
    PARTS[part or "Traffic"](seat)


def _suspended(seat: Seat) -> None:
    """That everything is held must be seen whatever is looked at; a shorter time asks less of the gateway."""
    try:
        found = seat.gateway.confidence(hours=1)
    except SignedOut:
        raise
    except GatewayFault:
        return  # what is looked at says what is wrong
    if found.certificate.state is CertificateState.SUSPENDED:
        title, what = words.TITLES[CertificateState.SUSPENDED], words.promise(found)
        st.error(f"**{title}.** {what} Open “Confidence” for what to do.", icon=":material/gpp_bad:")
