"""The diagram in docs/review-lifecycle.md and TRANSITIONS in code are the same."""

import re
from pathlib import Path

from storage.audit_log import EVENT_KINDS
from storage.records import OPEN_STATES, ItemState
from storage.review_moves import TRANSITIONS

_DOCUMENT = (Path(__file__).parents[2] / "docs" / "review-lifecycle.md").read_text(encoding="utf-8")
_DIAGRAM = _DOCUMENT.split("```mermaid", 1)[1].split("```", 1)[0]
_ARROWS = re.findall(r"^\s+(\S+) --> (\S+)$", _DIAGRAM, re.MULTILINE)


def test_every_arrow_is_a_transition_and_every_transition_an_arrow() -> None:
    drawn = {(ItemState(start), ItemState(end)) for start, end in _ARROWS if "[*]" not in (start, end)}
    assert drawn == TRANSITIONS


def test_final_states_are_those_that_nothing_leaves() -> None:
    drawn = {ItemState(start) for start, end in _ARROWS if end == "[*]"}
    assert drawn == set(ItemState) - OPEN_STATES == set(ItemState) - {start for start, _ in TRANSITIONS}


def test_an_item_begins_pending() -> None:
    assert [end for start, end in _ARROWS if start == "[*]"] == ["pending"]


def test_every_state_is_explained() -> None:
    assert {state.value for state in ItemState} <= set(re.findall(r"^\| (\w+) \|", _DOCUMENT, re.MULTILINE))


def test_every_event_that_is_named_exists_and_every_review_event_is_named() -> None:
    named = set(re.findall(r"`((?:review|verdict)\.\w+)`", _DOCUMENT))
    assert named == {kind for kind in EVENT_KINDS if kind.startswith(("review.", "verdict."))}
