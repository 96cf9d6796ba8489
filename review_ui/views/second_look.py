"""What others said of an answer that needs more than one person, calmly and before it is judged."""

from __future__ import annotations

import streamlit as st

from review_ui.components import draw
from review_ui.inert import visible
from review_ui.reviews import GivenVerdict, Review
from storage.records import VerdictKind

FIRST = "Two people must agree on this answer. Your word is kept, and another person looks before anything is released."
SECOND = "Two people must agree on this answer, and yours is the second look."


def notice(review: Review) -> None:
    """Nothing where one person decides and nobody has said anything."""
    proposal = review.proposal
    if not review.summary.four_eyes and not review.opinions:
        return
    with st.container(border=True, key="second-look"):
        st.subheader(_title(review), anchor=False)
        if review.summary.four_eyes:
            st.text(SECOND if proposal else FIRST)
        for number, word in enumerate(review.opinions):
            _said(word, f"said-{review.summary.id}-{number}")
        if proposal is not None:
            st.text(_how_to_agree(proposal))


def _title(review: Review) -> str:
    if not review.opinions:
        return "Two people decide this"
    return "What others said" if len(review.opinions) > 1 else "What another person said"


def _said(word: GivenVerdict, key: str) -> None:
    st.text(f"{visible(word.reviewer.name)} {_DID[word.kind]}{_because(word)}")
    if word.content is not None:
        draw.transcript([{"role": f"Text of {word.reviewer.name}", "content": word.content}], key=key)


def _because(word: GivenVerdict) -> str:
    return f": “{visible(word.reason)}”" if word.reason.strip() else "."


def _how_to_agree(proposal: GivenVerdict) -> str:
    if proposal.content is None:
        return "To agree, approve the answer. With another text of your own, it goes to a third person."
    return "To agree, press Edit: their text is filled in. With another text, it goes to a third person."


_DID = {
    VerdictKind.APPROVE: "would release the model’s answer as it stands",
    VerdictKind.EDIT: "would release this text instead",
    VerdictKind.REJECT: "would not release it",
    VerdictKind.REFER: "asked for another person",
}
