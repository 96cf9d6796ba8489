"""Reads the fields of a labelled answer one by one, and names the one that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.labelled_file import Place

LONGEST_NAME = 200  # characters, of a model or a domain


def samples_of(place: Place, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Texts of further answers to the same question, in the order drawn."""
    samples = fields.get("samples") or []
    if not isinstance(samples, list) or not all(isinstance(text, str) for text in samples):
        raise place.refuse("samples", "must be a list of texts, further answers to the same question.")
    if samples and not fields.get("answer"):
        raise place.refuse("samples", "are compared with the answer, so give its text as answer.")
    return tuple(samples)


def label_of(place: Place, fields: Mapping[str, Any]) -> bool:
    given = [name for name in ("right", "correct") if name in fields]
    if len(given) != 1:
        raise place.refuse("right", "must say once, as true or false, whether the answer is right.")
    value = fields[given[0]]
    if not isinstance(value, bool) and value not in (0, 1):
        raise place.refuse(given[0], "must be true or false.")
    return bool(value)


def prompt_of(place: Place, fields: Mapping[str, Any]) -> str | None:
    """The question as the model was asked it: `prompt`, or the last of `messages` that is the user's."""
    prompt = text_of(place, fields, "prompt")
    if "messages" not in fields:
        return prompt
    messages = fields["messages"]
    if prompt is not None or not isinstance(messages, list):
        raise place.refuse("messages", "must be a list of {role, content}, and stand instead of prompt.")
    asked = [turn for turn in messages if isinstance(turn, dict) and turn.get("role") == "user"]
    if not asked:
        raise place.refuse("messages", "none of them is the user's, so nothing was asked.")
    return text_of(place, {"messages": asked[-1].get("content")}, "messages")


def text_of(place: Place, fields: Mapping[str, Any], name: str) -> str | None:
    """None where it is missing or empty."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise place.refuse(name, f"must be a text, not {type(value).__name__}.")
    if name in ("model", "domain") and (len(value) > LONGEST_NAME or not value.isprintable()):
        raise place.refuse(name, f"must be a name of at most {LONGEST_NAME} printable characters.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise place.refuse(name, "holds half a character (a lone surrogate), which is no text.") from None
    return value
