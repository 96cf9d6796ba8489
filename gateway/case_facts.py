"""Remembers what every case needs: signal ranges, which never change, and policies' names, which an erasure changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import TypeVar

from sqlalchemy import Connection

from gateway.review_shapes import signal_ranges
from storage import calibrations, policies
from storage.errors import NotFound

MOST_REMEMBERED = 256  # of each; a house has a handful
NAME_SECONDS = 5.0  # for so long a name that was erased may still be shown
Name = TypeVar("Name")
Fact = TypeVar("Fact")


class CaseFacts:
    """Of one database; safe to share between threads. What is not stored yet is looked for again each time."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """`clock`: seconds from anywhere."""
        self._clock = clock
        self._ranges: dict[str, Mapping[str, list[float]]] = {}
        self._policies: dict[tuple[str, str, int], tuple[str, float]] = {}  # name, and until when it is believed

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

    def policy_name(self, connection: Connection, tenant: str, policy_id: str, version: int) -> str:
        """What people call that version of the policy; empty when the tenant has none such."""
        which, at = (tenant, policy_id, version), self._clock()
        known = self._policies.get(which)
        if known is not None and at < known[1]:
            return known[0]
        try:
            name = policies.get_policy(connection, policy_id, tenant, version).name
        except NotFound:
            return ""
        _keep(self._policies, which, (name, at + NAME_SECONDS))
        return name


def _keep(facts: dict[Name, Fact], name: Name, fact: Fact) -> None:
    if len(facts) >= MOST_REMEMBERED:
        facts.clear()
    facts[name] = fact
