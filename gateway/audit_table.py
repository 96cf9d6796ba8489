"""Shows audit events as a table in a terminal; what a caller wrote cannot steer the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

COLUMNS = (("Time (UTC)", True), ("Kind", True), ("Who", False), ("What", False), ("About", False), ("Leaf", True))
TOLD = ("name", "action", "verdict", "reason", "to", "model", "reviewer")  # of an event's facts, in this order


def show(events: Sequence[dict[str, Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name, whole in COLUMNS:
        table.add_column(name, no_wrap=whole, overflow="fold", justify="right" if name == "Leaf" else "left")
    for event in events:
        table.add_row(*(Text(plain(cell)) for cell in cells(event)))
    Console().print(table)


def cells(event: dict[str, Any]) -> tuple[str, ...]:
    """One line: an event that is not sealed yet shows no leaf."""
    at = f"{datetime.fromtimestamp(event['at'], UTC):%Y-%m-%d %H:%M:%S}"
    about = event["item_id"] or event["interaction_id"] or ""
    leaf = "unsealed" if event["leaf_index"] is None else str(event["leaf_index"])
    return at, event["kind"], event["actor"], words({**event["data"], **(event["private"] or {})}), about, leaf


def words(data: dict[str, Any]) -> str:
    told = [str(data[name]) for name in TOLD if isinstance(data.get(name), str) and data[name]]
    if isinstance(data.get("confidence"), int | float):
        told.append(f"{data['confidence']:.0%}")
    return ", ".join(told)


def plain(text: str) -> str:
    """Control characters, which could move the cursor or colour a lie, as the replacement character."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
