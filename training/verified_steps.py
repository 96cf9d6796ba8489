"""Checks an answer's steps as serving's child process does, so that what is fitted to is what serving will measure."""

from __future__ import annotations

from serving.answer import Step
from serving.confidence.self_verify.child import checked
from serving.confidence.self_verify.pool import SECONDS


def verified(question: str | None, text: str) -> tuple[Step, ...]:
    """The steps of `text`, found within the time that serving allows. To be called from a process's first thread."""
    return checked(text=text, question=question or "", seconds=SECONDS)
