"""Refuses what SQLite and PostgreSQL cannot both keep, and writes JSON in one canonical form."""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from typing import Any

from storage.errors import InvalidValue

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # between letters of Persian and Indic scripts, and within emoji
# An escaped NUL in JSON: \u0000 after an even number of backslashes (an odd one would make it the six letters).
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


# Made once: json.dumps makes an encoder at every call that has such options.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def checked_text(field: str, value: str) -> str:
    """`value` itself; raises InvalidValue (a ValueError) naming `field` for NUL and lone surrogates."""
    if "\x00" in value:
        raise InvalidValue(field, "contains a NUL character, which cannot be stored; remove it.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidValue(field, "contains a lone surrogate, which is not text; remove it.") from error
    return value


def checked_name(field: str, value: str) -> str:
    """`value` itself; raises InvalidValue naming `field` for what no name has.

    That is what `checked_text` refuses, and characters that nobody sees or that reorder what is seen: names stand in
    logs, on screens and in reports, where they must be what they seem.
    """
    hidden = hidden_character(checked_text(field, value))
    if hidden is not None:
        raise InvalidValue(field, f"contains {hidden}, which is not seen or reorders what is seen; remove it.")
    return value


def hidden_character(text: str) -> str | None:
    """The first control, format or separating character, as U+202E; the joiners of scripts and emoji are none."""
    if text.isascii() and text.isprintable():
        return None
    for character in text:
        if unicodedata.category(character) in _HIDDEN and character not in _JOINERS:
            return f"U+{ord(character):04X}"
    return None


def to_json(field: str, value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, UTF-8; equal values give equal bytes.

    Raises InvalidValue naming `field` for NaN, infinities, NUL, lone surrogates and what JSON does not know.
    """
    try:
        text = _encode(value)
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidValue(field, "contains a lone surrogate, which is not text; remove it.") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValue(field, f"cannot be stored as JSON: {error}.") from error
    if has_nul(text):
        raise InvalidValue(field, "contains a NUL character, which cannot be stored; remove it.")
    return text


def has_nul(json_text: str) -> bool:
    """Whether a string in this JSON has a NUL, which nothing here keeps."""
    return "\\u0000" in json_text and _ESCAPED_NUL.search(json_text) is not None


def from_json(text: str) -> Any:
    return json.loads(text)


def object_from(text: str) -> dict[str, Any]:
    """What somebody may have altered past the program; empty where it is no JSON object."""
    try:
        found = from_json(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def finite(value: Any) -> float | None:
    """A number of JSON that nobody has checked, as one that can be stored and compared; None for all else."""
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:
        return None


def is_visible(text: str) -> bool:
    """Whether a reader would see anything: one character that is no space, separator, control or format character."""
    return any(unicodedata.category(character)[0] not in "CZ" for character in text)


def content_hash(text: str) -> str:
    """SHA-256, in hexadecimal, of `text` in UTF-8: what decisions and verdicts are made over."""
    return hashlib.sha256(checked_text("content", text).encode("utf-8")).hexdigest()
