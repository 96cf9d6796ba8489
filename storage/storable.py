"""Refuses what SQLite and PostgreSQL cannot both keep, and writes JSON in one canonical form."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from typing import Any

from storage.errors import InvalidValue

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
    if _ESCAPED_NUL.search(text):
        raise InvalidValue(field, "contains a NUL character, which cannot be stored; remove it.")
    return text


def from_json(text: str) -> Any:
    return json.loads(text)


def is_visible(text: str) -> bool:
    """Whether a reader would see anything: one character that is no space, separator, control or format character."""
    return any(unicodedata.category(character)[0] not in "CZ" for character in text)


def content_hash(text: str) -> str:
    """SHA-256, in hexadecimal, of `text` in UTF-8: what decisions and verdicts are made over."""
    return hashlib.sha256(checked_text("content", text).encode("utf-8")).hexdigest()
