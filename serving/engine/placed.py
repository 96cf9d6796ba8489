"""Knows which placement of experts a gang computes by, from epoch to epoch, and what each rank says about the next."""

from __future__ import annotations

import json
from dataclasses import dataclass

from serving.experts.placement import Placement


@dataclass(slots=True)
class PlacementInForce:
    """Shared by a roster and its gangs: newcomers must take it, also those of a later epoch."""

    now: Placement


@dataclass(frozen=True, slots=True)
class Readiness:
    """A rank's word on the placement that it was told to load for."""

    version: int
    reason: str = ""  # why it could not load; empty: it could


def readiness_to_json(readiness: Readiness) -> bytes:
    return json.dumps({"version": readiness.version, "reason": readiness.reason}).encode()


def readiness_from_json(payload: bytes) -> Readiness:
    """Raises KeyError, TypeError or ValueError when it is none."""
    data = json.loads(payload)
    return Readiness(int(data["version"]), str(data["reason"]))
