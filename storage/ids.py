"""Mints random ids whose prefix names their kind."""

from __future__ import annotations

import secrets
import time


def new_id(prefix: str) -> str:
    """For example `key_4f1c…`; 96 random bits."""
    return f"{prefix}_{secrets.token_hex(12)}"


def new_ordered_id(prefix: str) -> str:
    """Begins with the time, so that what one process wrote in one instant still sorts in the order of writing."""
    return f"{prefix}_{time.time_ns():016x}{secrets.token_hex(8)}"
