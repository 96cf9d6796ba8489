"""Paging by keyset: the cursors of the pages seen so far, so that one can go back."""

from __future__ import annotations

import streamlit as st


def current(name: str, filters: str) -> str | None:
    """The cursor of the page in view; the first page has none, and other filters start over."""
    trail = _trail(name, filters)
    return trail[-1] if trail else None


def pager(name: str, filters: str, following: str | None, rows: int) -> None:
    trail = _trail(name, filters)
    if not trail and following is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Earlier page", icon=":material/chevron_left:", key=f"{name}-back", disabled=not trail,
                  on_click=_back, args=(trail,))  # fmt: skip
        st.caption(f"Page {len(trail) + 1}, {rows} rows", width="content")
        st.button("Next page", icon=":material/chevron_right:", icon_position="right", key=f"{name}-on",
                  disabled=following is None, on_click=_on, args=(trail, following))  # fmt: skip


def _trail(name: str, filters: str) -> list[str]:
    held: tuple[str, list[str]] | None = st.session_state.get(f"trail-{name}")
    if held is None or held[0] != filters:
        held = st.session_state[f"trail-{name}"] = (filters, [])
    return held[1]


def _on(trail: list[str], following: str | None) -> None:
    if following is not None:
        trail.append(following)


def _back(trail: list[str]) -> None:
    if trail:
        trail.pop()
