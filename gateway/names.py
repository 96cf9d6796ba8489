"""Knows what a name in a request body may be: text of which everything is seen."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from storage.storable import hidden_character
from storage.subjects import SUBJECT, name_of_key


def seen(text: str) -> str:
    hidden = hidden_character(text)
    if hidden is not None:
        raise ValueError(f"contains {hidden}, which is not seen or reorders what is seen; remove it.")
    return text


def of_a_person(text: str) -> str:
    """What is no name of a key, nor an id of a subject: they are erased by any of these, in one tenant."""
    if text.startswith(name_of_key("")):
        raise ValueError(f"begins with '{name_of_key('')}', which names an API key; name the end user without it")
    if text.startswith(SUBJECT):
        raise ValueError(
            f"begins with '{SUBJECT}', as the audit log's ids of end users do; name the end user without it"
        )
    return text


Seen = Annotated[str, AfterValidator(seen)]  # prompts, answers and reasons are free text, and not names
