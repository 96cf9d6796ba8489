"""What a verdict is called while it is asked for, before it is sent, and once it has counted."""

from __future__ import annotations

from review_ui.reviews import Summary
from storage.records import ItemState, VerdictKind

TITLES = {
    VerdictKind.EDIT: "Correct the answer",
    VerdictKind.REJECT: "Reject the answer",
    VerdictKind.REFER: "Refer it to another person",
}
REASONS = {
    VerdictKind.EDIT: ("Wrong result", "Wrong step", "Misread the question", "Unclear wording"),
    VerdictKind.REJECT: ("Wrong and not worth mending", "Cannot be answered", "Not what was asked", "Unsafe"),
    VerdictKind.REFER: ("I am not sure", "Not my field", "Needs a second pair of eyes"),
}
SAID = {
    VerdictKind.APPROVE: "Approved",
    VerdictKind.EDIT: "Edited",
    VerdictKind.REJECT: "Rejected",
    VerdictKind.REFER: "Referred to another person",
}
_NOTE = {
    VerdictKind.EDIT: "What was wrong?",
    VerdictKind.REJECT: "Why must it not leave?",
    VerdictKind.REFER: "What should the other person look at?",
}
_SEND = {VerdictKind.EDIT: "Release my text", VerdictKind.REJECT: "Reject", VerdictKind.REFER: "Refer"}
_PROPOSED = {
    VerdictKind.APPROVE: "You approve this answer",
    VerdictKind.EDIT: "You release your own text",
    VerdictKind.REJECT: "You reject this answer",
    VerdictKind.REFER: "You refer it to another person",
}
_OUTCOME = {
    VerdictKind.APPROVE: "the model’s answer is released",
    VerdictKind.EDIT: "your text is released",
    VerdictKind.REJECT: "nothing is released",
    VerdictKind.REFER: "it waits for a different reviewer",
}
# Of an answer that the caller already has, nothing can be released or kept back any more.
_CORRECTED = {
    VerdictKind.APPROVE: "the answer that the caller has counts as right",
    VerdictKind.EDIT: "the answer counts as wrong, and who looks it up again finds your text",
    VerdictKind.REJECT: "the answer counts as wrong, and who looks it up again is refused it",
    VerdictKind.REFER: "it waits for a different reviewer",
}


def note_label(kind: VerdictKind, summary: Summary) -> str:
    if kind is VerdictKind.REJECT and summary.delivered:
        return "Why is it wrong?"
    return _NOTE[kind]


def send_label(kind: VerdictKind, summary: Summary) -> str:
    return "Correct it with my text" if kind is VerdictKind.EDIT and summary.delivered else _SEND[kind]


def proposed(kind: VerdictKind, summary: Summary | None) -> str:
    if kind is VerdictKind.EDIT and summary is not None and summary.delivered:
        return "You correct it with your own text"
    return _PROPOSED[kind]


def confirmation(kind: VerdictKind, summary: Summary) -> str:
    """What became of the item, and the figure that was hidden until now."""
    went = (_CORRECTED if summary.delivered else _OUTCOME)[kind]
    if summary.state is ItemState.PENDING and kind is not VerdictKind.REFER:
        nothing = "nothing changes" if summary.delivered else "nothing is released"
        went = f"{nothing} yet, a second person must agree with you"
    elif summary.state is ItemState.QUARANTINED:
        went = "so many people passed it on or disagreed that it is set aside, and nothing is released"
    return f"{SAID[kind]}: {went}. {_confidence(summary)}"


def _confidence(summary: Summary) -> str:
    if summary.confidence is None:
        return "The model’s confidence was unknown."
    asked = f", the threshold is {summary.threshold:.0%}" if summary.threshold is not None else ""
    return f"The model’s confidence was {summary.confidence:.0%}{asked}."
