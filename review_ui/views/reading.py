"""What a reviewer reads: the conversation, the answer with its doubts, and why it is here."""

from __future__ import annotations

import time

import streamlit as st

from review_ui import step_words
from review_ui.components import draw
from review_ui.inert import shortened
from review_ui.moments import local, span, until, utc
from review_ui.reviews import Review, Step, StepState
from review_ui.signal_words import Clue, clues
from review_ui.work import Work

WHY = {
    "low_confidence": "The model’s confidence is under the threshold.",
    "unknown_confidence": "No confidence could be computed, so nothing vouches for it.",
    "uncalibrated": "No calibration fits this model, so its confidence means nothing.",
    "unfinished": "The answer was cut off by the token limit.",
    "uncertified": "No certificate vouches for releases of this kind yet.",
    "drift": "Releases are suspended, for too many wrong answers among them or by an operator: everything is reviewed "
    "until recertified.",
    "random_audit": "It was drawn at random from the answers that were released, to learn how many of those are right.",
    "confident": "It was sure enough, but is reviewed all the same.",
}
WAITS = {"hold": "The caller waits: nothing leaves before your verdict.", "flag": "The caller already has it."}
AUDIT = "The caller already has this answer; your verdict corrects it and tells how right released answers are."
FINISHES = {"stop": "complete", "length": "cut off by the token limit"}


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
        st.text(WHY.get(summary.reason, summary.reason))
        if review.audit:
            st.info(AUDIT, icon=":material/shuffle:")
        else:
            st.text(WAITS.get(summary.action, ""))
        _confidence(work, review)
        _facts(review, now, zone)
    if review.note:
        with st.container(border=True, key="note"):
            st.subheader("Why there is no confidence", anchor=False)
            st.text(review.note)


def steps(review: Review) -> None:
    """What computation found of each step: what is wrong is in sight, the others can be unfolded."""
    if not review.steps:
        return
    numbered, key = list(enumerate(review.steps, 1)), review.summary.id
    wrong = [(number, step) for number, step in numbered if step.state is StepState.INVALID]
    others = [(number, step) for number, step in numbered if step.state is not StepState.INVALID]
    with st.container(border=True, key="steps"):
        st.subheader("Steps, checked by computation", anchor=False)
        if wrong:
            _step_table("Steps that are wrong", review, wrong, f"wrong-steps-{key}")
        else:
            st.text("None was found wrong.")
        if others:
            told = step_words.tally([step for _, step in others])
            with st.expander(f"{'The other' if wrong else 'All'} steps: {told}"):
                _step_table("The other steps", review, others, f"other-steps-{key}")
        st.caption(step_words.LIMIT)


def _step_table(caption: str, review: Review, lines: list[tuple[int, Step]], key: str) -> None:
    rows = [
        draw.Row(str(number), (f"{number}  {step_words.state(step)}", _says(review, step), step.why or "–"))
        for number, step in lines
    ]
    draw.rows(caption, ("Step", "What it says", "Why"), rows, key=key)


def _says(review: Review, step: Step) -> str:
    return shortened(review.text[step.start : step.end], 120)


def signals(review: Review) -> None:
    """The clues that lie outside their range over answers that were right; the others can be unfolded."""
    if not review.signals:
        return
    found, key = clues(review), review.summary.id
    unusual = [clue for clue in found if clue.unusual]
    usual = [clue for clue in found if not clue.unusual]
    with st.container(border=True, key="signals"):
        st.subheader("Signals outside their usual range", anchor=False)
        if unusual:
            _clue_table("Signals outside their usual range", unusual, f"unusual-{key}")
        else:
            st.text("None: every signal is where it is for answers that were right." if review.signal_ranges
                    else "Not known: no calibration tells the usual ranges.")  # fmt: skip
        if usual:
            with st.expander("The other signal" if len(usual) == 1 else f"The other {len(usual)} signals"):
                _clue_table("The other signals", usual, f"usual-{key}")


def _clue_table(caption: str, lines: list[Clue], key: str) -> None:
    rows = [draw.Row(clue.name, (clue.name, clue.here, clue.usually)) for clue in lines]
    draw.rows(caption, ("Signal", "Here", "Usually"), rows, key=key)


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
    here = local(summary.expires_at, zone)
    lines = [
        ("Waiting", f"{span(now - summary.created_at)}, since {utc(summary.created_at, now)}"),
        ("Deadline", f"{until(summary.expires_at, now)}, {utc(summary.expires_at, now)}"),
        *([("In your time", here)] if here else []),
        *([("Threshold", f"{summary.threshold:.0%}")] if summary.threshold is not None else []),
        ("Domain", summary.domain or "unknown"),
        *([("Compared with", _compared(review.samples))] if review.samples else []),
        ("Model", review.served_model or summary.model),
        ("Calibration", review.calibration or "none"),
        ("Policy", review.policy_name),
        ("Tier", summary.tier),
        ("Finish", FINISHES.get(review.finish_reason, review.finish_reason)),
        ("Review", summary.id),
    ]
    draw.facts(lines, key=f"facts-{summary.id}")


def _compared(samples: int) -> str:
    return (
        "1 further answer to the same question" if samples == 1 else f"{samples} further answers to the same question"
    )
