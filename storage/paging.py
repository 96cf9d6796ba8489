"""Cursors for keyset paging: where the last page ended, opaque to whoever carries them."""

from __future__ import annotations

import base64
import json
import math

from storage.errors import InvalidValue


def encode_cursor(number: float, row_id: str) -> str:
    """`number` is the column that orders the rows, `row_id` breaks its ties."""
    return base64.urlsafe_b64encode(json.dumps([number, row_id]).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[float, str]:
    """Raises InvalidValue naming `after`."""
    try:
        number, row_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError) as error:
        raise InvalidValue("after", "is not a cursor from an earlier page; leave it out to begin anew.") from error
    if not isinstance(number, (int, float)) or not math.isfinite(number) or not isinstance(row_id, str):
        raise InvalidValue("after", "is not a cursor from an earlier page; leave it out to begin anew.")
    return float(number), row_id
