"""Mounts the dashboard's own components; data travels as JSON and becomes text, never markup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from review_ui.components.spans import pieces, placed, spelled
from review_ui.inert import visible
from review_ui.reviews import Review, Step
from review_ui.step_words import badge, told

HERE = Path(__file__).parent
LIMITS = (0.9, 0.6, 0.3)  # probabilities from which a token counts as sure, mild, doubtful; under the last: a guess
HEAT_MAP_HTML = """<div class="answer">
<p class="text" tabindex="0" dir="auto" aria-label="The model's answer"></p><p class="detail" aria-live="polite"></p>
<ul class="legend" aria-label="Legend"><li><span class="token mild">60–90 % likely</span></li>
<li><span class="token doubtful">30–60 %</span></li><li><span class="token guess">under 30 %</span></li>
<li>no line: 90 % or more</li>
<li class="of-steps"><span class="step valid" data-mark="✓"></span>step right</li>
<li class="of-steps"><span class="step invalid" data-mark="✗"></span>step wrong</li>
<li class="of-steps"><span class="step unknown" data-mark="○"></span>step not checked</li></ul></div>"""


def _source(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


_transcript = st.components.v2.component(
    "countersign_transcript",
    html='<div class="transcript"></div>',
    css=_source("transcript.css"),
    js=_source("transcript.js"),
)
_heat_map = st.components.v2.component(
    "countersign_heat_map", html=HEAT_MAP_HTML, css=_source("heat_map.css"), js=_source("heat_map.js")
)
_editor = st.components.v2.component(
    "countersign_editor", html=_source("editor.html"), css=_source("editor.css"), js=_source("editor.js")
)
_rows = st.components.v2.component(
    "countersign_rows",
    html='<div class="frame"><table></table></div>',
    css=_source("rows.css"),
    js=_source("rows.js"),
)
_facts = st.components.v2.component(
    "countersign_facts", html='<dl class="facts"></dl>', css=_source("facts.css"), js=_source("facts.js")
)


def facts(lines: Sequence[tuple[str, str]], key: str) -> None:
    """Names and values, one pair a line."""
    _facts(key=key, data={"lines": [[name, visible(value)] for name, value in lines]})


def transcript(messages: Sequence[dict[str, Any]], key: str) -> None:
    """Every message, the system prompt among them."""
    rows = [{"role": str(m.get("role", "?")), "text": visible(message_text(m.get("content")))} for m in messages]
    _transcript(key=key, data={"messages": rows})


def message_text(content: Any) -> str:
    """A message's words; parts that are not text are named in brackets."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = [part if isinstance(part, dict) else {} for part in content]
    return "\n".join(str(p["text"]) if "text" in p else f"[{p.get('type', 'unknown')} part]" for p in parts)


def heat_map(review: Review, key: str) -> None:
    """The answer, token by token and step by step, and its plain text too where the tokens do not spell it exactly."""
    tokens, steps = spelled(review.tokens, review.text), placed(review.steps, len(review.text))
    if tokens is None:
        st.caption("The tokens do not spell the answer exactly. This is the text that an approval releases:")
        _transcript(key=f"{key}-plain", data={"messages": [{"role": "Answer", "text": visible(review.text)}]})
        st.caption("And these are the tokens with their probabilities:")
        tokens, steps = review.tokens, ()  # steps have their place in the text, which is another one
    data = {"tokens": pieces(tokens, steps), "limits": list(LIMITS), "steps": [_step(review, step) for step in steps]}
    _heat_map(key=key, data=data)


def _step(review: Review, step: Step) -> dict[str, str]:
    number = review.steps.index(step) + 1
    return {"state": step.state, "mark": badge(step, number), "says": told(step, number)}


@dataclass(frozen=True, slots=True)
class Form:
    """What the editor shows: a verdict's kind, its text (edit only), its reason, and ready-made reasons."""

    id: str  # another id is another form; the same one keeps what was typed
    kind: str
    original: str
    text: str
    note: str
    note_label: str
    send_label: str
    reasons: tuple[str, ...]


def editor(
    form: Form, key: str, on_draft: Callable[[], None], on_submit: Callable[[], None], on_cancel: Callable[[], None]
) -> None:
    """Session state under `key` holds `draft`, `submit` or `cancel`: {"form", "text", "note"}."""
    data = {
        "form": form.id, "kind": form.kind, "original": form.original, "text": form.text, "note": form.note,
        "note_label": form.note_label, "send_label": form.send_label, "reasons": list(form.reasons),
    }  # fmt: skip
    _editor(key=key, data=data, on_draft_change=on_draft, on_submit_change=on_submit, on_cancel_change=on_cancel)


@dataclass(frozen=True, slots=True)
class Row:
    id: str
    cells: tuple[str, ...]
    action: str | None = None  # what the first cell's button does, for screen readers; None: no button
    marked: bool = False


def rows(caption: str, columns: Sequence[str], lines: Sequence[Row], key: str) -> str | None:
    """A table; the id of the row that was just picked, or None."""
    data = {
        "caption": caption,
        "columns": list(columns),
        "rows": [
            {"id": line.id, "cells": [visible(c) for c in line.cells], "action": line.action, "marked": line.marked}
            for line in lines
        ],
    }
    result = _rows(key=key, data=data, on_picked_change=lambda: None)
    picked = result.picked
    return None if picked is None else str(picked)
