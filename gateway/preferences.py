"""Reads `Prefer: wait=N` (RFC 7240)."""

from __future__ import annotations

import re

from starlette.requests import Request

WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


def wait_seconds(request: Request, most: float) -> float | None:
    """The seconds the caller prefers to wait, at most `most`; None when it said nothing that can be understood."""
    found = WAIT.search(", ".join(request.headers.getlist("prefer")))
    return min(float(found[1]), most) if found else None


def applied(seconds: float | None) -> dict[str, str]:
    """The header that tells what became of the preference."""
    return {} if seconds is None else {"preference-applied": f"wait={seconds:g}"}
