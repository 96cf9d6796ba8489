"""Remembers what every case needs and what never changes once it is stored: signal ranges and versions of policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from sqlalchemy import Connection

from gateway.review_shapes import signal_ranges
from storage import calibrations, policies
from storage.records import Policy

MOST_REMEMBERED = 256  # of each; a house has a handful
Name = TypeVar("Name")
Fact = TypeVar("Fact")


class CaseFacts:
    """Of one database; safe to share between threads. What is not stored yet is looked for again each time."""

    def __init__(self) -> None:
        self._ranges: dict[str, Mapping[str, list[float]]] = {}
        self._policies: dict[tuple[str, str, int], Policy] = {}

    def signal_ranges(self, connection: Connection, calibration_id: str | None) -> Mapping[str, list[float]]:
        """Each signal's usual range as [5 %, 50 %, 95 %]; empty when no calibration tells it."""
        if calibration_id is None:
            return {}
        known = self._ranges.get(calibration_id)
        if known is None:
            stored = calibrations.get(connection, calibration_id)
            known = signal_ranges(stored)
            if stored is not None:
                _keep(self._ranges, calibration_id, known)
        return known

    def policy(self, connection: Connection, tenant: str, policy_id: str, version: int) -> Policy:
        """Raises NotFound, also for another tenant's policy."""
        name = (tenant, policy_id, version)
        known = self._policies.get(name)
        if known is None:
            known = policies.get_policy(connection, policy_id, tenant, version)
            _keep(self._policies, name, known)
        return known


def _keep(facts: dict[Name, Fact], name: Name, fact: Fact) -> None:
    if len(facts) >= MOST_REMEMBERED:
        facts.clear()
    facts[name] = fact
