"""Asks the gateway for figures, and puts on the screen why there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from review_ui.faults import GatewayFault, Missing, SignedOut
from review_ui.inert import literal

Value = TypeVar("Value")
OLD = "This gateway does not tell these figures: it is of an earlier version than this dashboard. Update the gateway."


def asked(read: Callable[[], Value]) -> Value | None:
    """What `read` tells; None once its fault is on the screen. Raises SignedOut."""
    try:
        return read()
    except SignedOut:
        raise
    except Missing:
        st.info(OLD, icon=":material/update:")
    except GatewayFault as fault:
        st.error(literal(str(fault)), icon=":material/cloud_off:")
    return None
