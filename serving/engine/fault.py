"""Knows what a rank tells its driver when it could not finish what it was told to do; JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    reason: str
    missing: tuple[int, ...] = ()  # ranks that did not arrive at an exchange, where the exchange can tell


def fault_to_json(fault: Fault) -> bytes:
    return json.dumps({"reason": fault.reason, "missing": fault.missing}).encode()


def fault_from_json(payload: bytes) -> Fault:
    """Raises KeyError, TypeError or ValueError when it is none."""
    data = json.loads(payload)
    return Fault(str(data["reason"]), tuple(int(rank) for rank in data["missing"]))
