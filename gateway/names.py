"""Knows what a name in a request body may be: text of which everything is seen."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from storage.storable import hidden_character


def seen(text: str) -> str:
    hidden = hidden_character(text)
    if hidden is not None:
        raise ValueError(f"contains {hidden}, which is not seen or reorders what is seen; remove it.")
    return text


Seen = Annotated[str, AfterValidator(seen)]  # prompts, answers and reasons are free text, and not names
