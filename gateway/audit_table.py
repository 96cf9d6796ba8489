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
NARROW = (("Time (UTC), leaf", True), ("Kind", True), ("What, about, who", False))
WIDE_ENOUGH = 150  # characters; in fewer, six columns would fold ids that people copy
TOLD = ("name", "action", "verdict", "reason", "to", "model", "reviewer")  # of an event's facts, in this order


def show(events: Sequence[dict[str, Any]]) -> None:
    console = Console()
    is_wide = console.width >= WIDE_ENOUGH
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name, whole in COLUMNS if is_wide else NARROW:
        table.add_column(name, no_wrap=whole, overflow="fold", justify="right" if name == "Leaf" else "left")
    for event in events:
        line = tuple(plain(cell) for cell in cells(event))
        table.add_row(*(Text(cell) for cell in (line if is_wide else stacked(line))))
    console.print(table)


def stacked(line: tuple[str, ...]) -> tuple[str, ...]:
    """The cells of COLUMNS as those of NARROW, which fit into 80 characters with their ids whole."""
    at, kind, who, what, about, leaf = line
    return f"{at}\n{leaf}", kind, "\n".join(each for each in (what, about, who) if each)


def cells(event: dict[str, Any]) -> tuple[str, ...]:
    """One line: an event that is not sealed yet shows no leaf."""
    at = f"{datetime.fromtimestamp(event['at'], UTC):%Y-%m-%d %H:%M:%S}"
    about = event["item_id"] or event["interaction_id"] or ""
    leaf = "unsealed" if event["leaf_index"] is None else str(event["leaf_index"])
    facts = {**event["data"], **(event["private"] or {})}
    if event["actor"] == f"key:{facts.get('reviewer')}":  # told by `Who`
        del facts["reviewer"]
    return at, event["kind"], event["actor"], words(facts), about, leaf


def words(data: dict[str, Any]) -> str:
    told = [str(data[name]) for name in TOLD if isinstance(data.get(name), str) and data[name]]
    if isinstance(data.get("confidence"), int | float):
        told.append(f"{data['confidence']:.0%}")
    return ", ".join(told)


def plain(text: str) -> str:
    """Control characters, which could move the cursor or colour a lie, as the replacement character."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
