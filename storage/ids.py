"""Mints random ids whose prefix names their kind."""

from __future__ import annotations

import secrets
import time


def new_id(prefix: str) -> str:
    """For example `key_4f1c…`; 96 random bits."""
    return f"{prefix}_{secrets.token_hex(12)}"


def new_event_id() -> str:
    """Begins with the time, so that events of one process and one instant still sort in the order they were written."""
    return f"evt_{time.time_ns():016x}{secrets.token_hex(8)}"
