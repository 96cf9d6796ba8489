"""Cursors for keyset paging: where the last page ended, opaque to whoever carries them."""

from __future__ import annotations

import base64
import json
import math

from storage.errors import InvalidValue
from storage.storable import checked_text

MAX_LENGTH = 200  # characters; a real one has about 80


def encode_cursor(number: float, row_id: str) -> str:
    """`number` is the column that orders the rows, `row_id` breaks its ties."""
    return base64.urlsafe_b64encode(json.dumps([number, row_id]).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[float, str]:
    """Raises InvalidValue naming `after`."""
    try:
        return decoded(cursor)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidValue("after", "is not a cursor from an earlier page; leave it out to begin anew.") from error


def decoded(cursor: str) -> tuple[float, str]:
    """Raises whatever the odd thing that somebody sent makes Python raise."""
    if len(cursor) > MAX_LENGTH:
        raise ValueError("longer than any cursor")
    number, row_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    if not isinstance(number, (int, float)) or not isinstance(row_id, str) or not math.isfinite(number):
        raise TypeError("not a number and an id")
    return float(number), checked_text("after", row_id)
