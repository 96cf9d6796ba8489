"""The frame around the views: who is signed in, and which views they may open. Streamlit runs this file."""

from __future__ import annotations

import html
from pathlib import Path

import httpx2
import streamlit as st

from review_ui.client import Gateway, Me, connect
from review_ui.faults import GatewayFault, SignedOut
from review_ui.headers import KEY_COOKIE
from review_ui.inert import visible
from review_ui.seat import Seat
from review_ui.settings import Settings
from review_ui.views import audit, desk, monitoring, waiting
from storage.records import Role

STYLE = Path(__file__).with_name("shell.css")
ICON = Path(__file__).with_name("icon.svg")  # a named icon would be fetched from elsewhere
LOGO = Path(__file__).with_name("logo.svg")


@st.cache_resource
def settings() -> Settings:
    return Settings()


@st.cache_resource
def connection() -> httpx2.Client:
    return connect(settings().gateway_url, settings().gateway_timeout_seconds)


def main() -> None:
    st.set_page_config(page_title="Countersign", page_icon=str(ICON), layout="wide")
    st.html(STYLE)
    st.logo(str(LOGO), size="medium")
    key = st.context.cookies.get(KEY_COOKIE)
    try:
        if not key:
            raise SignedOut("You are not signed in.")
        gateway = Gateway(connection(), key)
        seat = Seat(gateway, known(gateway, key), settings())
        view = views(seat)
        if view is not st.session_state.get("desk-page"):
            desk.finish(seat)
        view.run()
    except SignedOut as fault:
        st.session_state.pop("me", None)
        signed_out(str(fault))
    except GatewayFault as fault:
        st.error(f"{fault} Nothing is lost: drafts and claims are kept by the gateway.", icon=":material/cloud_off:")
        st.button("Try again", icon=":material/refresh:")


def known(gateway: Gateway, key: str) -> Me:
    """Asked once a browser session; every later request is checked by the gateway anyway."""
    found: tuple[str, Me] | None = st.session_state.get("me")
    if found is None or found[0] != key:
        found = st.session_state["me"] = (key, gateway.whoami())
    return found[1]


def views(seat: Seat) -> st.Page:
    """The views this person's roles allow, the desk first for a reviewer."""
    pages: list[st.Page] = []
    if seat.me.may(Role.REVIEWER):
        pages.append(st.Page(lambda: desk.show(seat), title="Desk", url_path="desk", default=True))
        st.session_state["desk-page"] = pages[0]  # the queue leads there
        pages.append(st.Page(lambda: waiting.show(seat), title="Queue", url_path="queue"))
    if seat.me.may(Role.REVIEWER, Role.AUDITOR):
        pages.append(st.Page(lambda: monitoring.show(seat), title="Monitoring", url_path="monitoring"))
    if seat.me.may(Role.AUDITOR):
        pages.append(st.Page(lambda: audit.show(seat), title="Audit", url_path="audit"))
    if not pages:
        pages.append(st.Page(lambda: nothing_allowed(seat), title="No view", url_path="none", default=True))
    st.html(
        f'<div class="who">{html.escape(visible(seat.me.name))} <a href="/signout" target="_self">Sign out</a></div>'
    )
    return st.navigation(pages, position="top")


def nothing_allowed(seat: Seat) -> None:
    st.warning(f"The key of {seat.me.name} may neither review nor audit. Ask an admin for one that may.")
    st.html('<a href="/signout" target="_self">Sign out</a>')


def signed_out(why: str) -> None:
    st.warning(why, icon=":material/lock:")
    st.html('<a href="/signin" target="_self">Sign in</a>')


main()
