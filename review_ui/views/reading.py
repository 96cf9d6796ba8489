"""What a reviewer reads: the conversation, the answer with its doubts, and why it is here."""

from __future__ import annotations

import time

import streamlit as st

from review_ui.components import draw
from review_ui.moments import local, span, until, utc
from review_ui.reviews import Review
from review_ui.work import Work

WHY = {
    "low_confidence": "The model’s confidence is under the threshold.",
    "unknown_confidence": "No confidence could be computed, so nothing vouches for it.",
    "uncalibrated": "No calibration fits this model, so its confidence means nothing.",
    "unfinished": "The answer was cut off by the token limit.",
    "confident": "It was sure enough, but is reviewed all the same.",
}
WAITS = {"hold": "The caller waits: nothing leaves before your verdict.", "flag": "The caller already has it."}
FINISHES = {"stop": "complete", "length": "cut off by the token limit"}
SIGNAL_NAMES = {
    "mean_logprob": "Mean token log-probability",
    "lowest_logprob": "Least likely token",
    "min_logprob": "Least likely token",
    "prompt_logprob": "How familiar the question is",
    "gate_entropy": "Experts’ disagreement",
}


def conversation(review: Review) -> None:
    st.subheader("Conversation", anchor=False)
    draw.transcript(review.messages, key=f"transcript-{review.summary.id}")


def answer(review: Review) -> None:
    st.subheader("The model’s answer", anchor=False)
    if not review.text:
        st.info("The answer is empty.")
    draw.heat_map(review, key=f"answer-{review.summary.id}")


def why_here(work: Work, review: Review, zone: str | None) -> None:
    summary, now = review.summary, time.time()
    with st.container(border=True, key="why-here"):
        st.subheader("Why it is here", anchor=False)
        threshold = f" The threshold is {summary.threshold:.0%}." if summary.threshold is not None else ""
        st.text(WHY.get(summary.reason, summary.reason) + threshold)
        st.text(WAITS.get(summary.action, ""))
        _confidence(work, review)
        _facts(review, now, zone)
    if review.note:
        with st.container(border=True, key="note"):
            st.subheader("Why there is no confidence", anchor=False)
            st.text(review.note)


def signals(review: Review) -> None:
    """Each measured clue against its range over answers that were right."""
    if review.signals:
        with st.container(border=True, key="signals"):
            st.subheader("Signals against their usual range", anchor=False)
            draw.rows("Signals against their usual range", ("Signal", "Here", "Usually"), signal_rows(review),
                      key=f"signals-{review.summary.id}")  # fmt: skip


def _confidence(work: Work, review: Review) -> None:
    """Hidden until a first judgement, so that the figure does not make it."""
    with st.container(key="confidence"):
        if not work.judged:
            st.caption(":material/visibility_off: Confidence is shown after your first judgement.")
        elif review.summary.confidence is None:
            st.metric("Confidence", "unknown", help="Nothing vouches for this answer.")
        else:
            st.metric("Confidence", f"{review.summary.confidence:.0%}")


def _facts(review: Review, now: float, zone: str | None) -> None:
    summary = review.summary
    claim = review.claim
    here = local(summary.expires_at, zone)
    lines = [
        ("Waiting", f"{span(now - summary.created_at)}, since {utc(summary.created_at, now)}"),
        ("Deadline", f"{until(summary.expires_at, now)}, {utc(summary.expires_at, now)}"),
        *([("In your zone", here)] if here else []),
        *([("Yours until", f"{utc(claim.expires_at, now)}, {until(claim.expires_at, now)}")] if claim else []),
        ("Domain", summary.domain or "unknown"),
        ("Model", review.served_model or summary.model),
        ("Calibration", review.calibration or "none"),
        ("Policy", review.policy_name),
        ("Finish", FINISHES.get(review.finish_reason, review.finish_reason)),
        ("Review", summary.id),
    ]
    draw.facts(lines, key=f"facts-{summary.id}")


def signal_rows(review: Review) -> list[draw.Row]:
    """One row a signal; ▲ or ▼ and words where it lies outside the usual range."""
    rows = []
    for name, value in review.signals.items():
        limits = review.signal_ranges.get(name)
        usual = f"{limits[0]:.2f} to {limits[2]:.2f}" if limits else "not known"
        rows.append(draw.Row(name, (signal_name(name), _here(value, limits), usual)))
    return rows


def signal_name(name: str) -> str:
    return SIGNAL_NAMES.get(name, name.replace("_", " ").capitalize())


def _here(value: float | None, limits: tuple[float, float, float] | None) -> str:
    if value is None:
        return "missing"
    if limits and value < limits[0]:
        return f"{value:.2f} ▼ low"
    if limits and value > limits[2]:
        return f"{value:.2f} ▲ high"
    return f"{value:.2f}"
